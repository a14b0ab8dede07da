//! `work`: uncommitted work, saved, shown, brought back and taken away.

use anyhow::Context;
use control_api::work::WorkList;
use roost_tests::Server;
use roost_tests::cli::{command, roost};
use serde_json::json;

use super::{NAME, document, fine, refused};

const MADE: &str = "git init -q -b main repo; cd repo; git config user.name A; git config user.email a@b.c; \
                    echo one > file; git add file; git commit -qm first; echo two > file; pwd";

pub async fn run(server: &Server) -> anyhow::Result<()> {
    let api = server.api();
    let help = roost(api, &["work", "--help"]).await?;
    assert!(fine(&help).contains("roost work restore shop"), "{help:?}");
    let nothing = roost(api, &["work", "list", NAME]).await?;
    assert!(
        fine(&nothing).starts_with("Nothing is saved"),
        "{nothing:?}"
    );
    let shell = async |line: &str| roost(api, &["exec", NAME, "--", "sh", "-c", line]).await;
    let made = shell(MADE).await?;
    let path = fine(&made).trim().to_owned();

    let saved = roost(api, &["work", "save", NAME]).await?;
    let (place, name) = fine(&saved)
        .trim()
        .split_once(": saved as ")
        .context("it")?;
    assert_eq!(place, path);
    let again = document(&roost(api, &["--json", "work", "save", NAME]).await?);
    let repository = &again["repositories"][0];
    assert_eq!(repository["outcome"], "unchanged", "{again}");
    assert_eq!(repository["stored"], true, "{again}");

    let list = roost(api, &["work", "list", NAME]).await?;
    let lines: Vec<&str> = fine(&list).lines().collect();
    assert!(lines[0].starts_with("NAME") && lines.len() == 2, "{list:?}");
    for word in [
        name,
        &path,
        "KiB",
        "1 file (+1 −1) on main, saved on request",
    ] {
        assert!(lines[1].contains(word), "{word}: {list:?}");
    }

    shell("cd repo && git checkout -q file").await?;
    let restored = roost(api, &["work", "restore", NAME, name]).await?;
    let told = fine(&restored);
    assert!(
        told.starts_with(&format!("{path}: 1 file restored.")),
        "{told}"
    );
    assert_eq!(fine(&shell("cat repo/file").await?), "two\n");
    let unknown = roost(api, &["work", "restore", NAME, "main/yesterday"]).await?;
    refused(
        &unknown,
        1,
        &["main/yesterday", "`roost work list workshop`"],
    );
    let elsewhere = ["work", "restore", NAME, name, "--path", "/elsewhere"];
    refused(&roost(api, &elsewhere).await?, 1, &["nothing is saved"]);

    let folder = tempfile::tempdir()?;
    let bundle = command(api, &["--json", "work", "bundle", NAME, name])?
        .current_dir(folder.path())
        .output()
        .await?;
    let told: serde_json::Value = serde_json::from_slice(&bundle.stdout)?;
    let file = told["file"].as_str().context("a file")?;
    assert!(
        file.starts_with("workshop-repo-") && file.ends_with(".bundle"),
        "{told}"
    );
    let kept = std::fs::read(folder.path().join(file))?;
    assert_eq!(told["bytes"], json!(kept.len()));
    let piped = command(api, &["work", "bundle", NAME, name, "-o", "-"])?
        .output()
        .await?;
    assert!(piped.stdout == kept && piped.stderr.is_empty());
    let nowhere = ["work", "bundle", NAME, name, "-o", "/no/such/folder/file"];
    refused(
        &roost(api, &nowhere).await?,
        1,
        &["writing /no/such/folder/file"],
    );
    Ok(())
}

/// Of a workspace that is stopped: what the store has.
pub async fn stopped(server: &Server) -> anyhow::Result<()> {
    let api = server.api();
    let list = document(&roost(api, &["--json", "work", "list", NAME]).await?);
    let list: WorkList = serde_json::from_value(list)?;
    assert!(!list.current && !list.work.is_empty(), "{list:?}");
    let save = roost(api, &["work", "save", NAME]).await?;
    refused(&save, 1, &["not running", "Start it first"]);
    Ok(())
}
