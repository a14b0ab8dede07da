//! `cp` both ways.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use roost_tests::Server;
use roost_tests::cli::roost;
use serde_json::{Value, json};

use super::{NAME, document, fine, refused};

/// Files, modes and links below a folder, in order.
fn tree(folder: &Path) -> anyhow::Result<Vec<(PathBuf, u32, String)>> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path)?;
        let content = if metadata.is_symlink() {
            format!("-> {}", fs::read_link(&path)?.display())
        } else if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
            "a folder".into()
        } else {
            String::from_utf8_lossy(&fs::read(&path)?).into_owned()
        };
        let name = path.strip_prefix(folder)?.to_owned();
        found.push((name, metadata.permissions().mode() & 0o777, content));
    }
    found.sort();
    Ok(found)
}

fn write(path: &Path, content: &str, mode: u32) -> anyhow::Result<()> {
    fs::write(path, content)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

async fn copy(server: &Server, from: &str, to: &str) -> anyhow::Result<Value> {
    Ok(document(
        &roost(server.api(), &["--json", "cp", from, to]).await?,
    ))
}

pub async fn run(server: &Server) -> anyhow::Result<()> {
    let here = tempfile::tempdir()?;
    let local = |name: &str| here.path().join(name).to_string_lossy().into_owned();
    let there = |name: &str| format!("{NAME}:{name}");

    // A file keeps its content and its mode, both ways, and what is replaced is replaced as a whole.
    write(&here.path().join("tool"), "#!/bin/sh\necho run\n", 0o750)?;
    let up = copy(server, &local("tool"), &there("bin/tool")).await?;
    assert_eq!(
        up,
        json!({ "files": 1, "folders": 0, "links": 0, "bytes": 19, "skipped": [] })
    );
    let ran = roost(server.api(), &["exec", NAME, "--", "bin/tool"]).await?;
    assert_eq!(fine(&ran), "run\n");
    write(&here.path().join("back"), "an older one", 0o600)?;
    let down = copy(server, &there("bin/tool"), &local("back")).await?;
    assert_eq!((&down["files"], &down["bytes"]), (&json!(1), &json!(19)));
    assert_eq!(
        tree(&here.path().join("back"))?,
        [(PathBuf::new(), 0o750, "#!/bin/sh\necho run\n".into())]
    );
    let shown = roost(server.api(), &["cp", &there("bin/tool"), "/dev/stdout"]).await?;
    assert_eq!(shown.stdout, "#!/bin/sh\necho run\n");
    assert!(shown.stderr.contains("Copied 1 file, 19 B."), "{shown:?}");

    folders(server, here.path()).await?;
    links(server, here.path()).await?;

    // What is missing is said once, on either side.
    let said = roost(server.api(), &["cp", &local("none"), &there("x")]).await?;
    refused(&said, 1, &[&local("none"), "No such file"]);
    let said = roost(server.api(), &["cp", &there("/no/file"), &local("x")]).await?;
    refused(&said, 1, &["/no/file", "no such file"]);
    assert!(!here.path().join("x").exists());
    let said = roost(server.api(), &["cp", &local("tool"), &local("x")]).await?;
    refused(&said, 1, &["WORKSPACE:PATH"]);
    Ok(())
}

/// A folder with everything that can be in it; links stay links, so that one that leads upwards has an end.
async fn folders(server: &Server, here: &Path) -> anyhow::Result<()> {
    let site = here.join("site");
    fs::create_dir_all(site.join("deep/er"))?;
    write(&site.join("page"), "hello", 0o644)?;
    write(&site.join("deep/er/secret"), "psst", 0o600)?;
    write(&site.join("empty"), "", 0o755)?;
    symlink("deep/er/secret", site.join("short"))?;
    symlink("..", site.join("deep/upwards"))?;
    symlink("/nowhere", site.join("dangling"))?;
    let _socket = std::os::unix::net::UnixListener::bind(site.join("socket"))?;
    let from = site.to_string_lossy().into_owned();
    let up = copy(server, &from, &format!("{NAME}:copied")).await?;
    let counts = json!({ "files": 3, "folders": 3, "links": 3, "bytes": 9,
                         "skipped": [site.join("socket")] });
    assert_eq!(up, counts);
    // It is there already: the second goes into it, under its own name.
    copy(server, &from, &format!("{NAME}:copied")).await?;

    let back = here.join("back-again");
    let down = copy(
        server,
        &format!("{NAME}:copied/site"),
        &back.to_string_lossy(),
    )
    .await?;
    assert_eq!((&down["files"], &down["links"]), (&json!(3), &json!(3)));
    fs::remove_file(site.join("socket"))?;
    assert_eq!(tree(&back)?, tree(&site)?);
    Ok(())
}

async fn links(server: &Server, here: &Path) -> anyhow::Result<()> {
    // Named itself a link is copied as one, and with -L as what it leads to.
    let link = here.join("link");
    symlink("tool", &link)?;
    let from = link.to_string_lossy().into_owned();
    let up = copy(server, &from, &format!("{NAME}:bin/link")).await?;
    assert_eq!((&up["links"], &up["files"]), (&json!(1), &json!(0)));
    let read = ["exec", NAME, "--", "readlink", "bin/link"];
    assert_eq!(fine(&roost(server.api(), &read).await?), "tool\n");
    let followed = here.join("followed");
    let arguments = [
        "--json",
        "cp",
        "-L",
        &format!("{NAME}:bin/link"),
        &followed.to_string_lossy(),
    ];
    let down = document(&roost(server.api(), &arguments).await?);
    assert_eq!((&down["links"], &down["files"]), (&json!(0), &json!(1)));
    assert!(fs::symlink_metadata(&followed)?.is_file());

    // Nothing is written through a link that lies where a file of the workspace's comes.
    let target = here.join("guarded");
    fs::create_dir(&target)?;
    write(&here.join("precious"), "mine", 0o600)?;
    symlink("../precious", target.join("page"))?;
    let arguments = [
        "exec",
        NAME,
        "--",
        "sh",
        "-c",
        "mkdir -p g/guarded && echo theirs >g/guarded/page",
    ];
    fine(&roost(server.api(), &arguments).await?);
    copy(
        server,
        &format!("{NAME}:g/guarded"),
        &here.to_string_lossy(),
    )
    .await?;
    assert_eq!(fs::read_to_string(here.join("precious"))?, "mine");
    assert_eq!(fs::read_to_string(target.join("page"))?, "theirs\n");
    Ok(())
}
