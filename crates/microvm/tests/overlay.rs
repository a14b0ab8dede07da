//! Copy-on-write disks, judged by QEMU's own tool.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

use std::path::Path;
use std::process::Command;

use microvm::overlay::{OverlayError, create, grow};

const MIB: u64 = 1024 * 1024;

fn qemu_img(arguments: &[&str], path: &Path) -> String {
    let output = Command::new("qemu-img")
        .args(arguments)
        .arg(path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn qemu_io(path: &Path, command: &str) -> String {
    let output = Command::new("qemu-io")
        .args(["-f", "qcow2", "-c", command])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && !text.contains("failed"),
        "{command}: {text}"
    );
    text
}

fn base(folder: &Path) -> std::path::PathBuf {
    let base = folder.join("base.ext4");
    std::fs::write(&base, vec![0x5a; 3 * MIB as usize]).unwrap();
    base
}

#[test]
fn a_new_disk_shows_its_base_and_keeps_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.qcow2");
    create(&disk, &base(folder.path()), 2048 * MIB).unwrap();
    qemu_img(&["check", "-q", "-f", "qcow2"], &disk);
    let info: serde_json::Value =
        serde_json::from_str(&qemu_img(&["info", "--output=json"], &disk)).unwrap();
    assert_eq!(info["virtual-size"], 2048 * MIB);
    assert_eq!(info["backing-filename-format"], "raw");

    qemu_io(&disk, "read -P 0x5a 2M 1M");
    qemu_io(&disk, "read -P 0 3M 64k");
    qemu_io(&disk, "write -P 0x11 2M 4k");
    qemu_io(&disk, "write -P 0x22 2047M 1M");
    qemu_io(&disk, "read -P 0x11 2M 4k");
    qemu_img(&["check", "-q", "-f", "qcow2"], &disk);
}

#[test]
fn a_disk_grows_and_keeps_what_is_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.qcow2");
    create(&disk, &base(folder.path()), 16 * MIB).unwrap();
    qemu_io(&disk, "write -P 0x11 15M 1M");
    grow(&disk, 3 << 30).unwrap();
    grow(&disk, 5 * MIB).unwrap();
    qemu_img(&["check", "-q", "-f", "qcow2"], &disk);
    qemu_io(&disk, "read -P 0x11 15M 1M");
    qemu_io(&disk, "write -P 0x33 3071M 1M");
    qemu_io(&disk, "read -P 0x33 3071M 1M");
    qemu_img(&["check", "-q", "-f", "qcow2"], &disk);
}

#[test]
fn a_disk_smaller_than_its_base_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.qcow2");
    let error = create(&disk, &base(folder.path()), MIB).unwrap_err();
    assert!(matches!(error, OverlayError::Size { .. }), "{error}");
    assert!(!disk.exists());
}

#[test]
fn an_existing_disk_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.qcow2");
    std::fs::write(&disk, "somebody's work").unwrap();
    assert!(create(&disk, &base(folder.path()), 16 * MIB).is_err());
    assert!(matches!(
        grow(&disk, 16 * MIB),
        Err(OverlayError::Io(_) | OverlayError::Foreign)
    ));
    assert_eq!(std::fs::read_to_string(&disk).unwrap(), "somebody's work");
}
