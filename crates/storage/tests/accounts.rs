//! Every byte of a store is somebody's once, also where disks share it.
#![allow(clippy::unwrap_used)]

mod support;

use storage::accounts::Accounts;
use storage::disk::fork;
use storage::keys::SystemEntropy;
use storage::manifest::{DiskName, Point, PointKind};

use support::{Host, block};

#[test]
fn what_forks_share_is_counted_once() {
    let host = Host::new();
    let world = host.world();
    let mut accounts = Accounts::default();
    let mut look = || accounts.look(&world.store, &host.keys).unwrap();
    assert_eq!(look().of(|_| true), 0);

    let disk = host.create(5000, None);
    let write = |version: u32| {
        for number in 0..2000 {
            disk.write(number * 4096, &block(number as u32, version))
                .unwrap();
        }
    };
    write(1);
    let point = Point::new(&SystemEntropy, "first", PointKind::Manual, 0);
    let version = disk.upload(disk.cut().unwrap(), Some(&point)).unwrap();
    let name = disk.name();
    let first = look();
    assert_eq!(first.points.get(&name), Some(&1));
    let alone = first.alone(&name);
    assert!(alone > 0 && alone == first.of(|_| true), "{first:?}");

    // The fork costs nothing, and from then on it is both of theirs.
    let other = DiskName::new("other").unwrap();
    let fork = fork(&world, &version.version, &other, 1).unwrap();
    let forked = look();
    assert_eq!(forked.of(|_| true), alone);
    assert_eq!(forked.of(|disk| *disk == other), alone);
    assert_eq!((forked.alone(&name), forked.alone(&other)), (0, 0));

    // What is written again is of the first alone; a look that remembers nothing says the same.
    write(2);
    disk.upload(disk.cut().unwrap(), None).unwrap();
    let later = look();
    assert_eq!(later.of(|disk| *disk == other), alone);
    assert!(later.alone(&name) > 0, "{later:?}");
    assert_eq!(later.of(|_| true), alone + later.alone(&name));
    let fresh = Accounts::default().look(&world.store, &host.keys).unwrap();
    assert_eq!(fresh, later);

    // Nobody has what only a version without a name referred to.
    world.store.delete_version(&version.version).unwrap();
    world.store.delete_version(&fork.version).unwrap();
    disk.compact_store().unwrap();
    let all: u64 = host
        .files_of_store()
        .iter()
        .filter(|path| !path.to_string_lossy().contains("/disks/"))
        .filter(|path| !path.to_string_lossy().contains("/notes/"))
        .map(|path| std::fs::metadata(path).unwrap().len())
        .sum();
    let last = look();
    assert!(last.unneeded > 0, "{last:?}");
    assert_eq!(last.of(|_| true) + last.unneeded, all);
}
