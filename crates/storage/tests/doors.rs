//! Disks through their doors: the kernel's FUSE and QEMU's own NBD client.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;

use storage::StorageError;
use storage::disk::{Below, Disk};
use storage::door::image::{self, ImageDevice};
use storage::door::{DiskDevice, fuse, nbd};

use support::{Host, Pattern, block, read};

fn device(disk: &Arc<Disk>) -> impl storage::door::Device + use<> {
    DiskDevice::new(disk.clone(), |trouble: Option<&storage::StorageError>| {
        assert!(trouble.is_none(), "{trouble:?}")
    })
}

/// A buffer that direct reads and writes take.
fn aligned(length: usize) -> (Vec<u8>, usize) {
    let buffer = vec![0; length + 4096];
    let start = buffer.as_ptr().align_offset(4096);
    (buffer, start)
}

#[test]
fn a_file_of_the_kernel_is_the_disk() {
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("not run: it takes root and /dev/fuse");
        return;
    }
    let host = Host::new();
    let disk = Arc::new(host.create(50_000, Some(Arc::new(Pattern(1000)))));
    let connection = fuse::connect(fuse::Use::Disk).unwrap();
    std::thread::scope(|scope| {
        let channel = connection.channel.try_clone().unwrap();
        let channel = Arc::new(channel);
        for _ in 0..3 {
            let channel = channel.clone();
            let disk = &disk;
            scope.spawn(move || fuse::serve(&channel, &device(disk)).unwrap());
        }
        let direct = connection.open().unwrap();
        let again = format!("/proc/self/fd/{}", direct.as_raw_fd());
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(again)
            .unwrap();
        drop(connection);
        assert_eq!(direct.metadata().unwrap().len(), 50_000 * 4096);
        let (mut buffer, start) = aligned(1 << 20);
        let piece = &mut buffer[start..start + (1 << 20)];
        direct.read_exact_at(piece, 0).unwrap();
        assert!(piece[7 * 4096..8 * 4096] == [7; 4096]);
        for number in 0..256 {
            piece[number * 4096..][..4096].copy_from_slice(&block(number as u32, 1));
        }
        direct.write_all_at(piece, 4096 * 2000).unwrap();
        direct.sync_data().unwrap();
        assert!(read(&disk, 2005) == block(5, 1));
        // Bytes, not blocks.
        file.write_all_at(b"hello", 4096 * 2005 + 100).unwrap();
        let mut found = [0; 7];
        file.read_exact_at(&mut found, 4096 * 2005 + 99).unwrap();
        assert_eq!(&found[1..6], b"hello");
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&direct, flags, 4096 * 2000, 4096 * 3).unwrap();
        assert_eq!(read(&disk, 2001), [0; 4096]);
        drop((direct, file));
    });
}

/// An image that cannot be read at first, and that counts how often it is.
struct Reluctant {
    fails: AtomicU32,
    reads: AtomicU32,
}

impl Below for Reluctant {
    fn blocks(&self) -> u32 {
        1000
    }

    fn read(&self, first: u32, buffer: &mut [u8]) -> storage::Result<()> {
        if (first..first + (buffer.len() / 4096) as u32).contains(&9) {
            let left = self
                .fails
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                });
            if left.is_ok() {
                return Err(StorageError::Missing("it".to_owned()));
            }
        }
        self.reads.fetch_add(1, Ordering::Relaxed);
        Pattern(1000).read(first, buffer)
    }

    fn zeros(&self, _first: u32, _most: u32) -> storage::Result<u32> {
        Ok(0)
    }
}

#[test]
fn an_image_is_read_through_the_page_cache_and_what_cannot_be_read_yet_is_waited_for() {
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("not run: it takes root and /dev/fuse");
        return;
    }
    let reluctant = Arc::new(Reluctant {
        fails: AtomicU32::new(2),
        reads: AtomicU32::new(0),
    });
    let (tell, told) = channel();
    let report = Box::new(move |error: Option<&StorageError>| {
        let _ = tell.send(error.is_some());
    });
    let device = Arc::new(ImageDevice::new(reluctant.clone(), 1000 * 4096, report));
    let connection = fuse::connect(fuse::Use::Image).unwrap();
    std::thread::scope(|scope| {
        let served = Arc::new(connection.channel.try_clone().unwrap());
        // One is enough: who waits holds none.
        let (channel, serving) = (served.clone(), device.clone());
        scope.spawn(move || image::serve(&channel, &serving).unwrap());
        let file = connection.open().unwrap();
        drop((connection, served));
        let waits = {
            let file = file.try_clone().unwrap();
            scope.spawn(move || {
                let mut found = [0; 4096];
                file.read_exact_at(&mut found, 9 * 4096).unwrap();
                found
            })
        };
        assert!(told.recv().unwrap());
        let mut found = [0; 4096];
        file.read_exact_at(&mut found, 700 * 4096).unwrap();
        assert_eq!(found, [700_u32 as u8 | 1; 4096]);
        assert_eq!(waits.join().unwrap(), [9; 4096]);
        assert!(told.iter().any(|trouble| !trouble));
        let reads = reluctant.reads.load(Ordering::Relaxed);
        file.read_exact_at(&mut found, 700 * 4096).unwrap();
        assert_eq!(reluctant.reads.load(Ordering::Relaxed), reads);
        assert!(file.write_all_at(&[1], 0).is_err());
        drop(file);
    });
}

#[test]
fn qemu_reads_and_writes_it_over_nbd() {
    let host = Host::new();
    let disk = Arc::new(host.create(50_000, Some(Arc::new(Pattern(1000)))));
    let socket = host.path("nbd");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = {
        let disk = disk.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                nbd::serve(&stream.unwrap(), &device(&disk)).unwrap();
            }
        })
    };
    let address = format!("nbd+unix:///?socket={}", socket.display());
    let info = Command::new("qemu-img")
        .args(["info", "--output=json", &address])
        .output()
        .unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(info["virtual-size"], 50_000 * 4096);
    let commands = [
        "read -P 7 28k 4k",
        "write -P 0x42 8M 3M",
        "read -P 0x42 9M 1M",
        "write -P 9 100 1000",
        "read -P 9 100 1000",
        "flush",
        "discard 8M 1M",
        "read -P 0 8M 1M",
        "write -z 10M 64k",
        "read -P 0 10M 64k",
    ];
    let mut qemu = Command::new("qemu-io");
    qemu.args(["-f", "raw"]);
    for command in commands {
        qemu.args(["-c", command]);
    }
    let done = qemu.arg(&address).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && !text.contains("failed"), "{text}");
    server.join().unwrap();
    assert_eq!(read(&disk, 9 * 256), [0x42; 4096]);
    assert_eq!(read(&disk, 8 * 256), [0; 4096]);
}
