//! The life of workspaces on a host, with real monitors and real agents as plain processes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::{Duration, Instant};

use fleet_api::host::{
    CloneState, FailureKind, GuestRole, GuestStream, Host, HostError, HostEventKind, Observed,
    RunSpec, StartFailure,
};
use model::WorkspaceId;
use rustix::process::Signal;
use support::{GitServer, World, is_running, repository, signal, spec, write_program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn root(world: &World, id: &str) -> std::path::PathBuf {
    world.config.data.join("workspaces").join(id).join("root")
}

#[tokio::test]
async fn a_workspace_starts_stops_starts_and_leaves_no_trace() {
    let world = World::new().await;
    let before = world.files();
    let first = spec("one", 1);
    world.running(&first).await;
    let file = root(&world, "one").join("workspaces/sample/kept");
    std::fs::write(&file, "work").unwrap();
    assert_eq!(world.host.inventory().await.len(), 1);

    world.host.stop(&first.workspace, 5_000).await.unwrap();
    assert_eq!(
        world.host.observe(&first.workspace).await,
        Observed::Stopped { epoch: 1 }
    );
    assert_eq!(world.processes(), [0; 0]);
    world.host.stop(&first.workspace, 5_000).await.unwrap();

    world.running(&spec("one", 2)).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "work");
    world.host.delete(&first.workspace).await.unwrap();
    assert_eq!(world.host.observe(&first.workspace).await, Observed::Absent);
    assert_eq!(world.files(), before);
    assert_eq!(world.processes(), [0; 0]);
    assert!(world.host.inventory().await.is_empty());
    world.host.delete(&first.workspace).await.unwrap();
}

