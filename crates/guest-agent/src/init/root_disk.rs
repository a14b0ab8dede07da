//! The root disk: mounted, repaired first when it cannot be, and as large as its device.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use rustix::mount::{MountFlags, UnmountFlags, mount as mount_at, unmount};
use tracing::{info, warn};

use crate::sys;

/// Mounts the disk for writing.
pub fn mount(disk: &Path, at: &Path) -> anyhow::Result<()> {
    let options = c"discard";
    let flags = MountFlags::NOATIME;
    if let Err(error) = mount_at(disk, at, "ext4", flags, options) {
        warn!(%error, "the root disk cannot be mounted; repairing it");
        repair(disk, at)?;
        mount_at(disk, at, "ext4", flags, options)
            .with_context(|| format!("mounting {} after its repair", disk.display()))?;
    }
    if let Err(error) = grow(disk, at) {
        // It is as usable as before.
        warn!(%error, "the file system does not grow to the size of its disk");
    }
    Ok(())
}

/// Makes the file system mounted at `at` as large as its device; the kernel does it while it is used.
fn grow(disk: &Path, at: &Path) -> anyhow::Result<()> {
    let bytes = File::open(disk)?.seek(SeekFrom::End(0))?;
    let block = rustix::fs::statvfs(at)?.f_frsize;
    // The size that it has already changes nothing.
    sys::resize_ext4(&File::open(at)?, bytes / block)?;
    Ok(())
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
