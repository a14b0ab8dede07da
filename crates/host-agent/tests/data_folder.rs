//! A data folder of the first version, checked in: every later version must open it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;
use std::sync::Arc;

use disk_server::DoorChoice;
use fleet_api::host::{Host, Observed};
use host_agent::config::Driver;
use host_agent::disks::Disks;
use host_agent::images::Images;
use host_agent::runner::disk::{Preparation, Resting};
use host_agent::{HostConfig, LocalHost};
use model::WorkspaceId;

const WORKSPACE: &str = "0193a7a0-0000-7000-8000-000000000001";

/// The fixture, where it may be written to.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/data-1/.");
    let copied = Command::new("cp")
        .args(["-r", fixture])
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(copied.success());
    folder
}

#[tokio::test]
async fn a_host_takes_up_what_the_first_version_wrote() {
    let data = copy();
    let mut config = HostConfig::new(data.path(), "/nonexistent");
    config.driver = Driver::Process {
        agent: "/nonexistent".into(),
    };
    let host = LocalHost::new(config, Arc::new(support::Profile::default()))
        .await
        .unwrap();
    let workspace = WorkspaceId::new(WORKSPACE);
    assert_eq!(
        host.observe(&workspace).await,
        Observed::Stopped { epoch: 7 }
    );
    host.delete(&workspace).await.unwrap();
    assert!(!data.path().join("workspaces").join(WORKSPACE).exists());
}

#[tokio::test]
async fn the_disk_of_the_first_version_is_converted_and_has_what_was_written() {
    let data = copy();
    let folder = data.path().join("workspaces").join(WORKSPACE);
    let images = Images::new(data.path().join("images"), None);
    let disks = Disks::open(data.path(), None, DoorChoice::Auto).unwrap();
    let run = support::spec(WORKSPACE, 8);
    let prepare = |told: &mut u32| {
        let mut preparation = Preparation {
            resting: Resting {
                images: &images,
                disks: &disks,
                folder: &folder,
                run: &run,
            },
            folder_of: &|_| unreachable!("nothing is forked"),
            progress: &mut |_, _| *told += 1,
        };
        preparation.run().unwrap()
    };
    let mut told = 0;
    let disk = prepare(&mut told).server.disk;
    assert!(told > 0 && disk.must_exist);
    assert!(!folder.join("disk.qcow2").exists() && folder.join("disk.qcow2.converted").exists());
    let opened = disk.open(None).unwrap();
    let read = |offset: u64| {
        let mut found = vec![0; 512];
        opened.read(offset, &mut found).unwrap();
        found
    };
    assert!(read(0).starts_with(b"base\n"));
    let text = b"written by a workspace\n";
    assert!(
        read(131_072)
            .windows(text.len())
            .any(|window| window == text)
    );
    drop(opened);
    // The next start converts nothing, and a loss is noticed.
    let mut told = 0;
    let again = prepare(&mut told).server.disk;
    assert_eq!(told, 0);
    std::fs::remove_dir_all(&again.folder).unwrap();
    let Err(error) = again.open(None) else {
        panic!("an empty disk was made");
    };
    assert!(error.to_string().contains("has no disk"), "{error}");
}

/// A conversion that fails leaves the old disk as it is.
#[test]
fn a_layer_that_cannot_be_read_stays() {
    let data = copy();
    let folder = data.path().join("workspaces").join(WORKSPACE);
    let layer = folder.join("disk.qcow2");
    let mut bytes = std::fs::read(&layer).unwrap();
    // Its table is said to lie beyond the end.
    bytes[40] = 1;
    std::fs::write(&layer, &bytes).unwrap();
    let mut preparation = Preparation {
        resting: Resting {
            images: &Images::new(data.path().join("images"), None),
            disks: &Disks::open(data.path(), None, DoorChoice::Auto).unwrap(),
            folder: &folder,
            run: &support::spec(WORKSPACE, 8),
        },
        folder_of: &|_| unreachable!("nothing is forked"),
        progress: &mut |_, _| {},
    };
    let failure = preparation.run().unwrap_err();
    assert!(failure.message.contains("is as it was"), "{failure:?}");
    assert_eq!(std::fs::read(&layer).unwrap(), bytes);
}
