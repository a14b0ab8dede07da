//! What an earlier version wrote is opened by this one: on its host, and from the store alone.
//!
//! `ROOST_ADD_FIXTURE=1 cargo test -p storage --test fixture` writes the fixture of the present format, once.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::base::BaseCache;
use storage::disk::Below;
use storage::keys::{KeyRing, SystemEntropy};
use storage::manifest::{Point, PointKind};

use support::{Host, block, read};

const BLOCKS: u32 = 2000;
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
const PRESENT: &str = "format-1";

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn base(host: &Host) -> Option<Arc<dyn Below>> {
    let cache = host.path("base");
    if !BaseCache::exists(&cache) {
        BaseCache::create(&cache, 100).unwrap();
    }
    Some(host.base(&cache))
}

/// What every block was when the fixture was written; `sent`: as far as the store has it.
fn expected(number: u32, sent: bool) -> Vec<u8> {
    match number {
        20..30 => vec![0; 4096],
        0..40 if number.is_multiple_of(4) && !sent => block(number, 3),
        0..200 if number.is_multiple_of(2) => block(number, 2),
        0..100 => block(number, 0),
        _ => vec![0; 4096],
    }
}

fn add() {
    let host = Host::new();
    let raw = host.publish_base(100, 0);
    let disk = host.create_over(1000, &raw);
    let write = |number: u32, version: u32| {
        disk.write(u64::from(number) * 4096, &block(number, version))
            .unwrap();
    };
    // Enough versions for an index, and segments on top of it.
    for round in 0..70 {
        write(round % 10 * 2, 1);
        disk.upload(disk.cut().unwrap(), None).unwrap();
        // So that the log stays small.
        disk.checkpoint().unwrap();
    }
    (0..100).for_each(|number| write(number * 2, 2));
    disk.zero(20 * 4096, 10 * 4096).unwrap();
    disk.grow(BLOCKS).unwrap();
    let point = Point {
        id: storage::keys::Entropy::object_id(&SystemEntropy),
        name: "before".to_owned(),
        kind: PointKind::Manual,
        taken_ms: 1,
    };
    disk.upload(disk.cut().unwrap(), Some(&point)).unwrap();
    disk.checkpoint().unwrap();
    (0..10)
        .filter(|number| !(5..8).contains(number))
        .for_each(|number| write(number * 4, 3));
    disk.flush().unwrap();
    let length = disk.figures().log;
    drop(disk);
    let target = PathBuf::from(FIXTURES).join(PRESENT);
    assert!(
        !target.exists(),
        "what is there stays: later versions have to open it"
    );
    std::fs::File::options()
        .write(true)
        .open(host.path("disk/log"))
        .unwrap()
        .set_len(length)
        .unwrap();
    for name in ["disk", "store"] {
        copy(&host.path(name), &target.join(name));
    }
    std::fs::write(
        target.join("keys.json"),
        serde_json::to_vec(&host.ring).unwrap(),
    )
    .unwrap();
}

#[test]
fn every_format_that_was_ever_written_is_opened() {
    if std::env::var_os("ROOST_ADD_FIXTURE").is_some() {
        add();
    }
    let mut tried = 0;
    for entry in std::fs::read_dir(FIXTURES).unwrap() {
        let fixture = entry.unwrap().path();
        let ring = std::fs::read(fixture.join("keys.json")).unwrap();
        let ring: KeyRing = serde_json::from_slice(&ring).unwrap();
        let host = Host::with(ring);
        copy(&fixture, host.folder.path());
        let here = host.open(1, base(&host)).unwrap();
        let moved = host.move_to("other", 2, base(&host)).unwrap();
        assert_eq!(here.size(), u64::from(BLOCKS) * 4096);
        for number in 0..BLOCKS {
            let what = format!("{}: block {number}", fixture.display());
            assert!(read(&here, number) == expected(number, false), "{what}");
            assert!(
                read(&moved, number) == expected(number, true),
                "{what} moved"
            );
        }
        assert_eq!(here.manifest().point.unwrap().name, "before");
        tried += 1;
    }
    assert!(tried > 0);
}
