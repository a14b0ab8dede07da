//! Servers that are killed under load, through the doors that a VMM uses.
#![allow(clippy::unwrap_used)]

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use disk_server::{Door, DoorChoice, ServerSpec, Serves, Supervisor};
use storage::keys::{KeyRing, SystemEntropy, Tenant};
use storage::manifest::{DiskName, Point, PointKind};
use storage::spec::{DiskSpec, StoreSpec};

const BLOCK: usize = 4096;
const BLOCKS: u32 = 16_384;

struct Place {
    folder: tempfile::TempDir,
    spec: ServerSpec,
}

impl Place {
    fn new(door: DoorChoice) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyRing::generate(&SystemEntropy)
            .tenant(&Tenant::new("test").unwrap())
            .unwrap();
        let disk = DiskSpec {
            folder: folder.path().join("disk"),
            name: DiskName::new("disk").unwrap(),
            epoch: 1,
            blocks: BLOCKS,
            store: StoreSpec::Folder {
                path: folder.path().join("store"),
            },
            keys,
            base: None,
            moved: false,
            must_exist: false,
        };
        let spec = ServerSpec { disk, door };
        spec.write(&folder.path().join("disk.json")).unwrap();
        Self { folder, spec }
    }

    fn spec(&self) -> PathBuf {
        self.folder.path().join("disk.json")
    }

    async fn start(&self) -> (Supervisor, Door) {
        let program = Path::new(env!("CARGO_BIN_EXE_roost-disk-server"));
        Supervisor::start(
            program,
            Serves::Disk,
            &self.spec(),
            self.folder.path(),
            None,
        )
        .await
        .unwrap()
    }
}

fn has_fuse() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists()
}

/// A buffer that direct reads and writes take.
struct Aligned(Vec<u8>, usize);

impl Aligned {
    fn new() -> Self {
        let buffer = vec![0; 2 * BLOCK];
        let start = buffer.as_ptr().align_offset(BLOCK);
        Self(buffer, start)
    }

    fn block(&mut self) -> &mut [u8] {
        &mut self.0[self.1..self.1 + BLOCK]
    }
}

fn fill(block: &mut [u8], number: u64, version: u64) {
    for (at, piece) in block.chunks_mut(16).enumerate() {
        piece[..8].copy_from_slice(&(number << 32 | at as u64).to_le_bytes());
        piece[8..].copy_from_slice(&version.to_le_bytes());
    }
}

fn version(block: &[u8], number: u64) -> u64 {
    if block.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let version = u64::from_le_bytes(block[8..16].try_into().unwrap());
    let mut expected = vec![0; BLOCK];
    fill(&mut expected, number, version);
    assert!(block == expected, "block {number} is torn or another's");
    version
}

