//! Images as files that other programs know, judged by QEMU's own tools.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use storage::Disk;
use storage::base::Origin;
use storage::disk::Below;
use storage::export::{OnDamage, Qcow2Export, raw};
use storage::import::{Source, import};
use storage::keys::SystemEntropy;
use storage::manifest::{DiskName, Point, PointKind, Version};
use storage::snapshot::Snapshot;

use support::{Host, block, read};

const BLOCKS: u32 = 6003;

fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "qemu-img {arguments:?}: {said}{complaint}"
    );
    said
}

/// A disk over a stored image, with everything that a disk can have, and its newest version.
fn disk(host: &Host) -> (Disk, Version) {
    let path = host.publish_base(2000, 7);
    let disk = host.create_over(BLOCKS, &path);
    // More versions than go without an index.
    for round in 0..70u32 {
        for number in 0..20 {
            let number = (round * 97 + number * 31) % 4000;
            disk.write(u64::from(number) * 4096, &block(number, round))
                .unwrap();
        }
        disk.zero(u64::from(round) * 20 * 4096, 3 * 4096).unwrap();
        disk.upload(disk.cut().unwrap(), None).unwrap();
    }
    disk.write(u64::from(BLOCKS - 1) * 4096, &block(1, 1))
        .unwrap();
    let point = Point::new(&SystemEntropy, "now", PointKind::Manual, 0);
    let version = disk.upload(disk.cut().unwrap(), Some(&point)).unwrap();
    (disk, version.version)
}

fn snapshot(host: &Host, version: &Version) -> Snapshot {
    let store = host.world().store;
    let origin = host.origin();
    let base = Snapshot::open(&store, &origin.keys, &origin.version, None).unwrap();
    Snapshot::open(&store, &host.keys, version, Some(Arc::new(base))).unwrap()
}

fn export(image: &dyn Below, path: &Path) {
    let export = Qcow2Export::new(image).unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    let mut last = (0, 0);
    let damaged = export
        .write(&mut file, OnDamage::Refuse, &mut |done, all| {
            last = (done, all)
        })
        .unwrap();
    assert!(damaged.is_empty());
    let length = file.metadata().unwrap().len();
    assert_eq!(length, export.length());
    assert_eq!(last, (length, length));
    let check = qemu_img(&["check", "-f", "qcow2", path.to_str().unwrap()]);
    assert!(check.contains("No errors were found"), "{check}");
}

fn assert_same(image: &dyn Below, disk: &Disk) {
    for number in 0..disk.blocks() {
        let mut content = vec![0; 4096];
        image.read(number, &mut content).unwrap();
        assert!(content == read(disk, number), "block {number}");
    }
}

#[test]
fn a_version_is_read_from_the_store_alone() {
    let host = Host::new();
    let (disk, version) = disk(&host);
    let snapshot = snapshot(&host, &version);
    assert_same(&snapshot, &disk);
    // In one piece, over its end.
    let mut all = vec![1; (BLOCKS + 3) as usize * 4096];
    snapshot.read(0, &mut all).unwrap();
    for (number, content) in (0..BLOCKS).zip(all.chunks(4096)) {
        assert!(content == read(&disk, number), "block {number}");
        if snapshot.is_zero(number).unwrap() {
            assert!(content == [0; 4096], "block {number}");
        }
    }
    assert!(all[BLOCKS as usize * 4096..] == [0; 3 * 4096]);
    let alone = Snapshot::open(&host.world().store, &host.keys, &version, None);
    assert!(alone.is_err_and(|error| error.to_string().contains("bases/debian@1")));
}

#[test]
fn what_is_exported_is_the_disk() {
    let host = Host::new();
    let (disk, version) = disk(&host);
    let (stored, here, plain) = (host.path("a"), host.path("b"), host.path("c"));
    export(&snapshot(&host, &version), &stored);
    export(&disk, &here);
    assert!(std::fs::read(&stored).unwrap() == std::fs::read(&here).unwrap());
    let file = std::fs::File::create(&plain).unwrap();
    raw(&disk, &file, OnDamage::Refuse, &mut |_, _| {}).unwrap();
    let paths = [&stored, &plain].map(|path| path.to_str().unwrap());
    qemu_img(&["compare", "-f", "qcow2", "-F", "raw", paths[0], paths[1]]);
    let image = std::fs::read(&plain).unwrap();
    for (number, content) in (0..).zip(image.chunks(4096)) {
        assert!(content == read(&disk, number), "block {number}");
    }
}