#[tokio::test]
async fn a_start_is_told_step_by_step() {
    let world = World::new().await;
    let mut events = world.host.events();
    world.running(&spec("one", 3)).await;
    let mut told = Vec::new();
    loop {
        let event = tokio::time::timeout(Duration::from_secs(5), events.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((event.workspace.as_str(), event.epoch), ("one", 3));
        match event.what {
            HostEventKind::StepStarted { step } => told.push(format!("{step} begins")),
            HostEventKind::StepFinished {
                step,
                failure: None,
                ..
            } => told.push(format!("{step} done")),
            HostEventKind::Changed {
                observed: Observed::Starting { .. },
            } => told.push("starting".into()),
            HostEventKind::Changed {
                observed: Observed::Running { .. },
            } => break,
            other => panic!("{other:?}"),
        }
    }
    told.sort_by_key(|text| text == "starting");
    assert_eq!(
        told,
        [
            "disk begins",
            "disk done",
            "vmm begins",
            "vmm done",
            "boot begins",
            "boot done",
            "configure begins",
            "configure done",
            "starting"
        ]
    );
}

#[tokio::test]
async fn asking_again_changes_nothing_and_an_old_epoch_is_refused() {
    let world = World::new().await;
    let now = spec("one", 5);
    world.running(&now).await;
    let monitor = world.monitor_process(&now.workspace);
    world.host.run(now.clone()).await.unwrap();
    let refused = world.host.run(spec("one", 4)).await.unwrap_err();
    assert!(
        matches!(refused, HostError::Fenced { given: 4, known: 5 }),
        "{refused}"
    );
    world.host.run(spec("one", 6)).await.unwrap();
    assert_eq!(world.monitor_process(&now.workspace), monitor);
    let observed = world.host.observe(&now.workspace).await;
    assert!(
        matches!(observed, Observed::Running { epoch: 6, .. }),
        "{observed:?}"
    );
    // Through a restart too.
    let world = world.restart().await;
    assert!(matches!(
        world.host.run(spec("one", 5)).await,
        Err(HostError::Fenced { .. })
    ));
}

#[tokio::test]
async fn a_restarted_host_agent_takes_up_what_runs() {
    let world = World::new().await;
    let wanted = spec("one", 1);
    world.running(&wanted).await;
    let monitor = world.monitor_process(&wanted.workspace);
    let world = world.restart().await;
    let observed = world.wait(&wanted.workspace, is_running).await;
    assert!(matches!(
        observed,
        Observed::Running {
            epoch: 1,
            clone: CloneState::Ready,
            ..
        }
    ));
    assert_eq!(world.monitor_process(&wanted.workspace), monitor);
    let stream = GuestStream::Session {
        bulk: false,
        role: GuestRole::Editor,
    };
    world.host.connect(&wanted.workspace, stream).await.unwrap();
    world.host.delete(&wanted.workspace).await.unwrap();
    assert_eq!(world.processes(), [0; 0]);
}

#[tokio::test]
async fn what_ended_while_no_host_agent_looked_is_noticed() {
    let world = World::new().await;
    let wanted = spec("one", 1);
    world.running(&wanted).await;
    let monitor = world.monitor_process(&wanted.workspace);
    signal(monitor, Signal::KILL);
    while !world.processes().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let world = world.restart().await;
    let observed = world.host.observe(&wanted.workspace).await;
    let Observed::Failed { failure, .. } = &observed else {
        panic!("{observed:?}")
    };
    assert_eq!(failure.kind, FailureKind::VmmExited);
    assert!(failure.message.contains("Start it again"), "{failure:?}");
    world.running(&spec("one", 2)).await;
}

#[tokio::test]
async fn an_agent_that_is_killed_is_noticed_within_a_second() {
    let world = World::new().await;
    let wanted = spec("one", 1);
    world.running(&wanted).await;
    let folder = world
        .config
        .data
        .join("run")
        .join(host_agent::folders::short(&wanted.workspace));
    let client = monitor_protocol::client::MonitorClient::new(folder.join("monitor.sock"));
    let status = client.status().await.unwrap();
    let killed = Instant::now();
    signal(status.vmm_process, Signal::KILL);
    let failed = |observed: &Observed| matches!(observed, Observed::Failed { .. });
    let observed = world.wait(&wanted.workspace, failed).await;
    assert!(
        killed.elapsed() < Duration::from_secs(1),
        "{:?}",
        killed.elapsed()
    );
    let Observed::Failed { failure, .. } = observed else {
        unreachable!()
    };
    assert!(failure.message.contains("signal: 9"), "{failure:?}");
    // It can be started again at once, and the old monitor is gone.
    world.running(&spec("one", 2)).await;
}

/// Plays a guest that never answers.
fn silent_agent(folder: &std::path::Path) -> std::path::PathBuf {
    let path = folder.join("silent");
    write_program(
        &path,
        "#!/bin/sh\necho the console says this\nexec sleep 1000\n",
    );
    path
}

#[tokio::test]
async fn a_start_can_be_stopped_and_deleted_half_way() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with_agent(&silent_agent(folder.path())).await;
    let wanted = spec("one", 1);
    let console = async |world: &World, wanted: &RunSpec| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !world
            .host
            .console(&wanted.workspace, 1000)
            .await
            .unwrap()
            .contains("the console says this")
        {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    world.host.run(wanted.clone()).await.unwrap();
    assert!(matches!(
        world.host.observe(&wanted.workspace).await,
        Observed::Starting { .. }
    ));
    console(&world, &wanted).await;
    world.host.stop(&wanted.workspace, 1_000).await.unwrap();
    assert_eq!(
        world.host.observe(&wanted.workspace).await,
        Observed::Stopped { epoch: 1 }
    );
    assert_eq!(world.processes(), [0; 0]);

    let wanted = spec("two", 1);
    world.host.run(wanted.clone()).await.unwrap();
    console(&world, &wanted).await;
    // A host agent that ends in the middle of a start goes on with it.
    let world = world.restart().await;
    assert!(matches!(
        world.host.observe(&wanted.workspace).await,
        Observed::Starting { epoch: 1 }
    ));
    world.host.delete(&wanted.workspace).await.unwrap();
    assert_eq!(
        world.host.observe(&wanted.workspace).await,
        Observed::Absent
    );
    assert_eq!(world.processes(), [0; 0]);
}

#[tokio::test]
async fn an_agent_that_dies_at_once_is_a_failed_start_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dying");
    write_program(&path, "#!/bin/sh\necho the last words\nexit 7\n");
    let world = World::with_agent(&path).await;
    let wanted = spec("one", 1);
    world.host.run(wanted.clone()).await.unwrap();
    let failed = |observed: &Observed| matches!(observed, Observed::Failed { .. });
    let Observed::Failed { failure, .. } = world.wait(&wanted.workspace, failed).await else {
        unreachable!()
    };
    assert!(failure.message.contains("exit status: 7"), "{failure:?}");
    assert!(failure.log.contains("the last words"), "{failure:?}");
    assert_eq!(world.host.describe().await.memory_promised_mib, 0);
    world.host.delete(&wanted.workspace).await.unwrap();
}

#[tokio::test]
async fn what_has_no_room_is_refused_with_numbers_and_leaves_nothing() {
    let world = World::new().await;
    let before = world.files();
    let mut wanted = spec("one", 1);
    wanted.size.memory_mib = 100_000_000;
    let refused = world.host.run(wanted.clone()).await.unwrap_err();
    assert!(matches!(&refused, HostError::NoRoom { message } if message.contains("100000096 MiB")));
    assert_eq!(
        world.host.observe(&wanted.workspace).await,
        Observed::Absent
    );
    assert_eq!(world.files(), before);
    assert!(world.host.run(spec("../evil", 1)).await.is_err());
}

