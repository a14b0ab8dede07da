//! Disks that go on from a version that was.
#![allow(clippy::unwrap_used)]

mod support;

use storage::collect::{Rules, collect, usage};
use storage::disk::{Clock, SystemClock, fork};
use storage::keys::SystemEntropy;
use storage::manifest::{DiskName, Manifest, Point, PointKind};
use storage::{Disk, OpenDisk, StorageError};

use support::{Host, block, read};

const HOUR: u64 = 3_600_000;

fn point(name: &str, kind: PointKind) -> Point {
    Point::new(&SystemEntropy, name, kind, 0)
}

fn write(disk: &Disk, version: u32) {
    for number in 0..300 {
        disk.write(number * 4096, &block(number as u32, version))
            .unwrap();
    }
}

/// The content of a version, as another host would have it.
fn content(host: &Host, folder: &str, manifest: Manifest) -> Vec<u8> {
    std::fs::create_dir_all(host.path(folder)).unwrap();
    let disk = OpenDisk {
        world: host.world(),
        name: manifest.version.disk.clone(),
        folder: host.path(folder),
        epoch: 99,
        base: None,
    };
    read(&disk.create(manifest).unwrap(), 299)
}

#[test]
fn a_disk_goes_back_and_keeps_what_it_leaves() {
    let host = Host::new();
    let disk = host.create(5000, None);
    write(&disk, 1);
    let first = point("first", PointKind::Manual);
    let first = disk.upload(disk.cut().unwrap(), Some(&first)).unwrap();
    // What is left behind was neither flushed nor sent.
    write(&disk, 2);
    let branch = point("before going back", PointKind::Branch);
    let back = disk.go_back(first.version.number, &branch).unwrap();
    assert_eq!(back.parent.as_ref(), Some(&first.version));

    let store = host.world().store;
    let newest = store
        .newest(&host.keys, &back.version.disk, 0)
        .unwrap()
        .unwrap();
    assert_eq!(newest, back);
    let numbers = store
        .versions(host.keys.tenant(), &back.version.disk, 0)
        .unwrap();
    let manifests = numbers.into_iter().map(|number| {
        let version = storage::manifest::Version {
            number,
            ..back.version.clone()
        };
        store.manifest(&host.keys, &version).unwrap().1
    });
    let left = manifests
        .into_iter()
        .find(|manifest| manifest.point.as_ref() == Some(&branch))
        .unwrap();
    // Collecting leaves both whole.
    for hours in [48, 50, 52] {
        let now = SystemClock.now_ms() + hours * HOUR;
        let rules = Rules::default();
        collect(&store, &host.keys, &SystemEntropy, &rules, now, false).unwrap();
    }
    assert!(content(&host, "back", newest) == block(299, 1));
    assert!(content(&host, "left", left) == block(299, 2));
}

#[test]
fn a_fork_has_what_its_origin_had_and_goes_its_own_way() {
    let host = Host::new();
    let disk = host.create(5000, None);
    write(&disk, 1);
    let from = point("first", PointKind::Manual);
    let from = disk.upload(disk.cut().unwrap(), Some(&from)).unwrap();
    write(&disk, 2);
    disk.upload(disk.cut().unwrap(), None).unwrap();
    let name = DiskName::new("fork").unwrap();
    let forked = fork(&host.world(), &from.version, &name, 1).unwrap();
    let again = fork(&host.world(), &from.version, &name, 1).unwrap();
    assert_eq!(forked, again);
    let refused = fork(&host.world(), &forked.version, &name, 1).unwrap_err();
    assert!(matches!(refused, StorageError::Invalid(_)), "{refused}");
    let missing = storage::manifest::Version {
        number: 77,
        ..from.version.clone()
    };
    let other = DiskName::new("other").unwrap();
    let refused = fork(&host.world(), &missing, &other, 1).unwrap_err();
    assert!(matches!(refused, StorageError::Missing(_)), "{refused}");
    assert!(content(&host, "fork", forked) == block(299, 1));
    assert!(read(&disk, 299) == block(299, 2));
}

#[test]
fn an_older_placement_does_not_take_the_disk_back() {
    let host = Host::new();
    let disk = host.create(5000, None);
    write(&disk, 1);
    let first = point("first", PointKind::Manual);
    let first = disk.upload(disk.cut().unwrap(), Some(&first)).unwrap();
    let moved = host.move_to("elsewhere", 9, None).unwrap();
    moved.claim().unwrap();
    let branch = point("left", PointKind::Branch);
    let refused = disk.go_back(first.version.number, &branch).unwrap_err();
    assert!(matches!(refused, StorageError::Fenced { .. }), "{refused}");
    write(&moved, 3);
    moved.upload(moved.cut().unwrap(), None).unwrap();
}

#[test]
fn what_versions_keep_is_told_each_and_together() {
    let host = Host::new();
    let disk = host.create(5000, None);
    write(&disk, 1);
    let first = point("first", PointKind::Manual);
    let first = disk.upload(disk.cut().unwrap(), Some(&first)).unwrap();
    write(&disk, 2);
    let second = disk.upload(disk.cut().unwrap(), None).unwrap();
    let usage = usage(&host.world().store, &host.keys, &disk.name()).unwrap();
    let numbers: Vec<u64> = usage
        .versions
        .iter()
        .map(|kept| kept.manifest.version.number)
        .collect();
    assert_eq!(numbers, [first.version.number, second.version.number]);
    let [old, new] = &usage.versions[..] else {
        panic!("{usage:?}")
    };
    // The newest still refers to the first pack, as nothing has been compacted.
    assert_eq!(old.alone, 0);
    assert!(old.bytes > 0 && new.alone > 0, "{usage:?}");
    assert_eq!(new.bytes, old.bytes + new.alone);
    assert_eq!(usage.bytes, new.bytes);
}
