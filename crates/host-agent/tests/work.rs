//! Saved work: from a real guest agent with real git to the store, and back out of it.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet_api::host::{CloneState, Host, HostError, Observed, RunSpec};
use fleet_api::work::{ListedWork, SaveOutcome, WorkListing, WorkName};
use host_agent::LocalHost;
use model::OrganizationId;
use support::{GitServer, Profile, World, agent, git, repository, spec, write_program};
use tokio::io::AsyncReadExt;

/// The clone in the workspace.
fn clone_of(world: &World) -> PathBuf {
    let root = world.config.data.join("workspaces/one/root");
    root.join("workspaces/project")
}

fn owner() -> OrganizationId {
    OrganizationId::new("acme")
}

async fn cloned(world: &World, server: &GitServer) -> RunSpec {
    let mut wanted = spec("one", 1);
    wanted.organization = Some(owner());
    wanted.repository = Some(repository(&server.url("public/project.git")));
    start(world, &wanted).await;
    wanted
}

async fn start(world: &World, wanted: &RunSpec) {
    world.running(wanted).await;
    let ready = |observed: &Observed| {
        matches!(
            observed,
            Observed::Running {
                clone: CloneState::Ready,
                ..
            }
        )
    };
    world.wait(&wanted.workspace, ready).await;
}

async fn listing(host: &LocalHost, wanted: &RunSpec) -> WorkListing {
    host.saved_work(&wanted.workspace, &owner()).await.unwrap()
}

async fn bundle(host: &LocalHost, wanted: &RunSpec, name: &WorkName) -> Vec<u8> {
    let bundle = host.bundle_work(&wanted.workspace, &owner(), name);
    let mut bundle = bundle.await.unwrap();
    let mut content = Vec::new();
    bundle.content.read_to_end(&mut content).await.unwrap();
    assert!(
        bundle
            .bytes
            .is_none_or(|bytes| bytes == content.len() as u64)
    );
    content
}

/// What a file is in saved work, found out with git in a fresh clone.
fn taken_out(server: &GitServer, bundle: &[u8], name: &WorkName, file: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let clone = folder.path().join("clone");
    let url = server.url("public/project.git");
    git(folder.path(), &["clone", "-q", &url, "clone"]);
    std::fs::write(folder.path().join("work.bundle"), bundle).unwrap();
    let refs = "refs/roost/wip/*:refs/roost/wip/*";
    git(&clone, &["fetch", "-q", "../work.bundle", refs]);
    git(&clone, &["show", &format!("{}:{file}", name.reference)])
}

#[tokio::test]
async fn work_outlives_the_machine_and_the_disk_and_comes_back() {
    let server = GitServer::start();
    let world = World::new().await;
    let wanted = cloned(&world, &server).await;
    let readme = clone_of(&world).join("README");
    let nothing = listing(&world.host, &wanted).await;
    assert_eq!((nothing.saved, nothing.current), (Vec::new(), true));
    let clean = world.host.save_work(&wanted.workspace).await.unwrap();
    assert_eq!(clean[0].outcome, SaveOutcome::Clean);

    std::fs::write(&readme, "by hand\n").unwrap();
    let saved = world.host.save_work(&wanted.workspace).await.unwrap();
    let SaveOutcome::Saved {
        files: 1,
        before: false,
        stored: true,
        ..
    } = &saved[0].outcome
    else {
        panic!("{saved:?}");
    };
    let again = world.host.save_work(&wanted.workspace).await.unwrap();
    assert!(
        matches!(
            again[0].outcome,
            SaveOutcome::Saved {
                before: true,
                stored: true,
                ..
            }
        ),
        "{again:?}"
    );

    // What is there when it stops is saved too, and is listed and taken out while nothing runs.
    std::fs::write(&readme, "at the stop\n").unwrap();
    world.host.stop(&wanted.workspace, 10_000).await.unwrap();
    let stopped = listing(&world.host, &wanted).await;
    let reasons: Vec<&str> = stopped
        .saved
        .iter()
        .map(|listed| listed.saved.reason.as_str())
        .collect();
    assert_eq!((reasons, stopped.current), (vec!["stop", "asked"], false));
    let [at_stop, by_hand] = [0, 1].map(|at: usize| stopped.saved[at].saved.name.clone());
    assert_eq!(by_hand.path, clone_of(&world).to_string_lossy());
    let taken = bundle(&world.host, &wanted, &at_stop).await;
    assert_eq!(
        taken_out(&server, &taken, &at_stop, "README"),
        "at the stop\n"
    );
    let refused = world.host.save_work(&wanted.workspace).await.unwrap_err();
    assert!(matches!(refused, HostError::NotRunning), "{refused:?}");
    let refused = world.host.restore_work(&wanted.workspace, &by_hand).await;
    assert!(matches!(refused, Err(HostError::NotRunning)), "{refused:?}");

    // The change is lost in the workspace, and so is what the guest saved of it.
    let next = RunSpec {
        epoch: 2,
        ..wanted.clone()
    };
    start(&world, &next).await;
    let project = clone_of(&world);
    git(&project, &["checkout", "-q", "."]);
    git(&project, &["update-ref", "-d", &by_hand.reference]);
    git(&project, &["update-ref", "-d", &at_stop.reference]);
    git(&project, &["gc", "-q", "--prune=now"]);
    let only_stored = listing(&world.host, &wanted).await;
    assert_eq!((only_stored.saved.len(), only_stored.current), (2, true));
    let restored = world.host.restore_work(&wanted.workspace, &by_hand).await;
    assert_eq!(restored.unwrap().files, 1);
    assert_eq!(std::fs::read_to_string(&readme).unwrap(), "by hand\n");
    let unknown = WorkName {
        reference: "refs/roost/wip/main/20200101T000000.000Z".into(),
        ..by_hand.clone()
    };
    let missing = world.host.restore_work(&wanted.workspace, &unknown).await;
    assert!(
        matches!(missing, Err(HostError::Missing { .. })),
        "{missing:?}"
    );
    let missing = world
        .host
        .bundle_work(&wanted.workspace, &owner(), &unknown);
    let missing = missing.await.map(|_| ());
    assert!(
        matches!(missing, Err(HostError::Missing { .. })),
        "{missing:?}"
    );
    std::fs::rename(&project, project.with_extension("away")).unwrap();
    let nowhere = world.host.restore_work(&wanted.workspace, &by_hand).await;
    let Err(HostError::Conflict { message }) = nowhere else {
        panic!("{nowhere:?}");
    };
    assert!(message.contains("clone the repository there"), "{message}");

    // The host's disk is lost: all that is left is the store and its keys.
    world.host.stop(&wanted.workspace, 10_000).await.unwrap();
    let World {
        folder,
        host,
        config,
    } = world;
    drop(host);
    std::fs::remove_dir_all(config.data.join("workspaces")).unwrap();
    let host = LocalHost::new(config.clone(), Arc::new(Profile::default()))
        .await
        .unwrap();
    assert!(host.inventory().await.is_empty());
    let left = listing(&host, &wanted).await;
    assert!(left.saved.iter().any(|listed| listed.saved.name == at_stop));
    let taken = bundle(&host, &wanted, &at_stop).await;
    assert_eq!(
        taken_out(&server, &taken, &at_stop, "README"),
        "at the stop\n"
    );
    // Others' is not shown.
    let others = host.saved_work(&wanted.workspace, &OrganizationId::new("other"));
    assert_eq!(others.await.unwrap().saved, []);
    drop(folder);
}

