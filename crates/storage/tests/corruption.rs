//! A bit flipped anywhere: it is found, no wrong byte is read, and a good copy is used where there is one.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use storage::disk::Below;
use storage::export::{OnDamage, Qcow2Export, raw};
use storage::keys::SystemEntropy;
use storage::manifest::{Point, PointKind, Version};
use storage::ranges::BlockRanges;
use storage::snapshot::Snapshot;
use storage::{Disk, StorageError, verify};

use support::{Host, block};

const BLOCKS: u32 = 1500;
const FLIPS: u64 = 500;

/// Numbers that are the same every time: a flip that is not found can be looked at again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) % end
    }
}

struct World {
    host: Host,
    raw: PathBuf,
    /// Of every block.
    expected: Vec<Vec<u8>>,
    /// Blocks whose newest content is on the host alone.
    unsent: std::ops::Range<u32>,
}

fn world() -> World {
    let host = Host::new();
    let raw = host.publish_base(700, 0);
    let mut expected: Vec<Vec<u8>> = (0..BLOCKS)
        .map(|number| {
            if number < 700 {
                block(number, 0)
            } else {
                vec![0; 4096]
            }
        })
        .collect();
    let disk = host.create_over(BLOCKS, &raw);
    let mut write = |disk: &Disk, number: u32, version: u32| {
        let content = block(number, version);
        disk.write(u64::from(number) * 4096, &content).unwrap();
        expected[number as usize] = content;
    };
    for number in 0..400 {
        write(&disk, number * 3, 1);
    }
    disk.zero(300 * 4096, 20 * 4096).unwrap();
    disk.upload(disk.cut().unwrap(), None).unwrap();
    for number in 0..100 {
        write(&disk, number * 3, 2);
    }
    disk.upload(disk.cut().unwrap(), None).unwrap();
    disk.checkpoint().unwrap();
    let unsent = 1300..1400;
    for number in unsent.clone() {
        write(&disk, number, 3);
    }
    disk.zero(320 * 4096, 20 * 4096).unwrap();
    disk.flush().unwrap();
    // The mark of the flush before tells that this one was durable.
    disk.write(1450 * 4096, &[5; 4096]).unwrap();
    disk.flush().unwrap();
    expected[300..340].fill(vec![0; 4096]);
    expected[1450] = vec![5; 4096];
    World {
        host,
        raw,
        expected,
        unsent,
    }
}

/// Turns one bit of a file over, the same way back.
fn flip(path: &Path, at: u64, bit: u64) {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at).unwrap();
}

#[test]
fn a_checkpoint_beside_a_damaged_map_loses_nothing() {
    let host = Host::new();
    let disk = host.create(BLOCKS, None);
    let content = block(5, 1);
    disk.write(5 * 4096, &content).unwrap();
    disk.checkpoint().unwrap();
    drop(disk);
    // Behind a page of the head: the words of the blocks on this host, four bytes each.
    flip(&host.path("disk").join("map"), 4096 + 5 * 4, 1);
    let disk = host.open(1, None).unwrap();
    disk.checkpoint().unwrap();
    drop(disk);
    let disk = host.open(1, None).unwrap();
    let mut found = vec![0; 4096];
    disk.read(5 * 4096, &mut found).unwrap();
    assert!(found == content);
}

/// A bit of one of the files, every bit as likely.
fn any_bit(files: &[PathBuf], dice: &mut Dice) -> (PathBuf, u64, u64) {
    let lengths: Vec<u64> = files
        .iter()
        .map(|path| std::fs::metadata(path).unwrap().len())
        .collect();
    let mut at = dice.below(lengths.iter().sum());
    for (path, length) in files.iter().zip(lengths) {
        if at < length {
            return (path.clone(), at, dice.below(8));
        }
        at -= length;
    }
    unreachable!("it is less than all of them");
}

/// Reads everything; the blocks that are refused.
fn refused(disk: &Disk, expected: &[Vec<u8>], what: &str) -> Vec<u32> {
    let mut refused = Vec::new();
    for (number, expected) in (0..).zip(expected) {
        let mut content = vec![0; 4096];
        match disk.read(u64::from(number) * 4096, &mut content) {
            Ok(()) => assert!(content == *expected, "{what}: block {number} is wrong"),
            Err(StorageError::Damaged { .. }) => refused.push(number),
            Err(error) => panic!("{what}: block {number}: {error}"),
        }
    }
    refused
}

