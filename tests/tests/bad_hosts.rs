//! A host that lacks something or is out of something, and guests that never come up. No VM gets as far as booting.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use control_api::workspaces::{CreateWorkspace, Workspace, WorkspaceState};
use roost_tests::cli::roost;
use roost_tests::traces::Traces;
use roost_tests::{Options, Server};
use serde_json::json;

/// The start of a new workspace fails with this, for the API, the command line and the timeline; and the workspace
/// can be deleted without a trace.
async fn fails(server: &Server, kind: &str, words: &[&str]) -> anyhow::Result<()> {
    let mut traces = Traces::of(server.data());
    let api = server.api();
    let made = api.create(&CreateWorkspace::default()).await?;
    assert_eq!(
        made.state,
        WorkspaceState::Failed,
        "{made:#?}\n{}",
        server.log()
    );
    traces.learn()?;
    let failure = made.failure.context("a failed workspace has a failure")?;
    assert_eq!(failure.kind, kind, "{failure:#?}");
    for word in words {
        assert!(failure.message.contains(word), "{word:?}: {failure:#?}");
    }
    let start = api.starts(&made.name.to_string()).await?.remove(0);
    let told = start.steps.iter().filter_map(|step| step.failure.as_ref());
    assert_eq!(
        told.map(|failure| failure.kind.as_str())
            .collect::<Vec<_>>(),
        [kind],
        "in the timeline"
    );
    let said = roost(api, &["start", made.id.as_str()]).await?;
    assert_eq!(said.code, 1, "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "{word:?}: {said:?}");
    }
    api.delete(made.id.as_str()).await?;
    traces.gone(10).await
}

/// A set of images with these contents, which says of itself that they are right.
fn images(folder: &Path) -> anyhow::Result<PathBuf> {
    let set = folder.join("set");
    std::fs::create_dir(&set)?;
    for name in ["vmlinux", "initramfs.cpio", "base.ext4"] {
        std::fs::write(set.join(name), name)?;
    }
    let digest = |program: &str, arguments: &[&str], name: &str| -> anyhow::Result<String> {
        let output = std::process::Command::new(program)
            .args(arguments)
            .arg(set.join(name))
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout)?;
        Ok(said.split_whitespace().next().context("a digest")?.into())
    };
    let blocks = concat!(env!("CARGO_MANIFEST_DIR"), "/../images/blocks_digest.py");
    let manifest = json!({
        "format": 1,
        "architecture": std::env::consts::ARCH,
        "kernel": { "path": "vmlinux", "sha256": digest("sha256sum", &[], "vmlinux")? },
        "initramfs": { "path": "initramfs.cpio", "sha256": digest("sha256sum", &[], "initramfs.cpio")? },
        "base": {
            "path": "base.ext4",
            "blocks_sha256": digest("python3", &[blocks], "base.ext4")?,
            "size": 9,
        },
    });
    std::fs::write(set.join("manifest.json"), manifest.to_string())?;
    Ok(set)
}

#[tokio::test]
async fn a_host_without_qemu_says_how_to_get_it() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(Options {
        config: "[vm]\nqemu = '/nowhere/qemu-system-x86_64'\n".into(),
        environment: vec![("ROOST_IMAGES", images(folder.path())?)],
        ..Options::default()
    })
    .await?;
    let words = ["/nowhere/qemu-system-x86_64", "apt-get install"];
    fails(&server, "vmm-missing", &words).await?;
    server.close().await
}

#[tokio::test]
async fn a_corrupt_base_image_is_not_booted() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let set = images(folder.path())?;
    std::fs::write(set.join("base.ext4"), "damaged on its way")?;
    let server = Server::start(Options {
        environment: vec![("ROOST_IMAGES", set)],
        ..Options::default()
    })
    .await?;
    fails(&server, "image-corrupt", &["base.ext4", "./dev images"]).await?;
    server.close().await
}

#[tokio::test]
async fn a_guest_that_never_answers_is_given_up_with_its_console() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let agent = folder.path().join("silent-agent");
    std::fs::write(
        &agent,
        "#!/bin/sh\necho 'the last words'\nexec sleep 1000\n",
    )?;
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755))?;
    let server = Server::start(Options {
        process: true,
        agent: Some(agent),
        ..Options::default()
    })
    .await?;
    fails(
        &server,
        "guest-silent",
        &["did not answer within", "console", "Start it again"],
    )
    .await?;
    server.close().await
}

#[tokio::test]
async fn a_full_disk_keeps_a_start_waiting_with_the_reason() -> anyhow::Result<()> {
    let server = Server::start(Options {
        config: "[room]\ndisk_reserve_mib = 1000000000\n".into(),
        process: true,
        ..Options::default()
    })
    .await?;
    let api = server.api();
    let waiting: Workspace = api.post("/workspaces", &json!({ "name": "full" })).await?;
    let words = ["the host's disk is too full", "Stop or delete workspaces"];
    let seen = roost_tests::until("the reason is said", 20, async || {
        let seen = api.workspace("full").await?;
        Ok((!seen.detail.is_empty()).then_some(seen))
    })
    .await?;
    assert_eq!(seen.state, WorkspaceState::Queued);
    for word in words {
        assert!(seen.detail.contains(word), "{word:?}: {seen:#?}");
    }
    // Who waits at the command line reads it too.
    let follow = roost_tests::cli::command(api, &["start", "full"])?
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut follow = follow?;
    let stderr = follow.stderr.take().context("stderr is piped")?;
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stderr));
    let line = tokio::time::timeout(std::time::Duration::from_secs(20), lines.next_line());
    let line = line.await??.context("a line")?;
    assert!(line.contains(words[0]), "{line}");
    follow.kill().await?;
    api.delete(waiting.id.as_str()).await?;
    server.close().await
}