#[tokio::test]
async fn the_timer_brings_the_newest_and_a_deletion_leaves_none() {
    let server = GitServer::start();
    let folder = tempfile::tempdir().unwrap();
    let eager = folder.path().join("agent");
    let text = format!(
        "#!/bin/sh\nexec '{}' --wip-interval-ms 20 \"$@\"\n",
        agent().display()
    );
    write_program(&eager, &text);
    let world = World::with(|config| {
        config.driver = host_agent::config::Driver::Process {
            agent: eager.clone(),
        };
        config.work_every = Duration::from_millis(20);
    })
    .await;
    let wanted = cloned(&world, &server).await;
    let project = clone_of(&world);
    let stored = |content: &'static str| {
        let (world, wanted, server) = (&world, &wanted, &server);
        async move {
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                let listing = listing(&world.host, wanted).await;
                let newest = listing.saved.first().cloned();
                if let Some(ListedWork {
                    saved,
                    bundle: Some(_),
                }) = &newest
                {
                    let bundle = bundle(&world.host, wanted, &saved.name).await;
                    if taken_out(server, &bundle, &saved.name, "README") == content {
                        return saved.clone();
                    }
                }
                assert!(Instant::now() < deadline, "{content:?}: {newest:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    for content in ["first\n", "second\n"] {
        // At once: a file that is empty for a moment would be saved too.
        std::fs::write(project.join("../new"), content).unwrap();
        std::fs::rename(project.join("../new"), project.join("README")).unwrap();
        assert_eq!(stored(content).await.reason, "timer");
    }

    // One that is too large for the store is named, and is there while the machine runs.
    let mut noise = vec![0; 33 << 20];
    let mut state = 1u64;
    for piece in noise.chunks_mut(8) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        piece.copy_from_slice(&(state ^ (state >> 29)).to_le_bytes()[..piece.len()]);
    }
    std::fs::write(project.join("../new"), &noise).unwrap();
    std::fs::rename(project.join("../new"), project.join("large")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let large = loop {
        let listing = listing(&world.host, &wanted).await;
        let told = listing
            .problems
            .iter()
            .find(|one| one.message.contains("larger than"));
        if let Some(problem) = told {
            assert_eq!(problem.path, project.to_string_lossy());
            break listing.saved[0].clone();
        }
        assert!(Instant::now() < deadline, "{listing:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(large.bundle, None);
    let whole = bundle(&world.host, &wanted, &large.saved.name).await;
    assert!(whole.len() > noise.len());
    std::fs::remove_file(project.join("large")).unwrap();

    world.host.delete(&wanted.workspace).await.unwrap();
    assert_eq!(listing(&world.host, &wanted).await, WorkListing::default());
    let left: Vec<PathBuf> = world
        .files()
        .into_iter()
        .filter(|path| path.starts_with("store") && world.config.data.join(path).is_file())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
