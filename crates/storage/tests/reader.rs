//! A store is read by somebody who knows docs/storage-format.md and nothing of this crate.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Host, block, python, read};

const BLOCKS: u32 = 6000;

#[test]
fn an_independent_reader_extracts_a_disk_and_finds_damage() {
    let host = Host::new();
    let ring = serde_json::to_vec(&host.ring).unwrap();
    std::fs::write(host.path("keys.json"), ring).unwrap();
    let raw = host.publish_base(2000, 7);
    let disk = host.create_over(BLOCKS, &raw);
    // More versions than go without an index.
    for round in 0..70u32 {
        for number in 0..20 {
            let number = (round * 97 + number * 31) % BLOCKS;
            disk.write(u64::from(number) * 4096, &block(number, round))
                .unwrap();
        }
        disk.zero(u64::from(round) * 50 * 4096, 3 * 4096).unwrap();
        disk.upload(disk.cut().unwrap(), None).unwrap();
    }
    let output = host.path("image");
    let extract = || {
        python()
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reader.py"))
            .arg(host.path("store"))
            .arg(host.path("keys.json"))
            .args(["tenant", "disk"])
            .arg(&output)
            .output()
            .unwrap()
    };
    let done = extract();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let image = std::fs::read(&output).unwrap();
    assert_eq!(image.len(), BLOCKS as usize * 4096);
    for (number, content) in (0..).zip(image.chunks(4096)) {
        assert!(content == read(&disk, number), "block {number}");
    }

    let pack = host
        .files_of_store()
        .into_iter()
        .find(|path| path.to_string_lossy().contains("tenant/packs"))
        .unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    assert!(!extract().status.success());
}
