//! An image below disks: stored, fetched as it is read, shared, and found damaged.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use storage::base::{BaseCache, Origin};
use storage::disk::Below;
use storage::import::publish;
use storage::keys::SystemEntropy;

use support::{Host, block};

const BLOCKS: u32 = 9000;

/// A raw image with a hole in it, stored.
fn stored(host: &Host) -> (PathBuf, Origin) {
    let path = host.path("raw");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(u64::from(BLOCKS) * 4096).unwrap();
    for number in (0..3000).chain(8000..BLOCKS) {
        file.write_all_at(&block(number, 0), u64::from(number) * 4096)
            .unwrap();
    }
    let origin = host.origin();
    publish(&path, &origin, &SystemEntropy, 2).unwrap();
    (path, origin)
}

fn expected(number: u32) -> Vec<u8> {
    if (3000..8000).contains(&number) || number >= BLOCKS {
        vec![0; 4096]
    } else {
        block(number, 0)
    }
}

fn read(base: &BaseCache, number: u32) -> Vec<u8> {
    let mut content = vec![1; 4096];
    base.read(number, &mut content).unwrap();
    content
}

#[test]
fn an_image_is_fetched_as_it_is_read_and_kept() {
    let host = Host::new();
    let (_, origin) = stored(&host);
    let path = host.path("cache");
    BaseCache::create(&path, BLOCKS).unwrap();
    let base = BaseCache::open(&path, Some(origin.clone())).unwrap();
    assert!(read(&base, 5) == expected(5));
    // The frame that it is in, and no more.
    assert_eq!(base.local_blocks(), 16);
    let mut whole = vec![1; (BLOCKS as usize + 10) * 4096];
    base.read(0, &mut whole).unwrap();
    for (number, content) in (0..).zip(whole.chunks(4096)) {
        assert!(content == expected(number), "block {number}");
    }
    assert_eq!(base.local_blocks(), 4000);
    drop(base);
    // Another process finds it here, even when the store is gone.
    std::fs::remove_dir_all(host.path("store")).unwrap();
    let base = BaseCache::open(&path, Some(origin)).unwrap();
    for number in [0, 2999, 8000, 8999] {
        assert!(read(&base, number) == expected(number));
    }
}

#[test]
fn a_whole_image_needs_no_store() {
    let host = Host::new();
    let (path, _) = stored(&host);
    BaseCache::adopt(&path).unwrap();
    let base = BaseCache::open(&path, None).unwrap();
    for number in [0, 2999, 3000, 7999, 8000, 8999, 9005] {
        assert!(read(&base, number) == expected(number));
    }
}

#[test]
fn what_is_damaged_is_fetched_again_or_refused() {
    let host = Host::new();
    let (path, origin) = stored(&host);
    BaseCache::adopt(&path).unwrap();
    let damage = || {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"x", 100 * 4096 + 17).unwrap();
    };
    damage();
    let alone = BaseCache::open(&path, None).unwrap();
    assert!(alone.read(100, &mut [0; 4096]).is_err());
    assert!(read(&alone, 101) == expected(101));
    assert!(alone.read(100, &mut [0; 4096]).is_err(), "and it stays so");
    let base = BaseCache::open(&path, Some(origin)).unwrap();
    assert!(read(&base, 100) == expected(100));
    // Mended for everybody.
    assert!(read(&alone, 100) == expected(100));
}

#[test]
fn whoever_reads_on_and_on_finds_what_comes_next() {
    let host = Host::new();
    let (_, origin) = stored(&host);
    let path = host.path("cache");
    BaseCache::create(&path, BLOCKS).unwrap();
    let base = BaseCache::open(&path, Some(origin)).unwrap();
    let mut piece = vec![0; 32 * 4096];
    std::thread::scope(|scope| {
        // Two of them, who meet what the other has on its way.
        for _ in 0..2 {
            let (base, mut piece) = (&base, piece.clone());
            scope.spawn(move || {
                for first in (0..1024).step_by(32) {
                    base.read(first, &mut piece).unwrap();
                    for (number, content) in (first..).zip(piece.chunks(4096)) {
                        assert!(content == expected(number), "block {number}");
                    }
                }
            });
        }
    });
    for first in (1024..1344).step_by(32) {
        base.read(first, &mut piece).unwrap();
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while base.local_blocks() < 2048 {
        assert!(
            std::time::Instant::now() < deadline,
            "nothing is fetched ahead"
        );
        std::thread::yield_now();
    }
}
