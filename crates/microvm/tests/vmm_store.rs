//! Keeping the installed QEMU: it runs from the copy, and the copy is found again.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

use std::process::Command;

use microvm::vmm_store::{Layout, PinError, pin};

#[test]
fn the_installed_qemu_is_kept_once_and_runs_from_there() {
    let data = tempfile::tempdir().unwrap();
    let pinned = pin(data.path()).unwrap();
    let again = std::time::Instant::now();
    assert_eq!(pin(data.path()).unwrap(), pinned);
    let again = again.elapsed();
    assert!(again.as_millis() < 100, "finding it again took {again:?}");

    let layout = Layout::of(&pinned.folder);
    let output = Command::new(&layout.loader)
        .args(["--inhibit-cache", "--library-path"])
        .arg(&layout.libraries)
        .arg(&layout.program)
        .arg("--version")
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.starts_with("QEMU emulator version"),
        "{output:?}"
    );
}

#[test]
fn an_unfinished_copy_is_not_taken_for_a_kept_one() {
    let data = tempfile::tempdir().unwrap();
    let pinned = pin(data.path()).unwrap();
    std::fs::remove_dir_all(&pinned.folder).unwrap();
    assert_eq!(pin(data.path()).unwrap(), pinned);
    let program = std::fs::metadata(Layout::of(&pinned.folder).program).unwrap();
    assert!(program.len() > 1_000_000);
    let left = std::fs::read_dir(data.path().join("vmm"))
        .unwrap()
        .flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().contains("unfinished"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_host_without_qemu_is_told_how_to_get_it() {
    // The search path is this process's own: ask in a child of its own.
    if std::env::var_os("ROOST_TEST_WITHOUT_QEMU").is_some() {
        let error = pin(std::path::Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(error, PinError::Missing));
        assert!(
            error
                .to_string()
                .contains("apt-get install qemu-system-x86"),
            "{error}"
        );
        return;
    }
    let name = "a_host_without_qemu_is_told_how_to_get_it";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env("ROOST_TEST_WITHOUT_QEMU", "1")
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
}