#[test]
fn a_large_disk_with_little_on_it_is_a_small_file() {
    let host = Host::new();
    let disk = host.create(1 << 26, None);
    // On both sides of where a table ends, and at the end.
    for number in [0, 8192 * 16 - 1, 8192 * 16, (1 << 26) - 1] {
        disk.write(u64::from(number) * 4096, &block(number, 1))
            .unwrap();
    }
    let path = host.path("large.qcow2");
    export(&disk, &path);
    assert!(path.metadata().unwrap().len() < 1 << 20);
    let back = Source::open(&path).unwrap();
    assert_eq!(back.bytes().unwrap(), 1 << 38);
}

/// Stores a file as another disk over the image that the first one lies over.
fn import_over(host: &Host, path: &Path, name: &str) -> (Snapshot, u64) {
    let below = host.origin();
    let base = Snapshot::open(&below.store, &below.keys, &below.version, None).unwrap();
    let version = Version {
        tenant: host.keys.tenant().clone(),
        disk: DiskName::new(name).unwrap(),
        number: 1,
    };
    let origin = Origin::new(&below.store, &host.keys, version.clone());
    let source = Source::open(path).unwrap();
    let packs = |host: &Host| {
        let packs = below.store.list_packs(host.keys.tenant()).unwrap();
        packs.iter().map(|pack| pack.bytes).sum::<u64>()
    };
    let before = packs(host);
    let over = Some((below.version.clone(), &base as &dyn Below));
    let mut last = (0, 1);
    let mut progress = |done, all| last = (done, all);
    import(&source, &origin, over, &SystemEntropy, 2, &mut progress).unwrap();
    assert_eq!(last.0, last.1);
    (snapshot(host, &version), packs(host) - before)
}

#[test]
fn what_was_exported_is_imported_without_what_the_base_has() {
    let host = Host::new();
    let (disk, version) = disk(&host);
    let (ours, theirs, plain) = (host.path("a"), host.path("b"), host.path("c"));
    export(&snapshot(&host, &version), &ours);
    let paths = [&ours, &theirs, &plain].map(|path| path.to_str().unwrap());
    qemu_img(&["convert", "-O", "qcow2", paths[0], paths[1]]);
    qemu_img(&["convert", "-O", "raw", paths[0], paths[2]]);
    for (path, name) in [(&ours, "ours"), (&theirs, "theirs"), (&plain, "plain")] {
        let (imported, bytes) = import_over(&host, path, name);
        assert_same(&imported, &disk);
        assert_eq!(imported.blocks(), BLOCKS);
        // Some 1,400 blocks were written, of which half compresses to nothing.
        assert!((1 << 20..5 << 20).contains(&bytes), "{bytes}");
    }
    // It goes on as a disk.
    let world = host.world();
    let name = DiskName::new("ours").unwrap();
    let newest = world.store.newest(&host.keys, &name, 0).unwrap().unwrap();
    std::fs::create_dir(host.path("ours")).unwrap();
    let opened = storage::OpenDisk {
        world,
        name,
        folder: host.path("ours"),
        epoch: 1,
        base: Some(host.base(&host.path("raw"))),
    };
    let opened = opened.create(newest).unwrap();
    opened.write(0, &block(0, 99)).unwrap();
    opened.upload(opened.cut().unwrap(), None).unwrap();
    assert!(read(&opened, 1) == read(&disk, 1));
}

#[test]
fn files_that_cannot_be_read_say_what_to_do() {
    let host = Host::new();
    let (plain, compressed, layer) = (host.path("a"), host.path("b"), host.path("c"));
    std::fs::write(&plain, block(1, 1).repeat(32)).unwrap();
    let paths = [&plain, &compressed, &layer].map(|path| path.to_str().unwrap());
    qemu_img(&["convert", "-c", "-O", "qcow2", paths[0], paths[1]]);
    qemu_img(&[
        "create", "-f", "qcow2", "-F", "raw", "-b", paths[0], paths[2],
    ]);
    let refused = Source::open(&layer).unwrap_err();
    assert!(
        refused.to_string().contains("qemu-img convert"),
        "{refused}"
    );
    let version = Version {
        tenant: host.keys.tenant().clone(),
        disk: DiskName::new("x").unwrap(),
        number: 1,
    };
    let origin = Origin::new(&host.world().store, &host.keys, version);
    let source = Source::open(&compressed).unwrap();
    let refused = import(&source, &origin, None, &SystemEntropy, 1, &mut |_, _| {}).unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("qemu-img convert"), "{cause}");
}