#[test]
fn a_flip_on_the_host_costs_no_more_than_the_one_copy() {
    let world = world();
    let (good, disk) = (world.host.path("good"), world.host.path("disk"));
    std::fs::rename(&disk, &good).unwrap();
    // The log's file has room for more than was written.
    let log = std::fs::File::options()
        .write(true)
        .open(good.join("log"))
        .unwrap();
    log.set_len(5 << 20).unwrap();
    let mut dice = Dice(1);
    let mut cost = 0;
    for number in 0..FLIPS {
        std::fs::create_dir_all(&disk).unwrap();
        for name in ["log", "map", "session"] {
            std::fs::copy(good.join(name), disk.join(name)).unwrap();
        }
        // Small files would never be hit otherwise.
        let files: Vec<PathBuf> = match number % 4 {
            0 => vec![disk.join("map")],
            1 => vec![disk.join("session"), world.raw.clone()],
            _ => vec![disk.join("log")],
        };
        let (path, at, bit) = any_bit(&files, &mut dice);
        flip(&path, at, bit);
        let what = format!("{} byte {at} bit {bit}", path.display());
        let opened = world.host.open(1, Some(world.host.base(&world.raw)));
        let opened = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
        let refused = refused(&opened, &world.expected, &what);
        let only_copy = refused
            .iter()
            .all(|block| world.unsent.contains(block) || *block == 1450);
        assert!(
            only_copy && refused.len() <= 1,
            "{what}: {refused:?} are refused"
        );
        assert_eq!(opened.lost(), refused, "{what}");
        cost += refused.len();
        if path == world.raw {
            flip(&path, at, bit);
        }
    }
    // Otherwise it was not tried.
    assert!(cost > 0);
}

#[test]
fn a_flip_in_the_store_costs_no_more_than_what_it_is_in() {
    let world = world();
    let disk = world
        .host
        .open(1, Some(world.host.base(&world.raw)))
        .unwrap();
    disk.upload(disk.cut().unwrap(), None).unwrap();
    drop(disk);
    let files: Vec<PathBuf> = world.host.files_of_store();
    let packs: Vec<PathBuf> = files
        .iter()
        .filter(|path| path.to_string_lossy().contains("tenant/packs"))
        .cloned()
        .collect();
    let mut dice = Dice(2);
    let mut cost = 0;
    for number in 0..FLIPS {
        let files = if number % 2 == 0 { &packs } else { &files };
        let (path, at, bit) = any_bit(files, &mut dice);
        flip(&path, at, bit);
        let what = format!("{} byte {at} bit {bit}", path.display());
        let moved = world
            .host
            .move_to("other", 2, Some(world.host.base(&world.raw)));
        match moved {
            Ok(disk) => {
                let refused = refused(&disk, &world.expected, &what);
                // A frame of a pack.
                assert!(refused.len() <= 16, "{what}: {refused:?} are refused");
                cost += refused.len();
            }
            // The version itself, or its index: said by name.
            Err(StorageError::Damaged { .. } | StorageError::NoKey(_)) => cost += 1,
            Err(error) => panic!("{what}: {error}"),
        }
        flip(&path, at, bit);
    }
    assert!(cost > 0);
}

/// A version with a name, whose host is gone.
fn stored(world: &World) -> Version {
    let disk = world.host.open(1, Some(world.host.base(&world.raw)));
    let disk = disk.unwrap();
    let point = Point::new(&SystemEntropy, "kept", PointKind::Manual, 0);
    let manifest = disk.upload(disk.cut().unwrap(), Some(&point)).unwrap();
    // What is there now is another version.
    disk.write(0, &block(0, 9)).unwrap();
    disk.upload(disk.cut().unwrap(), None).unwrap();
    manifest.version
}

fn salvage(world: &World, version: &Version) -> Option<Snapshot> {
    let store = world.host.world().store;
    let base = world.host.base(&world.raw);
    let opened = Snapshot::salvage(&store, &world.host.keys, version, Some(base));
    opened.ok().map(|(snapshot, _)| snapshot)
}

