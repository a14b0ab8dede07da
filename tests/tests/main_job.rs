//! The main job without a browser: make a workspace on a real VM, use it, stop it, start it, delete it.

use std::time::Duration;

use control_api::work::{SavedWork, WorkList};
use control_api::workspaces::WorkspaceState;
use guest_protocol::client::Session;
use guest_protocol::frames::StreamClass;
use reqwest::Method;
use roost_tests::api::{answered, empty};
use roost_tests::cli::roost;
use roost_tests::guest::{session, shell};
use roost_tests::traces::Traces;
use roost_tests::{Options, Server, until};

#[tokio::test]
async fn a_workspace_keeps_its_files_over_a_stop_and_leaves_nothing_when_deleted()
-> anyhow::Result<()> {
    let server = Server::start(Options::default()).await?;
    let mut traces = Traces::of(server.data());
    let api = server.api();
    let made = server.running(&empty("job")).await?;
    assert!(made.ready);
    traces.learn()?;

    let guest = session(api, "job", StreamClass::Interactive).await?;
    let output = shell(
        &guest,
        "id -un; pwd; sudo id -u; uname -r; sudo modprobe overlay && echo module",
    )
    .await?;
    let said = String::from_utf8(output.stdout)?;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        (lines[0], lines[2], lines[4]),
        ("dev", "0", "module"),
        "{said}"
    );
    assert!(lines[1].starts_with("/workspaces"), "{said}");
    let written: Vec<u8> = (0..3_000_000u32)
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let path = format!("{}/big.bin", guest.welcome().workspace);
    guest.put_file(&path, &written).await?;
    assert!(shell(&guest, "echo kept > small.txt").await?.success());
    assert!(shell(&guest, UNCOMMITTED).await?.success());

    let stopped = api.stop("job").await?;
    assert_eq!(stopped.state, WorkspaceState::Stopped, "{stopped:#?}");
    tokio::time::timeout(Duration::from_secs(10), guest.closed()).await?;
    let work = taken_out_of_a_stopped_workspace(&server).await?;
    let started = api.start("job").await?;
    assert_eq!(started.state, WorkspaceState::Running, "{started:#?}");

    let guest = session(api, "job", StreamClass::Bulk).await?;
    assert!(
        guest.read_file(&path, 0, 0).await?.collect().await? == written,
        "the content has changed"
    );
    assert_eq!(shell(&guest, "cat small.txt").await?.stdout, b"kept\n");
    assert_eq!(shell(&guest, "exit 7").await?.exited.code, 7);
    comes_back(&server, &guest, &work).await?;

    let steps: Vec<_> = api
        .starts("job")
        .await?
        .remove(0)
        .steps
        .into_iter()
        .map(|step| step.step)
        .collect();
    assert_eq!(
        steps,
        ["place", "disk", "network", "vmm", "boot", "configure"]
    );

    api.delete("job").await?;
    traces.gone(10).await?;
    server.close().await
}

/// A repository with a change that nobody commits.
const UNCOMMITTED: &str = "set -e; git init -q -b main repo; cd repo; git config user.name A; git config user.email a@b.c; \
                           echo committed > file; git add file; git commit -qm first; echo uncommitted > file";

/// What was uncommitted at the stop is in the store, and real git takes it from there.
async fn taken_out_of_a_stopped_workspace(server: &Server) -> anyhow::Result<SavedWork> {
    let api = server.api();
    let work = until("the work is in the store", 60, async || {
        let list: WorkList = api.get("/workspaces/job/work").await?;
        Ok(list.work.into_iter().next())
    })
    .await?;
    assert_eq!((work.reason.as_str(), work.files), ("stop", 1), "{work:?}");
    let folder = tempfile::tempdir()?;
    // Nothing in them has a meaning in a query.
    let query = format!("path={}&reference={}", work.path, work.reference);
    let path = format!("/workspaces/job/work/bundle?{query}");
    let bundle = answered(api.request(Method::GET, &path));
    let bundle = bundle.await?.bytes().await?;
    std::fs::write(folder.path().join("work.bundle"), &bundle)?;
    let git = |arguments: &[&str]| -> anyhow::Result<String> {
        let mut git = std::process::Command::new("git");
        let output = git.current_dir(folder.path()).args(arguments).output()?;
        anyhow::ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    git(&["init", "-q"])?;
    git(&[
        "fetch",
        "-q",
        "work.bundle",
        "refs/roost/wip/*:refs/roost/wip/*",
    ])?;
    let file = git(&["show", &format!("{}:file", work.reference)])?;
    assert_eq!(file, "uncommitted\n");
    Ok(work)
}

/// The change is destroyed, with all that git in the workspace has of it, and restored by the command line.
async fn comes_back(server: &Server, guest: &Session, work: &SavedWork) -> anyhow::Result<()> {
    let destroyed = format!(
        "set -e; cd repo; cat file; git checkout -q file; git update-ref -d {}; git gc -q --prune=now; cat file",
        work.reference
    );
    let destroyed = shell(guest, &destroyed).await?;
    assert_eq!(destroyed.stdout, b"uncommitted\ncommitted\n");
    let said = roost(server.api(), &["work", "restore", "job", &work.reference]).await?;
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    assert_eq!(
        shell(guest, "cat repo/file").await?.stdout,
        b"uncommitted\n"
    );
    Ok(())
}
