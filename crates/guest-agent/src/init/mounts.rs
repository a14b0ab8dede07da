//! File systems: the kernel's own first, then the root disk as the root, then what a system expects.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use anyhow::Context;
use rustix::mount::{MountFlags, mount, mount_move};
use tracing::warn;

/// Where what was in /tmp before this boot waits to be removed.
const OLD_TEMPORARY: &str = "/.roost-old-tmp";

/// What the way up itself needs. Afterwards standard streams are the console.
pub fn first() -> anyhow::Result<()> {
    for folder in ["/dev", "/proc", "/sys", "/newroot"] {
        fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
    }
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    make("devtmpfs", "/dev", MountFlags::NOSUID, "mode=0755")?;
    make("proc", "/proc", strict, "")?;
    make("sysfs", "/sys", strict, "")?;
    if let Ok(console) = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/console")
    {
        // The kernel may have found no console to give.
        rustix::stdio::dup2_stdin(&console)?;
        rustix::stdio::dup2_stdout(&console)?;
        rustix::stdio::dup2_stderr(&console)?;
    }
    Ok(())
}

fn make(kind: &str, at: &str, flags: MountFlags, options: &str) -> anyhow::Result<()> {
    let options = std::ffi::CString::new(options)?;
    mount(kind, at, kind, flags, options.as_c_str()).with_context(|| format!("mounting {at}"))
}

/// Makes `new` the root, and gives back the memory of the old one.
pub fn switch_root(new: &Path) -> io::Result<()> {
    for folder in ["dev", "proc", "sys"] {
        mount_move(Path::new("/").join(folder), new.join(folder))?;
    }
    // The initramfs is memory. This program's own file goes when it ends, which is never.
    for name in ["/init", "/lib", "/etc"] {
        let path = Path::new(name);
        let removed = if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        if let Err(error) = removed {
            warn!(name, %error, "a part of the initramfs stays in memory");
        }
    }
    rustix::process::chdir(new)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Everything else that programs expect of a system.
pub fn rest(user: u32) -> anyhow::Result<()> {
    let secure = MountFlags::NOSUID | MountFlags::NODEV;
    for folder in ["/dev/pts", "/dev/shm"] {
        fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
    }
    make(
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        "gid=5,mode=620,ptmxmode=666",
    )?;
    make("tmpfs", "/dev/shm", secure, "mode=1777")?;
    make("tmpfs", "/run", secure, "mode=755,size=25%")?;
    make(
        "cgroup2",
        "/sys/fs/cgroup",
        secure | MountFlags::NOEXEC,
        "nsdelegate",
    )?;
    for (name, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, name).with_context(|| format!("making {name}"))?;
    }
    let own = format!("/run/user/{user}");
    fs::create_dir_all(&own).context("making the user's runtime folder")?;
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700))?;
    chown(&own, Some(user), Some(user))?;
    fs::create_dir_all("/run/lock")?;
    fs::set_permissions("/run/lock", fs::Permissions::from_mode(0o1777))?;
    if let Err(error) = renew_temporary_files().and_then(|()| name_machine()) {
        // A full disk must not keep its owner from making room.
        warn!(%error, "the root disk takes no changes");
    }
    Ok(())
}

/// /tmp stays on the disk, where there is more room than in memory, and is empty after each boot.
fn renew_temporary_files() -> io::Result<()> {
    let old = Path::new(OLD_TEMPORARY);
    if fs::read_dir("/tmp").is_ok_and(|mut entries| entries.next().is_some()) && !old.exists() {
        fs::rename("/tmp", old)?;
    }
    fs::create_dir_all("/tmp")?;
    fs::set_permissions("/tmp", fs::Permissions::from_mode(0o1777))
}

/// Removes what /tmp held before, while the machine is in use already.
pub fn empty_old_temporary_files() {
    if let Err(error) = fs::remove_dir_all(OLD_TEMPORARY)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(%error, "old temporary files stay");
    }
}

/// An environment's disk comes without an identity of its own.
fn name_machine() -> io::Result<()> {
    let path = "/etc/machine-id";
    if fs::read_to_string(path).is_ok_and(|id| !id.trim().is_empty()) {
        return Ok(());
    }
    let id = u128::from_ne_bytes(guest_protocol::link::random_nonce());
    fs::write(path, format!("{id:032x}\n"))
}
