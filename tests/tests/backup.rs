//! `roost backup` while a workspace runs, and `roost restore` where nothing is: the workspace goes on there.

use std::path::Path;

use control_api::workspaces::{Workspace, WorkspaceState};
use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::cli::{Said, roost};
use roost_tests::guest::{session, shell};
use roost_tests::{Options, Server};

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are texts")
}

fn assert_done(said: &Said) {
    assert_eq!(said.code, 0, "{said:?}");
}

#[tokio::test]
async fn a_backup_brings_workspaces_back_where_nothing_was() -> anyhow::Result<()> {
    let mut server = Server::start(Options::default()).await?;
    server.running(&empty("kept")).await?;
    let guest = session(server.api(), "kept", StreamClass::Interactive).await?;
    let written: Vec<u8> = (0..1_000_000u32)
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let path = format!("{}/big.bin", guest.welcome().workspace);
    guest.put_file(&path, &written).await?;
    assert!(
        shell(&guest, "echo kept > small.txt; sync")
            .await?
            .success()
    );

    let folder = tempfile::Builder::new().prefix("rsb").tempdir_in("/tmp")?;
    let (file, restored) = (folder.path().join("backup"), folder.path().join("data"));
    let data = server.data().to_owned();
    let run = async |arguments: &[&str]| roost(server.api(), arguments).await;
    let said = run(&["--json", "backup", text(&file), "--data", text(&data)]).await?;
    assert_done(&said);
    assert!(
        said.stdout.contains(r#""settled":true"#),
        "it runs, and was asked: {said:?}"
    );
    // What is written later is not in it.
    assert!(shell(&guest, "echo later > small.txt").await?.success());

    let arguments = ["restore", text(&file), "--data", text(&data)];
    let refused = run(&arguments).await?;
    assert!(
        refused.code != 0 && refused.stderr.contains("is not empty"),
        "{refused:?}"
    );
    damaged_ones_are_refused(&server, folder.path()).await?;
    let said = run(&["restore", text(&file), "--data", text(&restored)]).await?;
    assert_done(&said);

    // The machine is lost, and another one has its name.
    server.api().delete("kept").await?;
    server.end().await?;
    std::fs::remove_dir_all(&data)?;
    std::fs::rename(&restored, &data)?;
    server.again().await?;
    // Its machine was on another host, for all that is known.
    let rests: Workspace = server.api().get("/workspaces/kept?wait=stopped").await?;
    assert_eq!(rests.state, WorkspaceState::Stopped, "{rests:#?}");
    let started = server.api().start("kept").await?;
    assert_eq!(
        started.state,
        WorkspaceState::Running,
        "{started:#?}\n{}",
        server.log()
    );
    let guest = session(server.api(), "kept", StreamClass::Bulk).await?;
    assert!(guest.read_file(&path, 0, 0).await?.collect().await? == written);
    assert_eq!(shell(&guest, "cat small.txt").await?.stdout, b"kept\n");
    server.close().await
}

/// Each of them says so, and leaves nothing.
async fn damaged_ones_are_refused(server: &Server, folder: &Path) -> anyhow::Result<()> {
    let (file, data) = (folder.join("small"), folder.join("none"));
    let arguments = ["backup", text(&file), "--without-images", "--data"];
    let arguments = [&arguments[..], &[text(server.data())]].concat();
    assert_done(&roost(server.api(), &arguments).await?);
    let good = std::fs::read(&file)?;
    let mut flipped = good.clone();
    let object = good.windows(8).rposition(|bytes| bytes == b"RoostOb1");
    flipped[object.expect("it has a store") + 100] ^= 1;
    let cut = good[..good.len() / 2].to_vec();
    for (content, expected) in [
        (flipped, "is damaged"),
        (cut, "cannot restore"),
        (b"something else".repeat(100), "cannot restore"),
    ] {
        std::fs::write(&file, content)?;
        let arguments = ["restore", text(&file), "--data", text(&data)];
        let refused = roost(server.api(), &arguments).await?;
        assert!(
            refused.code != 0 && refused.stderr.contains(expected),
            "{refused:?}"
        );
    }
    let left: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    assert!(
        left.iter().all(|name| name == "small" || name == "backup"),
        "{left:?}"
    );
    Ok(())
}
