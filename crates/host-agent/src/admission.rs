//! Whether a workspace still has room on this host. Pure: what is there and what is promised are arguments.

use model::Size;

use crate::config::Room;

/// What the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub cpus: u32,
    pub memory_mib: u64,
    pub disk_free_mib: u64,
}

/// What has been promised to workspaces that run or start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promised {
    pub vcpus: u32,
    /// With the overhead of each virtual machine.
    pub memory_mib: u64,
}

impl Promised {
    /// The sum over the workspaces' sizes.
    pub fn of(sizes: impl IntoIterator<Item = Size>, room: &Room) -> Self {
        sizes.into_iter().fold(Self::default(), |sum, size| Self {
            vcpus: sum.vcpus + size.vcpus,
            memory_mib: sum.memory_mib + size.memory_mib + room.memory_overhead_mib,
        })
    }
}

/// What is missing, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error(
        "not enough memory on this host: the workspace needs {needed} MiB, {free} of {total} MiB are free \
         ({promised} MiB promised to running workspaces, {reserve} MiB kept for the host). \
         Stop a workspace, or choose a smaller size"
    )]
    Memory {
        needed: u64,
        free: u64,
        total: u64,
        promised: u64,
        reserve: u64,
    },
    #[error(
        "not enough CPUs on this host: the workspace needs {needed} vCPUs, {free} of {total} are free. \
         Stop a workspace, or choose a smaller size"
    )]
    Cpus { needed: u32, free: u32, total: u32 },
    #[error(
        "the host's disk is too full: {free} MiB are free in the data folder, and {reserve} MiB must stay \
         free. Delete workspaces or files, or move the data folder to a larger disk"
    )]
    Disk { free: u64, reserve: u64 },
}

/// Whether `size` fits beside what is promised already.
pub fn admit(
    size: Size,
    capacity: Capacity,
    promised: Promised,
    room: &Room,
) -> Result<(), NoRoom> {
    if capacity.disk_free_mib < room.disk_reserve_mib {
        return Err(NoRoom::Disk {
            free: capacity.disk_free_mib,
            reserve: room.disk_reserve_mib,
        });
    }
    let needed = size.memory_mib + room.memory_overhead_mib;
    let free = capacity
        .memory_mib
        .saturating_sub(room.memory_reserve_mib)
        .saturating_sub(promised.memory_mib);
    if needed > free {
        return Err(NoRoom::Memory {
            needed,
            free,
            total: capacity.memory_mib,
            promised: promised.memory_mib,
            reserve: room.memory_reserve_mib,
        });
    }
    let total = capacity.cpus.saturating_mul(room.vcpus_per_cpu);
    let free = total.saturating_sub(promised.vcpus);
    if size.vcpus > free {
        return Err(NoRoom::Cpus {
            needed: size.vcpus,
            free,
            total,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity {
        cpus: 2,
        memory_mib: 8192,
        disk_free_mib: 10_000,
    };
    const ROOM: Room = Room {
        memory_reserve_mib: 1024,
        memory_overhead_mib: 96,
        vcpus_per_cpu: 2,
        disk_reserve_mib: 2048,
    };

    fn size(vcpus: u32, memory_mib: u64) -> Size {
        Size {
            vcpus,
            memory_mib,
            disk_gib: 16,
        }
    }

    #[test]
    fn what_fits_and_what_does_not() {
        let running = |sizes: &[Size]| Promised::of(sizes.iter().copied(), &ROOM);
        for (running, asked, capacity, expected) in [
            (running(&[]), size(1, 7072), CAPACITY, Ok(())),
            (
                running(&[]),
                size(1, 7073),
                CAPACITY,
                Err(NoRoom::Memory {
                    needed: 7169,
                    free: 7168,
                    total: 8192,
                    promised: 0,
                    reserve: 1024,
                }),
            ),
            (running(&[size(1, 4000)]), size(1, 2976), CAPACITY, Ok(())),
            (
                running(&[size(1, 4000)]),
                size(1, 2977),
                CAPACITY,
                Err(NoRoom::Memory {
                    needed: 3073,
                    free: 3072,
                    total: 8192,
                    promised: 4096,
                    reserve: 1024,
                }),
            ),
            (running(&[size(2, 256)]), size(2, 256), CAPACITY, Ok(())),
            (
                running(&[size(3, 256)]),
                size(2, 256),
                CAPACITY,
                Err(NoRoom::Cpus {
                    needed: 2,
                    free: 1,
                    total: 4,
                }),
            ),
            (
                running(&[]),
                size(1, 256),
                Capacity {
                    disk_free_mib: 2047,
                    ..CAPACITY
                },
                Err(NoRoom::Disk {
                    free: 2047,
                    reserve: 2048,
                }),
            ),
        ] {
            assert_eq!(
                admit(asked, capacity, running, &ROOM),
                expected,
                "{asked:?} beside {running:?}"
            );
        }
    }

    #[test]
    fn a_refusal_has_the_numbers_and_a_next_step() {
        let error = admit(size(1, 9000), CAPACITY, Promised::default(), &ROOM)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("9096 MiB") && error.contains("7168 of 8192"),
            "{error}"
        );
        assert!(error.contains("Stop a workspace"), "{error}");
    }
}