fn kill(process: u32) {
    let process = rustix::process::Pid::from_raw(process.cast_signed()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
}

/// Kills the server `times`, each time once something was done since its successor came; returns how long each
/// takeover took.
async fn kill_often(supervisor: &Supervisor, times: usize, done: &AtomicU64) -> Vec<Duration> {
    let mut status = supervisor.status();
    let mut took = Vec::new();
    for round in 0..times {
        let before = done.load(Ordering::Acquire);
        while done.load(Ordering::Acquire) < before + 3 + round as u64 % 7 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let process = status.borrow().process;
        let killed = Instant::now();
        kill(process);
        let successor = status.wait_for(|status| status.process != process && status.process != 0);
        tokio::time::timeout(Duration::from_secs(60), successor)
            .await
            .unwrap()
            .unwrap();
        took.push(killed.elapsed());
    }
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_under_load_lose_nothing() {
    if !has_fuse() {
        eprintln!("not run: it takes root and /dev/fuse");
        return;
    }
    let place = Place::new(DoorChoice::Fuse);
    let (supervisor, door) = place.start().await;
    let Door::File(file) = door else {
        panic!("no file")
    };
    let file = Arc::new(file);
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    // Each writes its own blocks, over and over, and returns what it was told to be durable.
    let writers: Vec<_> = (0..3u64)
        .map(|writer| {
            let (file, stop, done) = (file.clone(), stop.clone(), done.clone());
            std::thread::spawn(move || {
                let mut acknowledged = vec![0u64; BLOCKS as usize];
                let mut buffer = Aligned::new();
                let mut round = 0u64;
                while !stop.load(Ordering::Acquire) {
                    round += 1;
                    let numbers: Vec<u64> = (0..8)
                        .map(|step| (round * 8 + step) * 7919 % u64::from(BLOCKS / 3) * 3 + writer)
                        .collect();
                    for number in &numbers {
                        fill(buffer.block(), *number, round);
                        file.write_all_at(buffer.block(), number * BLOCK as u64)
                            .unwrap();
                        file.read_exact_at(buffer.block(), number * BLOCK as u64)
                            .unwrap();
                        assert_eq!(version(buffer.block(), *number), round);
                    }
                    file.sync_data().unwrap();
                    for number in numbers {
                        acknowledged[number as usize] = round;
                    }
                    done.fetch_add(1, Ordering::Release);
                }
                acknowledged
            })
        })
        .collect();
    let mut took = kill_often(&supervisor, 100, &done).await;
    stop.store(true, Ordering::Release);
    let mut acknowledged = vec![0; BLOCKS as usize];
    for writer in writers {
        for (sum, own) in acknowledged.iter_mut().zip(writer.join().unwrap()) {
            *sum = own.max(*sum);
        }
    }
    took.sort();
    eprintln!("takeovers: median {:?}, longest {:?}", took[50], took[99]);
    let check = |file: &std::fs::File| {
        let mut buffer = Aligned::new();
        for (number, acknowledged) in (0..).zip(&acknowledged) {
            file.read_exact_at(buffer.block(), number * BLOCK as u64)
                .unwrap();
            let found = version(buffer.block(), number);
            assert!(
                found >= *acknowledged,
                "block {number}: {found}, {acknowledged} was durable"
            );
        }
    };
    check(&file);
    drop(file);
    supervisor.end().await;
    // And so it is for the next one who opens it.
    let (supervisor, door) = place.start().await;
    let Door::File(file) = door else {
        panic!("no file")
    };
    check(&file);
    drop(file);
    supervisor.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_on_a_socket_comes_back_to_the_successor() {
    let place = Place::new(DoorChoice::Nbd);
    let (supervisor, door) = place.start().await;
    let Door::Nbd(socket) = door else {
        panic!("no socket")
    };
    let path = format!("/proc/{}/fd/{}", std::process::id(), socket.as_raw_fd());
    let done = Arc::new(AtomicU64::new(0));
    let options = format!("driver=nbd,server.type=unix,server.path={path},reconnect-delay=60");
    let mut client = std::process::Command::new("qemu-io")
        .args(["-n", "--image-opts", &options])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = client.stdout.take().unwrap();
    let reader = {
        let done = done.clone();
        std::thread::spawn(move || {
            use std::io::BufRead;
            let mut text = String::new();
            for line in std::io::BufReader::new(output).lines() {
                let line = line.unwrap();
                if line.contains("wrote ") {
                    done.fetch_add(1, Ordering::Release);
                }
                text += &line;
                text.push('\n');
            }
            text
        })
    };
    let mut input = client.stdin.take().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            use std::io::Write;
            let mut rounds = 0u32;
            while !stop.load(Ordering::Acquire) {
                rounds += 1;
                let (pattern, at) = (rounds % 250 + 1, rounds % 64);
                writeln!(
                    input,
                    "write -P {pattern} {at}M 256k\nflush\nread -P {pattern} {at}M 256k"
                )
                .unwrap();
            }
            rounds
        })
    };
    kill_often(&supervisor, 10, &done).await;
    stop.store(true, Ordering::Release);
    let rounds = writer.join().unwrap();
    let text = reader.join().unwrap();
    assert!(client.wait().unwrap().success());
    assert!(
        !text.contains("failed") && !text.contains("error"),
        "{text}"
    );
    assert_eq!(u64::from(rounds), done.load(Ordering::Acquire));
    supervisor.end().await;
}

#[tokio::test]
async fn points_are_in_the_store_when_they_are_acknowledged() {
    let place = Place::new(DoorChoice::Nbd);
    let (supervisor, _door) = place.start().await;
    let point = Point::new(&SystemEntropy, "first", PointKind::Manual, 1);
    let version = supervisor.point(point.clone()).await.unwrap();
    let store = place.spec.disk.store.open(None).unwrap();
    let newest = store
        .newest(&place.spec.disk.keys, &place.spec.disk.name, 0)
        .unwrap()
        .unwrap();
    assert_eq!(
        (newest.version.number, newest.point),
        (version, Some(point))
    );
    supervisor.grow(BLOCKS * 2).await.unwrap();
    supervisor.settle().await.unwrap();
    let mut status = supervisor.status();
    status
        .wait_for(|status| status.figures.size == u64::from(BLOCKS) * 2 * BLOCK as u64)
        .await
        .unwrap();
    supervisor.end().await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_opened_says_why() {
    let place = Place::new(DoorChoice::Nbd);
    let other = KeyRing::generate(&SystemEntropy)
        .tenant(&Tenant::new("test").unwrap())
        .unwrap();
    let (supervisor, _door) = place.start().await;
    supervisor.settle().await.unwrap();
    supervisor.end().await;
    let mut spec = place.spec.clone();
    spec.disk.keys = other;
    std::fs::remove_dir_all(&spec.disk.folder).unwrap();
    spec.write(&place.spec()).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_roost-disk-server"));
    let Err(error) = Supervisor::start(
        program,
        Serves::Disk,
        &place.spec(),
        place.folder.path(),
        None,
    )
    .await
    else {
        panic!("it opened");
    };
    assert!(error.to_string().contains("opened"), "{error}");
}