#[test]
fn verifying_finds_every_flip_and_names_what_it_costs() {
    let world = world();
    let version = stored(&world);
    let store = world.host.world().store;
    let verify = || {
        let bases = world.host.origin().keys;
        let mut damage = Vec::new();
        for keys in [&world.host.keys, &bases] {
            let mut last = (0, 0);
            let report = verify::tenant(&store, keys, |done, all| last = (done, all)).unwrap();
            assert_eq!(last.0, last.1);
            damage.extend(report.damage);
        }
        damage
    };
    assert_eq!(verify(), []);
    let files: Vec<PathBuf> = world.host.files_of_store();
    let notes = |path: &&PathBuf| !path.to_string_lossy().contains("/notes/");
    let files: Vec<PathBuf> = files.iter().filter(notes).cloned().collect();
    let mut dice = Dice(3);
    let mut cost = 0;
    for number in 0..FLIPS {
        // Small files would hardly be hit otherwise.
        let some = match number % 2 {
            0 => files.clone(),
            _ => vec![files[dice.below(files.len() as u64) as usize].clone()],
        };
        let (path, at, bit) = any_bit(&some, &mut dice);
        flip(&path, at, bit);
        let what = format!("{} byte {at} bit {bit}", path.display());
        let damage = verify();
        assert!(!damage.is_empty(), "{what} is not found");
        let name = path.to_string_lossy().into_owned();
        for damage in &damage {
            assert!(name.ends_with(&damage.object), "{what}: {damage:?}");
        }
        // What is named, and no other, is refused.
        let mut named = BlockRanges::default();
        for damage in damage.iter().filter(|damage| damage.version == version) {
            damage.blocks.iter().for_each(|range| named.insert(range));
        }
        if let Some(snapshot) = salvage(&world, &version) {
            for (block, expected) in (0..).zip(&world.expected) {
                let mut content = vec![0; 4096];
                match snapshot.read(block, &mut content) {
                    Ok(()) => assert!(content == *expected, "{what}: block {block} is wrong"),
                    Err(StorageError::Damaged { .. } | StorageError::NoKey(_)) => {
                        assert!(named.contains(block), "{what}: {block} is refused");
                        cost += 1;
                    }
                    Err(error) => panic!("{what}: {error}"),
                }
            }
        }
        flip(&path, at, bit);
    }
    assert!(cost > 0);
}

#[test]
fn an_export_of_what_is_damaged_is_refused_or_says_what_is_missing() {
    let world = world();
    let version = stored(&world);
    let store = world.host.world().store;
    let largest = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    let files = world.host.files_of_store();
    let packs = files
        .iter()
        .filter(|path| path.to_string_lossy().contains("tenant/packs"));
    let pack = packs.max_by_key(|path| largest(path)).unwrap();
    for is_gone in [false, true] {
        if is_gone {
            std::fs::remove_file(pack).unwrap();
        } else {
            // The blocks in its first part were written again.
            flip(pack, largest(pack) / 4 * 3, 3);
        }
        let report = verify::version(&store, &world.host.keys, &version, |_, _| {}).unwrap();
        assert!(report.bytes > 0 && report.objects > 2, "{report:?}");
        let [damage] = &report.damage[..] else {
            panic!("{report:?}");
        };
        let snapshot = salvage(&world, &version).unwrap();
        let export = Qcow2Export::new(&snapshot).unwrap();
        let path = world.host.path("damaged.qcow2");
        let write = |on_damage| {
            let mut file = std::fs::File::create(&path).unwrap();
            export.write(&mut file, on_damage, &mut |_, _| {})
        };
        let refused = write(OnDamage::Refuse).unwrap_err().to_string();
        let first = damage.blocks.iter().next().unwrap().start;
        assert!(refused.contains(&format!("block {first} ")), "{refused}");
        let missing = write(OnDamage::GoOn).unwrap();
        assert_eq!(missing, damage.blocks);
        let plain = world.host.path("plain");
        let file = std::fs::File::create(&plain).unwrap();
        assert_eq!(
            raw(&snapshot, &file, OnDamage::GoOn, &mut |_, _| {}).unwrap(),
            missing
        );
        let image = std::fs::read(&plain).unwrap();
        for (block, (content, expected)) in (0..).zip(image.chunks(4096).zip(&world.expected)) {
            if missing.contains(block) {
                assert!(content == [0; 4096], "block {block}");
            } else {
                assert!(content == *expected, "block {block}");
            }
        }
    }
}
