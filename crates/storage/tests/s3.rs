//! Disks in S3, on two servers that share no code: both as they are, and one of them as it should not be.
#![allow(clippy::unwrap_used)]

#[path = "support/s3.rs"]
mod servers;
mod support;

use std::time::{Duration, Instant};

use storage::collect::{Rules, collect};
use storage::disk::{Clock, SystemClock};
use storage::keys::{KeyRing, SystemEntropy, Tenant, TenantKeys};
use storage::manifest::{DiskName, Manifest, Point, PointKind};
use storage::spec::DiskSpec;
use storage::store::Store;
use storage::{Disk, StorageError};

use servers::{Folder, Manner, Moto, Server, runtime};
use support::{block, read};

const BLOCK: u64 = 4096;
const HOUR: u64 = 3_600_000;

/// A server's user, with the folders of its hosts.
struct World {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    keys: TenantKeys,
    spec: storage::spec::StoreSpec,
}

impl World {
    fn new(server: &dyn Server) -> Self {
        let tenant = Tenant::new("tenant").unwrap();
        Self {
            runtime: runtime(),
            folder: tempfile::tempdir().unwrap(),
            keys: KeyRing::generate(&SystemEntropy).tenant(&tenant).unwrap(),
            spec: server.spec(),
        }
    }

    fn store(&self) -> Store {
        self.spec.open(Some(self.runtime.handle())).unwrap()
    }

    fn disk(&self, host: &str, epoch: u64, moved: bool) -> storage::Result<Disk> {
        let spec = DiskSpec {
            folder: self.folder.path().join(host),
            name: DiskName::new("disk").unwrap(),
            epoch,
            blocks: 10_000,
            store: self.spec.clone(),
            keys: self.keys.clone(),
            base: None,
            moved,
            must_exist: false,
        };
        spec.open(Some(self.runtime.handle()))
    }
}

fn write(disk: &Disk, blocks: std::ops::Range<u32>, version: u32) {
    for number in blocks {
        disk.write(u64::from(number) * BLOCK, &block(number, version))
            .unwrap();
    }
}

fn check(disk: &Disk, blocks: std::ops::Range<u32>, version: u32) {
    for number in blocks {
        let found = read(disk, number);
        assert!(found == block(number, version), "block {number}");
    }
}

fn send(disk: &Disk, point: Option<&Point>) -> storage::Result<Manifest> {
    disk.upload(disk.cut()?, point)
}

/// Tries until it is done, or fails for good.
fn settled<T>(mut attempt: impl FnMut() -> storage::Result<T>) -> storage::Result<T> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(error) if error.is_transient() => {
                assert!(started.elapsed() < Duration::from_secs(60), "{error:?}");
            }
            outcome => return outcome,
        }
    }
}

fn what_exists_is_not_created_again(server: &dyn Server) {
    let world = World::new(server);
    let store = world.store();
    store.probe().unwrap();
    let disk = DiskName::new("disk").unwrap();
    let mut manifest = Manifest::unborn(world.keys.tenant().clone(), disk, 9, None);
    manifest.version.number = 1;
    let sealed: Vec<_> = (0..8)
        .map(|_| manifest.seal(&world.keys, &SystemEntropy).unwrap())
        .collect();
    let won = std::thread::scope(|scope| {
        let attempts: Vec<_> = sealed
            .iter()
            .map(|sealed| scope.spawn(|| store.commit(&world.keys, &manifest, sealed)))
            .collect();
        let outcomes: Vec<_> = attempts
            .into_iter()
            .map(|attempt| attempt.join().unwrap())
            .collect();
        for outcome in &outcomes {
            assert!(
                matches!(outcome, Ok(()) | Err(StorageError::Fenced { .. })),
                "{outcome:?}"
            );
        }
        outcomes.iter().position(Result::is_ok).unwrap()
    });
    let (id, _) = store.manifest(&world.keys, &manifest.version).unwrap();
    assert_eq!(id, sealed[won].0);
    // Whose attempt it was may try again; nobody else.
    for (number, sealed) in sealed.iter().enumerate() {
        let again = store.commit(&world.keys, &manifest, sealed);
        assert_eq!(again.is_ok(), number == won);
    }
}

