//! A data folder of the first version, checked in: every later version must open it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fleet_api::host::{Host, Observed};
use host_agent::config::Driver;
use host_agent::images::Images;
use host_agent::runner::disk;
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

/// 512 bytes of the disk, as a guest sees them; `None` without QEMU's tools.
fn read(disk: &Path, base: &Path, offset: u64) -> Option<Vec<u8>> {
    let raw = disk.with_extension("raw");
    let image = format!(
        "driver=qcow2,file.driver=file,file.filename={},backing.driver=raw,\
         backing.file.driver=file,backing.file.filename={}",
        disk.display(),
        base.display()
    );
    let read = Command::new("qemu-img")
        .args(["dd", "--image-opts", "-O", "raw", "bs=512"])
        // It counts what it skips.
        .arg(format!("count={}", offset / 512 + 1))
        .arg(format!("skip={}", offset / 512))
        .arg(format!("if={image}"))
        .arg(format!("of={}", raw.display()))
        .status()
        .ok()?;
    assert!(read.success());
    Some(std::fs::read(raw).unwrap())
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

#[test]
fn the_disk_of_the_first_version_still_has_its_base_and_what_was_written() {
    let data = copy();
    let folder = data.path().join("workspaces").join(WORKSPACE);
    let images = Images::new(data.path().join("images"), None);
    let disk = disk::prepare(&images, &folder, 16).unwrap();
    let base = images.files(&disk.images).base;
    let Some(start) = read(&disk.path, &base, 0) else {
        eprintln!("skipped: needs qemu-img");
        return;
    };
    assert!(start.starts_with(b"base\n"));
    let written = read(&disk.path, &base, 131_072).unwrap();
    let text = b"written by a workspace\n";
    assert!(written.windows(text.len()).any(|window| window == text));
}
