//! What the kernel tells and is told through its file systems.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use tracing::warn;

/// How long the host's device may take to name its ports.
const PATIENCE: Duration = Duration::from_secs(30);

/// The device of the virtio-serial port of that name. Names arrive a moment after the driver.
pub fn port(name: &str) -> anyhow::Result<PathBuf> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for entry in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
            .flatten()
        {
            let found = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if found.trim_end() == name {
                return Ok(Path::new("/dev").join(entry.file_name()));
            }
        }
        if Instant::now() > deadline {
            bail!("the virtual machine has no serial port named {name}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Settings that a development machine has, as far as the kernel knows them.
pub fn settings() {
    for (name, value) in [
        ("fs/inotify/max_user_watches", "524288"),
        ("fs/inotify/max_user_instances", "1024"),
        ("net/ipv4/ping_group_range", "0 2147483647"),
        ("vm/max_map_count", "262144"),
    ] {
        if let Err(error) = fs::write(Path::new("/proc/sys").join(name), value) {
            warn!(name, %error, "a kernel setting stays as it is");
        }
    }
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "-1000") {
        warn!(%error, "the agent is not spared when memory runs out");
    }
    let name = fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = if name.trim().is_empty() {
        "workspace"
    } else {
        name.trim()
    };
    if let Err(error) = rustix::system::sethostname(name.as_bytes()) {
        warn!(%error, "the machine has no name");
    }
}
