//! Boots the real kernel under KVM to see whether it can.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use std::path::Path;

use crate::sys;
use crate::vmm_store::{Layout, PinnedVmm};

/// Under a KVM that works it takes less than a second.
const BOOTS_WITHIN: Duration = Duration::from_secs(5);

/// The kernel says it when it has come up as far as the first program.
const MARK: &str = "Run /init as init process";

/// Whether `/dev/kvm` may be used at all; if not, why, for a person.
pub fn usable_kvm() -> Result<(), String> {
    match std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err("this machine has no /dev/kvm: enable virtualisation in its firmware or hypervisor".to_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err("/dev/kvm may not be opened by this user: add it to the group kvm (usermod -aG kvm USER)".to_owned())
        }
        Err(error) => Err(format!("/dev/kvm cannot be opened: {error}")),
    }
}

/// Whether the kernel comes up; if not, why, for a person.
pub async fn boot(
    vmm: &PinnedVmm,
    model: &str,
    kernel: &Path,
    initramfs: &Path,
) -> Result<(), String> {
    let layout = Layout::of(&vmm.folder);
    let mut command = Command::new(&layout.loader);
    command
        .args(["--inhibit-cache", "--library-path"])
        .arg(&layout.libraries)
        .arg(&layout.program)
        .arg("-L")
        .arg(&layout.firmware)
        .args([
            "-machine", "microvm", "-accel", "kvm", "-cpu", model, "-m", "256M",
        ])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-serial",
            "stdio",
        ])
        .args([
            "-append",
            "console=ttyS0 panic=-1 reboot=t cryptomgr.notests",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    sys::confine(&mut command, sys::Confinement::default());
    let mut child = command
        .spawn()
        .map_err(|error| format!("the VMM cannot be started: {error}"))?;
    let console = child.stdout.take().expect("it is piped");
    let outcome = tokio::time::timeout(BOOTS_WITHIN, comes_up(BufReader::new(console))).await;
    // It has said all that we want to know.
    let _ = child.kill().await;
    match outcome {
        Ok(true) => Ok(()),
        Ok(false) => Err("/dev/kvm is there, but the guest's kernel dies under it".to_owned()),
        Err(_) => {
            let seconds = BOOTS_WITHIN.as_secs();
            Err(format!(
                "/dev/kvm is there, but the guest's kernel does not come up under it within {seconds} s"
            ))
        }
    }
}

async fn comes_up(mut console: impl AsyncBufReadExt + Unpin) -> bool {
    let mut line = Vec::new();
    loop {
        line.clear();
        match console.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return false,
            Ok(_) if String::from_utf8_lossy(&line).contains(MARK) => return true,
            Ok(_) => {}
        }
    }
}