#[tokio::test]
async fn streams_reach_ports_of_the_guest() {
    let world = World::new().await;
    let wanted = spec("one", 1);
    let closed = GuestStream::Tcp { port: 1 };
    let refused = world
        .host
        .connect(&wanted.workspace, closed)
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, HostError::NotRunning));
    world.running(&wanted).await;
    let refused = world
        .host
        .connect(&wanted.workspace, closed)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(refused, HostError::PortClosed { port: 1 }),
        "{refused}"
    );

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut stream = world
        .host
        .connect(&wanted.workspace, GuestStream::Tcp { port })
        .await
        .unwrap();
    let (mut served, _) = listener.accept().await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    served.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");
}

#[tokio::test]
async fn a_repository_is_cloned_once() {
    let server = GitServer::start();
    let world = World::new().await;
    let mut wanted = spec("one", 1);
    wanted.repository = Some(repository(&server.url("public/project.git")));
    world.running(&wanted).await;
    let cloned = |observed: &Observed| {
        matches!(
            observed,
            Observed::Running {
                clone: CloneState::Ready,
                ..
            }
        )
    };
    world.wait(&wanted.workspace, cloned).await;
    let readme = root(&world, "one").join("workspaces/project/README");
    assert_eq!(std::fs::read_to_string(&readme).unwrap(), "hello\n");
    std::fs::write(&readme, "changed\n").unwrap();
    let status = world.host.repositories(&wanted.workspace).await.unwrap();
    assert_eq!(
        (
            status.len(),
            status[0].uncommitted,
            status[0].branch.as_str()
        ),
        (1, 1, "main")
    );

    world.host.stop(&wanted.workspace, 5_000).await.unwrap();
    wanted.epoch = 2;
    world.running(&wanted).await;
    world.wait(&wanted.workspace, cloned).await;
    assert_eq!(std::fs::read_to_string(&readme).unwrap(), "changed\n");
}

fn clone_failure(observed: &Observed) -> Option<StartFailure> {
    match observed {
        Observed::Running {
            clone: CloneState::Failed { failure },
            ..
        } => Some(failure.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn a_clone_that_fails_leaves_a_running_workspace_and_can_be_tried_again() {
    let server = GitServer::start();
    let world = World::new().await;
    let mut wanted = spec("one", 1);
    wanted.repository = Some(repository(&server.url("public/later.git")));
    world.running(&wanted).await;
    let observed = world
        .wait(&wanted.workspace, |seen| clone_failure(seen).is_some())
        .await;
    assert_eq!(
        clone_failure(&observed).unwrap().kind,
        FailureKind::CloneNotFound,
        "{observed:?}"
    );
    // It survives a restart of the host agent.
    let world = world.restart().await;
    assert!(clone_failure(&world.host.observe(&wanted.workspace).await).is_some());
    server.make("public/later");
    world.host.retry_clone(&wanted.workspace).await.unwrap();
    world
        .wait(&wanted.workspace, |seen| {
            matches!(
                seen,
                Observed::Running {
                    clone: CloneState::Ready,
                    ..
                }
            )
        })
        .await;
    assert!(
        root(&world, "one")
            .join("workspaces/project/README")
            .exists()
    );
    let nothing_else = std::fs::read_dir(root(&world, "one").join("workspaces"))
        .unwrap()
        .count();
    assert_eq!(nothing_else, 1);
}

#[tokio::test]
async fn a_branch_that_does_not_exist_and_missing_credentials_are_told_apart() {
    let server = GitServer::start();
    let world = World::new().await;
    for (id, path, branch, kind) in [
        (
            "branch",
            "public/project.git",
            Some("nowhere"),
            FailureKind::CloneBranch,
        ),
        (
            "credentials",
            "private/project.git",
            None,
            FailureKind::CloneCredentials,
        ),
    ] {
        let mut wanted = spec(id, 1);
        wanted.repository = Some(repository(&server.url(path)));
        wanted.repository.as_mut().unwrap().branch = branch.map(Into::into);
        world.running(&wanted).await;
        let observed = world
            .wait(&WorkspaceId::new(id), |seen| clone_failure(seen).is_some())
            .await;
        assert_eq!(clone_failure(&observed).unwrap().kind, kind, "{observed:?}");
    }
}

#[tokio::test]
async fn many_cycles_leave_nothing_behind() {
    let cycles: u64 = std::env::var("ROOST_CYCLES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10);
    let world = World::new().await;
    let before = world.files();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    world.running(&spec("warm", 1)).await;
    world.host.delete(&WorkspaceId::new("warm")).await.unwrap();
    let open = descriptors();
    for cycle in 1..=cycles {
        let wanted = spec(&format!("cycle-{cycle}"), 1);
        world.running(&wanted).await;
        world.host.stop(&wanted.workspace, 5_000).await.unwrap();
        world.running(&spec(wanted.workspace.as_str(), 2)).await;
        world.host.delete(&wanted.workspace).await.unwrap();
        assert_eq!(world.files(), before);
        assert_eq!(world.processes(), [0; 0]);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while descriptors() > open + 4 {
        assert!(
            Instant::now() < deadline,
            "{} descriptors, {open} before",
            descriptors()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
