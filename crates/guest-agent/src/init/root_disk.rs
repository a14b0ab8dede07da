//! The root disk: mounted, and repaired first when it cannot be.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use rustix::mount::{MountFlags, UnmountFlags, mount as mount_at, unmount};
use tracing::{info, warn};

/// Mounts the disk for writing.
pub fn mount(disk: &Path, at: &Path) -> anyhow::Result<()> {
    let options = c"discard";
    let flags = MountFlags::NOATIME;
    let Err(error) = mount_at(disk, at, "ext4", flags, options) else {
        return Ok(());
    };
    warn!(%error, "the root disk cannot be mounted; repairing it");
    repair(disk, at)?;
    mount_at(disk, at, "ext4", flags, options)
        .with_context(|| format!("mounting {} after its repair", disk.display()))
}

/// With the repair program of the disk itself, which may be read without its journal.
fn repair(disk: &Path, at: &Path) -> anyhow::Result<()> {
    mount_at(disk, at, "ext4", MountFlags::RDONLY, c"noload")
        .with_context(|| format!("the disk {} cannot even be read", disk.display()))?;
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
        .map(|folder| at.join(folder).to_string_lossy().into_owned())
        .join(":");
    // The program's own loader is called with its libraries, since this is not its root.
    let status = Command::new(at.join("lib64/ld-linux-x86-64.so.2"))
        .args(["--library-path", &libraries])
        .arg(at.join("usr/sbin/e2fsck"))
        .args(["-f", "-y"])
        .arg(disk)
        .status();
    unmount(at, UnmountFlags::empty()).context("letting go of the damaged disk")?;
    match status.context("starting e2fsck")?.code() {
        // Nothing to do, or repaired.
        Some(0..=2) => {
            info!("the root disk was repaired");
            Ok(())
        }
        code => bail!("e2fsck could not repair {}: code {code:?}", disk.display()),
    }
}
