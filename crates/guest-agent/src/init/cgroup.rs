//! The user's processes have a control group, so that they can use up neither the memory nor the time that
//! the agent needs.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use tracing::warn;

use crate::figures::proc::Memory;

/// Memory that is not the user's, bytes: the agent's and some of the kernel's.
const RESERVE: u64 = 48 * 1024 * 1024;

/// Makes the group; what is written to the file returned joins it.
pub fn prepare() -> io::Result<OwnedFd> {
    let root = Path::new("/sys/fs/cgroup");
    let user = root.join("user");
    for controller in ["memory", "cpu", "pids", "io"] {
        if let Err(error) = fs::write(
            root.join("cgroup.subtree_control"),
            format!("+{controller}"),
        ) {
            warn!(controller, %error, "a resource is not controlled");
        }
    }
    fs::create_dir_all(&user)?;
    let memory = Memory::now().total.saturating_sub(RESERVE);
    for (name, value) in [
        ("memory.max", memory.to_string()),
        // One process dies, not all of them.
        ("memory.oom.group", "0".into()),
        ("cpu.weight", "50".into()),
        ("pids.max", "16384".into()),
    ] {
        if let Err(error) = fs::write(user.join(name), value) {
            warn!(name, %error, "a limit is not set");
        }
    }
    Ok(File::options()
        .write(true)
        .open(user.join("cgroup.procs"))?
        .into())
}