fn what_is_put_is_found_and_listed(server: &dyn Server) {
    const NOTES: usize = 1100;
    let world = World::new(server);
    let (store, keys) = (world.store(), &world.keys);
    // More than a server lists at once.
    for number in 0..NOTES {
        let name = format!("many/{number}");
        store
            .put_note(keys, &SystemEntropy, &name, b"content")
            .unwrap();
    }
    let listed = store.list_notes(keys.tenant(), "many").unwrap();
    assert_eq!(listed.len(), NOTES);
    assert_eq!(store.note(keys, "many/7").unwrap(), b"content");
    store
        .replace_note(keys, &SystemEntropy, "many/7", b"other")
        .unwrap();
    assert_eq!(store.note(keys, "many/7").unwrap(), b"other");
    for _ in 0..2 {
        store.delete_note(keys.tenant(), "many/7").unwrap();
        let gone = store.note(keys, "many/7").unwrap_err();
        assert!(matches!(gone, StorageError::Missing(_)), "{gone}");
    }

    let disk = world.disk("here", 1, false).unwrap();
    write(&disk, 0..1500, 1);
    let manifest = send(&disk, None).unwrap();
    let pack = store.pack_contents(keys, &manifest.segments[0]).unwrap();
    let pack = pack.pack;
    let whole = store.frames(keys, &pack, 0..pack.frames.len()).unwrap();
    let mut parts = Vec::new();
    for frame in 0..pack.frames.len() {
        parts.extend(store.frames(keys, &pack, frame..frame + 1).unwrap());
    }
    assert!(whole == parts && whole.len() >= BLOCK as usize * 512);
    let after = manifest.version.number - 1;
    let newer = store.versions(keys.tenant(), &disk.name(), after).unwrap();
    assert_eq!(newer.into_iter().collect::<Vec<_>>(), [after + 1]);
}

fn an_older_placement_is_kept_out(server: &dyn Server) {
    let world = World::new(server);
    let old = world.disk("old", 1, false).unwrap();
    write(&old, 0..500, 1);
    send(&old, None).unwrap();
    write(&old, 100..200, 2);
    let new = world.disk("new", 2, true).unwrap();
    new.claim().unwrap();
    let refused = send(&old, None).unwrap_err();
    assert!(
        matches!(refused, StorageError::Fenced { newer: 2, .. }),
        "{refused}"
    );
    check(&new, 0..500, 1);
    write(&new, 0..50, 3);
    send(&new, None).unwrap();
    drop(old);
    // What the old host has is of the past by now.
    let back = world.disk("old", 3, true).unwrap();
    check(&back, 0..50, 3);
    check(&back, 50..500, 1);
    let refused = send(&new, None).and_then(|_| new.claim());
    assert!(refused.is_ok(), "nobody has claimed it since");
    back.claim().unwrap();
    write(&new, 0..1, 4);
    assert!(matches!(
        send(&new, None),
        Err(StorageError::Fenced { newer: 3, .. })
    ));
}

fn a_disk_is_sent_and_opened_elsewhere_and_collected(server: &dyn Server) {
    let world = World::new(server);
    let (store, keys) = (world.store(), &world.keys);
    let disk = world.disk("here", 1, false).unwrap();
    write(&disk, 0..3000, 1);
    let point = Point::new(&SystemEntropy, "first", PointKind::Manual, 0);
    let version = send(&disk, Some(&point)).unwrap().version;
    write(&disk, 0..3000, 2);
    disk.zero(3000 * BLOCK, 100 * BLOCK).unwrap();
    send(&disk, None).unwrap();
    disk.compact_store().unwrap();
    let moved = world.disk("elsewhere", 2, true).unwrap();
    check(&moved, 0..3000, 2);
    assert_eq!(read(&moved, 3050), [0; 4096]);

    store.delete_version(&version).unwrap();
    let run = |hours: u64| {
        let now = SystemClock.now_ms() + hours * HOUR;
        let rules = Rules::default();
        collect(&store, keys, &SystemEntropy, &rules, now, false).unwrap()
    };
    let condemned = run(48).condemned;
    assert!(condemned > 3000 * BLOCK / 3);
    let packs = store.list_packs(keys.tenant()).unwrap().len();
    let report = run(50);
    assert_eq!(report.deleted, condemned, "{report:?}");
    assert!(store.list_packs(keys.tenant()).unwrap().len() < packs);
    check(&world.disk("third", 3, true).unwrap(), 0..3000, 2);
}

