//! Many workspaces come and go, and nothing of them stays.

use control_api::workspaces::WorkspaceState;
use roost_tests::api::empty;
use roost_tests::traces::Traces;
use roost_tests::{Options, Server};

async fn cycles(options: Options, count: usize) -> anyhow::Result<()> {
    let server = Server::start(options).await?;
    let mut traces = Traces::of(server.data());
    for number in 0..count {
        let name = format!("cycle-{number}");
        server.running(&empty(&name)).await?;
        traces.learn()?;
        if number == 0 {
            let found = traces.found().await?;
            for kind in ["process: ", "file: workspaces/", "file: run/", "rows: "] {
                let seen = found.iter().any(|trace| trace.starts_with(kind));
                assert!(seen, "a running workspace has no {kind:?}: {found:#?}");
            }
        }
        let stopped = server.api().stop(&name).await?;
        assert_eq!(stopped.state, WorkspaceState::Stopped, "{stopped:#?}");
        let started = server.api().start(&name).await?;
        assert_eq!(started.state, WorkspaceState::Running, "{started:#?}");
        server.api().delete(&name).await?;
    }
    assert!(server.api().workspaces().await?.is_empty());
    traces.gone(10).await?;
    server.close().await
}

#[tokio::test]
async fn two_hundred_workspaces_without_vms_leave_nothing() -> anyhow::Result<()> {
    cycles(
        Options {
            process: true,
            ..Options::default()
        },
        200,
    )
    .await
}

#[tokio::test]
async fn ten_workspaces_with_vms_leave_nothing() -> anyhow::Result<()> {
    cycles(Options::default(), 10).await
}
