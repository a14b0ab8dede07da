//! What nobody needs goes, in time, and nothing that somebody needs.
#![allow(clippy::unwrap_used)]

mod support;

use storage::collect::{Report, Rules, announce, collect, withdraw};
use storage::disk::{Clock, SystemClock};
use storage::keys::SystemEntropy;
use storage::manifest::{Manifest, Point, PointKind, Version};
use storage::{Disk, StorageError};

use support::{Host, block, read};

const HOUR: u64 = 3_600_000;

fn run(host: &Host, hours: u64, dry: bool) -> Report {
    let store = host.world().store;
    let now = SystemClock.now_ms() + hours * HOUR;
    collect(
        &store,
        &host.keys,
        &SystemEntropy,
        &Rules::default(),
        now,
        dry,
    )
    .unwrap()
}

fn point(disk: &Disk, name: &str) -> Version {
    let point = Point::new(&SystemEntropy, name, PointKind::Manual, 0);
    disk.upload(disk.cut().unwrap(), Some(&point))
        .unwrap()
        .version
}

/// A disk with a point, all of whose blocks have been written again since.
fn disk_with_point(host: &Host) -> (Disk, Version) {
    let disk = host.create(5000, None);
    let write = |version: u32| {
        for number in 0..2000 {
            disk.write(number * 4096, &block(number as u32, version))
                .unwrap();
        }
    };
    write(1);
    let version = point(&disk, "first");
    write(2);
    disk.upload(disk.cut().unwrap(), None).unwrap();
    (disk, version)
}

fn check(host: &Host, version: u32) {
    let moved = host.move_to("other", 9, None).unwrap();
    for number in 0..2000 {
        assert!(
            read(&moved, number) == block(number, version),
            "block {number}"
        );
    }
}

#[test]
fn what_a_point_keeps_goes_with_it_and_not_at_once() {
    let host = Host::new();
    let (_disk, version) = disk_with_point(&host);
    let report = run(&host, 48, false);
    assert_eq!((report.condemned, report.deleted), (0, 0), "{report:?}");
    let keeper = report
        .keepers
        .iter()
        .find(|keeper| keeper.point.is_some())
        .unwrap();
    assert_eq!(keeper.point.as_deref(), Some("first"));
    host.world().store.delete_version(&version).unwrap();
    // The newest version builds on what the point had.
    let report = run(&host, 49, false);
    assert_eq!((report.condemned, report.deleted), (0, 0), "{report:?}");
    check(&host, 2);
}

#[test]
fn what_nobody_refers_to_is_condemned_first_and_deleted_later() {
    let host = Host::new();
    let (disk, version) = disk_with_point(&host);
    let before = run(&host, 0, true).total;
    host.world().store.delete_version(&version).unwrap();
    // A new index leaves out what was written again.
    disk.compact_store().unwrap();
    let young = run(&host, 0, false);
    assert!(young.young > 0 && young.condemned == 0, "{young:?}");
    let dry = run(&host, 48, true);
    assert!(dry.condemned > before / 3, "{dry:?}");
    let first = run(&host, 48, false);
    assert_eq!((first.condemned, first.deleted), (dry.condemned, 0));
    let soon = run(&host, 48, false);
    assert_eq!(soon.deleted, 0, "{soon:?}");
    let later = run(&host, 50, false);
    assert_eq!(later.deleted, first.condemned, "{later:?}");
    let after = run(&host, 52, true);
    assert_eq!((after.condemned, after.deleted), (0, 0));
    check(&host, 2);
}

#[test]
fn a_fork_that_was_announced_finds_everything() {
    let host = Host::new();
    let (disk, version) = disk_with_point(&host);
    let store = host.world().store;
    let now = SystemClock.now_ms() + 49 * HOUR;
    disk.compact_store().unwrap();
    run(&host, 48, false);
    let intent = announce(&store, &host.keys, &SystemEntropy, &version, now).unwrap();
    let (_, parent) = store.manifest(&host.keys, &version).unwrap();
    store.delete_version(&version).unwrap();
    // Nobody can tell what he needs, so nothing goes.
    let rules = Rules::default();
    let refused = collect(&store, &host.keys, &SystemEntropy, &rules, now, false).unwrap_err();
    assert!(matches!(refused, StorageError::Missing(_)), "{refused}");
    let mut fork = Manifest {
        version: Version {
            disk: storage::manifest::DiskName::new("fork").unwrap(),
            number: 1,
            ..version.clone()
        },
        parent: Some(version),
        point: None,
        ..parent
    };
    fork.log = None;
    let sealed = fork.seal(&host.keys, &SystemEntropy).unwrap();
    store.commit(&host.keys, &fork, &sealed).unwrap();
    withdraw(&store, host.keys.tenant(), &intent).unwrap();
    for hours in [50, 52, 54] {
        run(&host, hours, false);
    }
    let index = store.whole_index(&host.keys, &fork).unwrap();
    for pack in index.packs.all() {
        store
            .frames(&host.keys, pack, 0..pack.frames.len())
            .unwrap();
    }
}