macro_rules! on_each_server {
    ($($test:ident)*) => {
        mod moto {
            $(#[test] fn $test() { super::$test(&super::Moto::start()); })*
        }
        mod s3s_fs {
            use super::{Folder, Manner};
            $(#[test] fn $test() { super::$test(&Folder::start(Manner::Fine)); })*
        }
    };
}

on_each_server! {
    what_exists_is_not_created_again
    what_is_put_is_found_and_listed
    an_older_placement_is_kept_out
    a_disk_is_sent_and_opened_elsewhere_and_collected
}

fn is_refused(manner: Manner, word: &str) {
    let server = Folder::start(manner);
    let world = World::new(&server);
    for moved in [false, true] {
        let refused = world.disk("here", 1, moved).err().unwrap();
        let text = refused.to_string();
        assert!(matches!(refused, StorageError::Unfit(_)), "{text}");
        assert!(
            text.contains(word) && text.contains("use a store"),
            "{text}"
        );
        assert!(!refused.is_transient());
    }
}

#[test]
fn a_store_that_ignores_conditions_is_refused() {
    is_refused(Manner::IgnoresConditions, "ignores");
}

#[test]
fn a_store_that_refuses_conditions_is_refused() {
    is_refused(Manner::RefusesConditions, "refuses");
}

#[test]
fn a_disk_that_is_here_opens_without_its_store_and_tries_it_before_the_first_version() {
    let mut server = Folder::start(Manner::Fine);
    let world = World::new(&server);
    let disk = world.disk("here", 1, false).unwrap();
    write(&disk, 0..10, 1);
    disk.flush().unwrap();
    drop(disk);
    server.go_away();
    let started = Instant::now();
    let disk = world.disk("here", 1, false).unwrap();
    check(&disk, 0..10, 1);
    assert!(started.elapsed() < Duration::from_secs(1));
    let error = send(&disk, None).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "it says so soon"
    );
}

#[test]
fn an_answer_that_is_lost_costs_another_attempt() {
    for manner in [Manner::LosesAnswers, Manner::Conflicts] {
        let server = Folder::start(manner);
        let world = World::new(&server);
        let disk = settled(|| world.disk("here", 1, false)).unwrap();
        for round in 1..10 {
            write(&disk, round * 10..round * 10 + 100, round);
            settled(|| send(&disk, None)).unwrap();
        }
        let moved = settled(|| world.disk("elsewhere", 2, true)).unwrap();
        settled(|| moved.claim()).unwrap();
        for round in 1..9 {
            check(&moved, round * 10..round * 10 + 10, round);
        }
        check(&moved, 90..190, 9);
        write(&disk, 0..1, 1);
        let refused = settled(|| send(&disk, None)).unwrap_err();
        assert!(
            matches!(refused, StorageError::Fenced { newer: 2, .. }),
            "{manner:?}: {refused}"
        );
    }
}

#[test]
fn a_server_that_goes_away_and_comes_back_loses_nothing() {
    let mut server = Folder::start(Manner::Fine);
    let world = World::new(&server);
    let disk = world.disk("here", 1, false).unwrap();
    let moved = std::thread::scope(|scope| {
        let (starts, started) = std::sync::mpsc::channel();
        let sender = scope.spawn(|| {
            for round in 1..20 {
                write(&disk, round * 100..round * 100 + 1000, round);
                starts.send(()).unwrap();
                settled(|| send(&disk, None)).unwrap();
            }
            drop(starts);
        });
        for _ in 0..6 {
            // In the midst of sending.
            started.recv().unwrap();
            server.go_away();
            server.come_back();
        }
        for () in started {}
        sender.join().unwrap();
        world.disk("elsewhere", 2, true).unwrap()
    });
    // Whoever reads waits for it.
    server.go_away();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for round in 1..19 {
                settled(|| moved.read(u64::from(round) * 100 * BLOCK, &mut [0; 4096])).unwrap();
                check(&moved, round * 100..round * 100 + 100, round);
            }
            check(&moved, 1900..2900, 19);
        });
        let error = moved.read(2899 * BLOCK, &mut [0; 4096]).unwrap_err();
        assert!(error.is_transient(), "{error}");
        server.come_back();
        reader.join().unwrap();
    });
}
