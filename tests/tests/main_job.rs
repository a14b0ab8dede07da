//! The main job without a browser: make a workspace on a real VM, use it, stop it, start it, delete it.

use std::time::Duration;

use control_api::workspaces::WorkspaceState;
use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::guest::{session, shell};
use roost_tests::traces::Traces;
use roost_tests::{Options, Server};

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

    let stopped = api.stop("job").await?;
    assert_eq!(stopped.state, WorkspaceState::Stopped, "{stopped:#?}");
    tokio::time::timeout(Duration::from_secs(10), guest.closed()).await?;
    let started = api.start("job").await?;
    assert_eq!(started.state, WorkspaceState::Running, "{started:#?}");

    let guest = session(api, "job", StreamClass::Bulk).await?;
    assert!(
        guest.read_file(&path, 0, 0).await?.collect().await? == written,
        "the content has changed"
    );
    assert_eq!(shell(&guest, "cat small.txt").await?.stdout, b"kept\n");
    assert_eq!(shell(&guest, "exit 7").await?.exited.code, 7);

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
