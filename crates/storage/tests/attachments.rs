//! Files beside a disk.
#![allow(clippy::unwrap_used)]

mod support;

use storage::StorageError;
use storage::collect::{Rules, collect};
use storage::keys::{Entropy, ObjectId, SystemEntropy};
use storage::manifest::DiskName;
use storage::store::Store;
use support::{Host, python};

fn content(store: &Store, host: &Host, disk: &DiskName, id: &ObjectId) -> Vec<u8> {
    let mut attachment = store.attachment(&host.keys, disk, id).unwrap();
    let mut content = Vec::new();
    while let Some(piece) = attachment.next_piece().unwrap() {
        assert!(piece.len() <= 1 << 20);
        content.extend(piece);
    }
    assert_eq!(attachment.bytes(), content.len() as u64);
    content
}

#[test]
fn an_attachment_comes_back_and_belongs_to_its_disk() {
    let host = Host::new();
    let store = host.world().store;
    let [disk, other] = ["disk", "other"].map(|name| DiskName::new(name).unwrap());
    let mut large = vec![0; (5 << 19) + 7];
    SystemEntropy.fill(&mut large);
    let put = |description: &[u8], content: &[u8]| {
        store
            .put_attachment(&host.keys, &SystemEntropy, &disk, description, content)
            .unwrap()
    };
    let (first, second) = (put(b"large", &large), put(b"", b""));
    assert_eq!(content(&store, &host, &disk, &first), large);
    assert_eq!(content(&store, &host, &disk, &second), b"");
    let opened = store.attachment(&host.keys, &disk, &first).unwrap();
    assert_eq!(opened.description(), b"large");

    // Nobody collects them, and they show up beside no other disk.
    let now_ms = u64::MAX / 2;
    let rules = Rules::default();
    for _ in 0..2 {
        collect(&store, &host.keys, &SystemEntropy, &rules, now_ms, false).unwrap();
    }
    let tenant = host.keys.tenant();
    let mut listed = store.list_attachments(tenant, &disk).unwrap();
    listed.sort();
    let mut put = [first, second];
    put.sort();
    assert_eq!(listed, put);
    assert_eq!(store.list_attachments(tenant, &other).unwrap(), []);

    // Not even when somebody puts it there.
    let folder = host.path("store/tenant/attachments");
    std::fs::create_dir(folder.join("other")).unwrap();
    let [here, there] = ["disk", "other"].map(|disk| folder.join(disk).join(first.to_string()));
    std::fs::copy(&here, there).unwrap();
    let moved = store.attachment(&host.keys, &other, &first).unwrap_err();
    assert!(moved.to_string().contains("another disk"), "{moved}");

    store.delete_attachment(tenant, &disk, &first).unwrap();
    store.delete_attachment(tenant, &disk, &first).unwrap();
    assert_eq!(store.list_attachments(tenant, &disk).unwrap(), [second]);
    let gone = store.attachment(&host.keys, &disk, &first).unwrap_err();
    assert!(matches!(gone, StorageError::Missing(_)), "{gone}");
}

#[test]
fn an_independent_reader_extracts_it_and_every_flipped_bit_is_found() {
    let host = Host::new();
    let store = host.world().store;
    let disk = DiskName::new("disk").unwrap();
    let text = b"text that becomes smaller, ".repeat(100);
    let id = store
        .put_attachment(&host.keys, &SystemEntropy, &disk, b"words", &text)
        .unwrap();
    let keys = serde_json::to_vec(&host.ring).unwrap();
    std::fs::write(host.path("keys.json"), keys).unwrap();
    let output = host.path("output");
    let done = python()
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reader.py"))
        .arg(host.path("store"))
        .arg(host.path("keys.json"))
        .args(["tenant", &format!("disk/{id}")])
        .arg(&output)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{complaint}");
    assert_eq!(done.stdout, b"words\n");
    assert_eq!(std::fs::read(&output).unwrap(), text);

    let path = host.path(&format!("store/tenant/attachments/disk/{id}"));
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, bad).unwrap();
        let read = store
            .attachment(&host.keys, &disk, &id)
            .and_then(|mut attachment| attachment.next_piece());
        assert!(read.is_err(), "byte {at}");
    }
}
