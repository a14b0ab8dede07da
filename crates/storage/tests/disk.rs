//! A disk through its life: written, flushed, killed, sent, moved, damaged.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::collect::{announce, withdraw};
use storage::disk::Below;
use storage::keys::{Entropy, SystemEntropy};
use storage::manifest::{Point, PointKind, Version};
use storage::snapshot::Snapshot;
use storage::{Disk, StorageError, verify};

use support::{Host, Pattern, block, read};

const BLOCK: u64 = 4096;

fn write(disk: &Disk, number: u32, version: u32) {
    disk.write(u64::from(number) * BLOCK, &block(number, version))
        .unwrap();
}

fn base(blocks: u32) -> Option<Arc<dyn storage::disk::Below>> {
    Some(Arc::new(Pattern(blocks)))
}

#[test]
fn what_is_written_is_read_and_the_rest_shows_the_base() {
    let host = Host::new();
    let disk = host.create(10_000, base(100));
    assert_eq!(read(&disk, 5), [5; 4096]);
    assert_eq!(read(&disk, 100), [0; 4096]);
    write(&disk, 5, 1);
    assert!(read(&disk, 5) == block(5, 1));
    // Parts of blocks.
    disk.write(7 * BLOCK + 100, &[9; 6000]).unwrap();
    let mut found = vec![0; 3 * 4096];
    disk.read(7 * BLOCK, &mut found).unwrap();
    assert!(found[..100].iter().all(|byte| *byte == 7));
    assert!(found[100..6100].iter().all(|byte| *byte == 9));
    assert!(found[6100..8192].iter().all(|byte| *byte == 9));
    assert!(found[8192..].iter().all(|byte| *byte == 9));
    disk.zero(5 * BLOCK + 10, BLOCK * 3).unwrap();
    let mut found = vec![1; 4 * 4096];
    disk.read(5 * BLOCK, &mut found).unwrap();
    assert!(found[..10] == block(5, 1)[..10]);
    assert!(found[10..3 * 4096 + 10].iter().all(|byte| *byte == 0));
    assert!(disk.read(10_000 * BLOCK - 1, &mut [0; 2]).is_err());
    assert!(disk.write(u64::MAX, &[0; 2]).is_err());
}

#[test]
fn a_kill_at_any_time_loses_nothing() {
    let host = Host::new();
    let mut disk = host.create(100_000, base(100));
    let mut model: BTreeMap<u32, u32> = BTreeMap::new();
    for round in 1..8u32 {
        for number in 0..700u32 {
            let number = number * 131 % 90_000;
            write(&disk, number, round);
            model.insert(number, round);
        }
        if round % 3 == 0 {
            disk.checkpoint().unwrap();
        }
        if round % 2 == 0 {
            disk.zero(1000 * BLOCK, 5000 * BLOCK).unwrap();
            model.retain(|number, _| !(1000..6000).contains(number));
        }
        if round == 4 {
            disk.grow(120_000).unwrap();
        }
        disk = host.open(1, base(100)).unwrap();
    }
    assert_eq!(disk.size(), 120_000 * BLOCK);
    for number in 0..90_000 {
        let expected = match model.get(&number) {
            Some(version) => block(number, *version),
            None if number < 100 => vec![number as u8 | 1; 4096],
            None => vec![0; 4096],
        };
        assert!(read(&disk, number) == expected, "block {number}");
    }
}

#[test]
fn what_was_sent_is_there_on_another_host() {
    let host = Host::new();
    let disk = host.create(200_000, base(1000));
    for number in 0..3000 {
        write(&disk, number * 7, 1);
    }
    disk.flush().unwrap();
    assert!(disk.figures().age_ms < 60_000 && disk.figures().unsent > 0);
    disk.upload(disk.cut().unwrap(), None).unwrap();
    disk.zero(0, 70 * BLOCK).unwrap();
    write(&disk, 7, 2);
    let point = Point {
        id: SystemEntropy.object_id(),
        name: "before".to_owned(),
        kind: PointKind::Manual,
        taken_ms: 1,
    };
    let until = disk.cut().unwrap();
    write(&disk, 14, 3);
    let named = disk.upload(until, Some(&point)).unwrap();
    assert_eq!(named.point, Some(point));
    assert!(disk.figures().unsent > 0);
    let moved = host.move_to("other", 2, base(1000)).unwrap();
    moved.claim().unwrap();
    assert!(read(&moved, 7) == block(7, 2));
    assert_eq!(read(&moved, 14), [0; 4096]);
    assert_eq!(read(&moved, 1), [0; 4096]);
    assert_eq!(read(&moved, 71), [71; 4096]);
    for number in 10..3000 {
        assert!(read(&moved, number * 7) == block(number * 7, 1), "{number}");
    }
    // What was fetched is kept, and is not sent again.
    let before = moved.manifest().version.number;
    moved.upload(moved.cut().unwrap(), None).unwrap();
    assert_eq!(moved.manifest().version.number, before);
    // The older placement is kept out.
    let refused = disk.upload(disk.cut().unwrap(), None).unwrap_err();
    assert!(
        matches!(refused, StorageError::Fenced { newer: 2, .. }),
        "{refused}"
    );
    assert!(matches!(
        disk.write(0, &[1]),
        Err(StorageError::Fenced { .. })
    ));
}

#[test]
fn room_in_the_log_is_used_again() {
    let host = Host::new();
    let disk = host.create(10_000, None);
    for round in 0..40u32 {
        for number in 0..1000 {
            write(&disk, number, round);
        }
        disk.flush().unwrap();
        disk.upload(disk.cut().unwrap(), None).unwrap();
        disk.checkpoint().unwrap();
    }
    // 40 times 4 MB went through it.
    assert!(disk.figures().log <= 16 << 20, "{:?}", disk.figures());
    let disk = host.open(1, None).unwrap();
    for number in 0..1000 {
        assert!(read(&disk, number) == block(number, 39));
    }
}

