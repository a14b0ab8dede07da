//! What this machine has.

use std::path::Path;

use crate::admission::Capacity;

/// CPUs and memory, as far as this process may use them, and the free room of the data folder's disk.
pub fn measure(data: &Path) -> Capacity {
    Capacity {
        cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32),
        memory_mib: memory_limit().map_or(total_memory(), |limit| limit.min(total_memory())) >> 20,
        disk_free_mib: disk_free(data) >> 20,
    }
}

/// Bytes that an ordinary user may still write in the folder; none when it cannot be told.
pub fn disk_free(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |system| system.f_bavail * system.f_frsize)
}

fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Of a container that this runs in.
fn memory_limit() -> Option<u64> {
    [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    .iter()
    .find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_something() {
        let folder = tempfile::tempdir().unwrap();
        let capacity = measure(folder.path());
        assert!(capacity.cpus > 0 && capacity.memory_mib > 100 && capacity.disk_free_mib > 0);
        assert_eq!(disk_free(Path::new("/nowhere")), 0);
    }
}
