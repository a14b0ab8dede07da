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
    /// Of the disk, for the memory of all of them when they are suspended.
    pub suspend_mib: u64,
}

impl Promised {
    /// The sum over the workspaces' sizes.
    pub fn of(sizes: impl IntoIterator<Item = Size>, room: &Room) -> Self {
        sizes.into_iter().fold(Self::default(), |sum, size| Self {
            vcpus: sum.vcpus + size.vcpus,
            memory_mib: sum.memory_mib + size.memory_mib + room.memory_overhead_mib,
            suspend_mib: sum.suspend_mib + size.memory_mib,
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
        "the host's disk is too full: {free} MiB are free in the data folder, and {more} MiB are needed beside what \
         must stay free ({floor} MiB for the host, {suspends} MiB for the memory of running workspaces when they are \
         suspended). Stop or delete workspaces, or move the data folder to a larger disk"
    )]
    Disk {
        free: u64,
        more: u64,
        /// Always.
        floor: u64,
        suspends: u64,
    },
}

/// Whether `more` MiB can be written to a disk of which so much is free. What a machine has in memory must find room at
/// its suspend: nobody else gets that.
pub fn disk_room(free: u64, more: u64, promised: Promised, room: &Room) -> Result<(), NoRoom> {
    let reserve = room.disk_reserve_mib + promised.suspend_mib;
    if free < reserve + more {
        return Err(NoRoom::Disk {
            free,
            more,
            floor: room.disk_reserve_mib,
            suspends: promised.suspend_mib,
        });
    }
    Ok(())
}

/// Whether `size` fits beside what is promised already.
pub fn admit(
    size: Size,
    capacity: Capacity,
    promised: Promised,
    room: &Room,
) -> Result<(), NoRoom> {
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
    disk_room(capacity.disk_free_mib, size.memory_mib, promised, room)?;
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
                    disk_free_mib: 2303,
                    ..CAPACITY
                },
                Err(NoRoom::Disk {
                    free: 2303,
                    more: 256,
                    floor: 2048,
                    suspends: 0,
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
    fn what_running_machines_have_in_memory_keeps_its_room_on_the_disk() {
        let running = Promised::of([size(1, 3000), size(1, 1000)], &ROOM);
        let full = |free, more| {
            Err(NoRoom::Disk {
                free,
                more,
                floor: 2048,
                suspends: 4000,
            })
        };
        for (free, more, expected) in [
            (6048, 0, Ok(())),
            (6047, 0, full(6047, 0)),
            (7072, 1024, Ok(())),
            (7071, 1024, full(7071, 1024)),
            (0, 0, full(0, 0)),
        ] {
            assert_eq!(disk_room(free, more, running, &ROOM), expected, "{free}");
        }
        // Another machine brings its own memory along, which has to find room as well.
        let capacity = |disk_free_mib| Capacity {
            disk_free_mib,
            ..CAPACITY
        };
        let asked = size(1, 1000);
        assert_eq!(admit(asked, capacity(7048), running, &ROOM), Ok(()));
        let refused = admit(asked, capacity(7047), running, &ROOM);
        assert_eq!(refused, full(7047, 1000));
        let words = refused.unwrap_err().to_string();
        assert!(
            words.contains("4000 MiB for the memory of running"),
            "{words}"
        );
        assert!(words.contains("Stop or delete workspaces"), "{words}");
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