#[test]
fn many_versions_are_as_quick_to_open_as_one() {
    let host = Host::new();
    let disk = host.create(100_000, None);
    for round in 0..200u32 {
        write(&disk, round * 500, round);
        disk.upload(disk.cut().unwrap(), None).unwrap();
    }
    let manifest = disk.manifest();
    assert!(manifest.index.is_some() && manifest.segments.len() <= 65);
    let world = host.world();
    let kept = world
        .store
        .versions(host.keys.tenant(), &disk.name(), 0)
        .unwrap();
    assert!(kept.len() <= 3, "old versions go: {kept:?}");
    let moved = host.move_to("other", 2, None).unwrap();
    for round in 0..200u32 {
        assert!(read(&moved, round * 500) == block(round * 500, round));
    }
}

#[test]
fn large_writes_beside_each_other_are_told_in_one_order() {
    const MIB: usize = 1 << 20;
    let host = Host::new();
    let disk = host.create(4096, None);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let disk = &disk;
            scope.spawn(move || {
                for round in 0..20u32 {
                    let version = thread * 100 + round;
                    let content: Vec<u8> =
                        (0..256).flat_map(|number| block(number, version)).collect();
                    // Half of each is written by another thread too.
                    let offset = (thread + round % 8) as usize * MIB / 2;
                    disk.write(offset as u64, &content).unwrap();
                    if round % 5 == 0 {
                        disk.flush().unwrap();
                        disk.write(offset as u64, &content[..4096]).unwrap();
                    }
                }
            });
        }
    });
    let mut before = vec![0; 8 * MIB];
    disk.read(0, &mut before).unwrap();
    // As after a kill: what it says is what the log says.
    drop(disk);
    let disk = host.open(1, None).unwrap();
    let mut after = vec![0; 8 * MIB];
    disk.read(0, &mut after).unwrap();
    assert!(before == after);
    disk.upload(disk.cut().unwrap(), None).unwrap();
    let moved = host.move_to("there", 2, None).unwrap();
    let mut there = vec![0; 8 * MIB];
    moved.read(0, &mut there).unwrap();
    assert!(before == there);
}

/// Blocks of `version` over those of before, sent.
fn overwrite(disk: &Disk, version: u32, point: Option<&Point>) -> u64 {
    for number in 0..64 {
        write(disk, number, version);
    }
    let sent = disk.upload(disk.cut().unwrap(), point).unwrap();
    sent.version.number
}

#[test]
fn a_disk_that_is_written_over_and_over_keeps_the_store_small() {
    let host = Host::new();
    let disk = host.create(1000, None);
    let packs = || {
        let files = host.files_of_store();
        let is_pack = |path: &&std::path::PathBuf| path.to_string_lossy().contains("/packs/");
        files.iter().filter(is_pack).count()
    };
    for version in 0..100 {
        overwrite(&disk, version, None);
    }
    let point = Point::new(&SystemEntropy, "kept", PointKind::Manual, 0);
    let kept = overwrite(&disk, 100, Some(&point));
    for version in 101..300 {
        overwrite(&disk, version, None);
    }
    assert!(packs() < 150, "{} packs", packs());
    let world = host.world();
    let version = |number| Version {
        number,
        ..disk.manifest().version
    };
    for (number, content) in [(kept, 100), (disk.manifest().version.number, 299)] {
        let (store, keys) = (&world.store, &world.keys);
        let snapshot = Snapshot::open(store, keys, &version(number), None).unwrap();
        let mut found = vec![0; 4096];
        for number in 0..64 {
            snapshot.read(number, &mut found).unwrap();
            assert!(found == block(number, content));
        }
        let report = verify::version(store, keys, &version(number), |_, _| {}).unwrap();
        assert_eq!(report.damage, []);
    }
}

#[test]
fn nothing_goes_while_somebody_says_that_he_forks() {
    let host = Host::new();
    let disk = host.create(1000, None);
    overwrite(&disk, 0, None);
    let world = host.world();
    let before = disk.manifest().version;
    let (store, keys, entropy) = (&world.store, &world.keys, &*world.entropy);
    let intent = announce(store, keys, entropy, &before, world.clock.now_ms()).unwrap();
    let (_, manifest) = store.manifest(keys, &before).unwrap();
    for version in 1..200 {
        overwrite(&disk, version, None);
    }
    let index = store.whole_index(keys, &manifest).unwrap();
    for pack in index.packs.all() {
        store.frames(keys, pack, 0..pack.frames.len()).unwrap();
    }
    withdraw(store, keys.tenant(), &intent).unwrap();
    for version in 200..300 {
        overwrite(&disk, version, None);
    }
    assert!(store.whole_index(keys, &manifest).is_err());
}

#[test]
fn a_group_that_a_power_cut_left_a_part_of_counts() {
    let host = Host::new();
    let disk = host.create(1000, None);
    // The first group has 254 places.
    for number in 0..255 {
        write(&disk, number, 1);
    }
    drop(disk);
    let log = host.path("disk").join("log");
    let log = std::fs::File::options().write(true).open(log).unwrap();
    log.set_len((1 << 20) + 3 * BLOCK).unwrap();
    let disk = host.open(1, None).unwrap();
    for number in 0..255 {
        assert!(read(&disk, number) == block(number, 1), "block {number}");
    }
}
