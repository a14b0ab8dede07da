//! A disk on this host without any VM: its file of the kernel's beside a raw file, openings with a short and a long
//! history, and what its index takes.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use storage::disk::keeper::{Keeper, Policy};
use storage::door::{DiskDevice, fuse};
use storage::keys::{KeyRing, SystemEntropy, Tenant, TenantKeys};
use storage::manifest::{DiskName, Manifest, Point, PointKind};
use storage::store::Store;
use storage::{Disk, OpenDisk, StorageError, World};

use super::fio::{self, JOBS};
use super::memory::private_mib;
use super::report::{Bar, Row, Samples};
use super::world::milliseconds;

pub const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// Size of the disks, 4 KiB blocks.
const BLOCKS: u32 = 4 << 18;
/// Threads that answer the kernel, as a disk's server has.
const DOOR_THREADS: usize = 4;
/// Between looks at what is to be done, as a disk's server has it.
const PERIOD: Duration = Duration::from_millis(500);
/// From opening a disk to its first byte, milliseconds.
const OPEN_MS: f64 = 5.0;
/// Index for each GiB of disk.
const INDEX_MIB: f64 = 1.0;
const HISTORY: usize = 500;
const OPENINGS: usize = 30;

pub fn run(runs: usize) -> anyhow::Result<Vec<Row>> {
    let mut rows = beside_a_raw_file(runs)?;
    rows.extend(openings(1)?);
    rows.extend(openings(HISTORY)?);
    rows.extend(index()?);
    Ok(rows)
}

/// A folder with a disk and a store, which goes when this does.
pub struct Place {
    folder: tempfile::TempDir,
    pub ring: KeyRing,
    pub keys: TenantKeys,
}

impl Place {
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in ["disk", "store"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let ring = KeyRing::generate(&SystemEntropy);
        let keys = ring.tenant(&Tenant::new("bench")?)?;
        Ok(Self { folder, ring, keys })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::folder(&self.path("store"))?)
    }

    /// How the disk is opened whose part on this host lies in a folder.
    pub fn opener(&self, folder: &str, epoch: u64) -> anyhow::Result<OpenDisk> {
        Ok(OpenDisk {
            world: World::new(self.store()?, self.keys.clone()),
            name: DiskName::new("disk")?,
            folder: self.path(folder),
            epoch,
            base: None,
        })
    }

    /// A new disk without an image below it.
    pub fn create(&self) -> anyhow::Result<Arc<Disk>> {
        let name = DiskName::new("disk")?;
        let manifest = Manifest::unborn(self.keys.tenant().clone(), name, BLOCKS, None);
        Ok(Arc::new(self.opener("disk", 1)?.create(manifest)?))
    }
}

/// A disk as a file of the kernel's, looked after as its server does it. Ends when dropped.
pub struct Door {
    file: Option<File>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Door {
    pub fn open(disk: &Arc<Disk>) -> anyhow::Result<Self> {
        let connection = fuse::connect(fuse::Use::Disk)
            .context("a file of the kernel's takes root and /dev/fuse")?;
        let channel = Arc::new(connection.channel.try_clone()?);
        let mut threads = Vec::new();
        for _ in 0..DOOR_THREADS {
            let (channel, disk) = (channel.clone(), disk.clone());
            threads.push(std::thread::spawn(move || {
                let say = |trouble: Option<&StorageError>| {
                    if let Some(trouble) = trouble {
                        eprintln!("the disk has trouble: {trouble}");
                    }
                };
                if let Err(error) = fuse::serve(&channel, &DiskDevice::new(disk, say)) {
                    eprintln!("the door failed: {error}");
                }
            }));
        }
        let ends = Arc::new(AtomicBool::new(false));
        let (disk, end) = (disk.clone(), ends.clone());
        threads.push(std::thread::spawn(move || {
            let mut keeper = Keeper::new(Policy::default());
            while !end.load(Ordering::Relaxed) {
                match keeper.turn(&disk) {
                    Ok(Some(_)) => {}
                    Ok(None) => std::thread::sleep(PERIOD),
                    Err(error) => eprintln!("keeping the disk failed: {error}"),
                }
            }
        }));
        let file = Some(connection.open()?);
        Ok(Self {
            file,
            ends,
            threads,
        })
    }

    /// Where others open it.
    pub fn path(&self) -> String {
        let file = self.file.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        format!("/proc/{}/fd/{file}", std::process::id())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // The door's threads end when nobody has the file open any more.
        self.file.take();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// fio on both, on the host itself.
fn beside_a_raw_file(runs: usize) -> anyhow::Result<Vec<Row>> {
    let place = Place::new()?;
    let disk = place.create()?;
    let door = Door::open(&disk)?;
    let raw = place.path("raw").display().to_string();
    for file in [&raw, &door.path()] {
        fio(&fio::fill(file))?;
    }
    let mut rows = Vec::new();
    for job in JOBS {
        let (mut ours, mut floor) = (Samples::default(), Samples::default());
        for _ in 0..runs {
            floor.0.push(job.figure(&fio(&job.arguments(&raw))?)?);
            ours.0
                .push(job.figure(&fio(&job.arguments(&door.path()))?)?);
        }
        let name = format!("on the host: {}", job.name);
        rows.push(Row::compared(
            name,
            job.unit,
            &ours,
            Some(("raw file", &floor)),
            Bar::None,
        ));
    }
    Ok(rows)
}

fn fio(arguments: &str) -> anyhow::Result<Vec<u8>> {
    let words = arguments.split_whitespace();
    let output = Command::new("fio").args(words).output();
    let output = output.context("fio has to be installed")?;
    ensure!(output.status.success(), "fio {arguments}: {output:?}");
    Ok(output.stdout)
}

/// Content that takes the store little.
pub fn content(number: usize) -> Vec<u8> {
    let mut content = vec![0; MIB];
    for (block, bytes) in content.chunks_mut(4096).enumerate() {
        bytes[..16].copy_from_slice(&((number * 256 + block) as u128 + 1).to_le_bytes());
    }
    content
}

/// From opening to the first byte, with so many points in the history: here, and on a host that has nothing of it.
fn openings(history: usize) -> anyhow::Result<Vec<Row>> {
    let place = Place::new()?;
    let disk = place.create()?;
    for number in 0..history {
        disk.write((number % 512 * MIB) as u64, &content(number))?;
        let point = Point::new(&SystemEntropy, "point", PointKind::Manual, 0);
        disk.upload(disk.cut()?, Some(&point))?;
    }
    disk.checkpoint()?;
    drop(disk);
    let (mut here, mut there) = (Samples::default(), Samples::default());
    for number in 0..OPENINGS {
        let began = Instant::now();
        let opened = place.opener("disk", 1)?.open()?;
        let disk = opened.context("the disk is there")?;
        disk.read(0, &mut [0; 4096])?;
        here.0.push(milliseconds(began.elapsed()));
        drop(disk);
        let folder = format!("there{number}");
        std::fs::create_dir(place.path(&folder))?;
        let store = place.store()?;
        let began = Instant::now();
        let newest = store.newest(&place.keys, &DiskName::new("disk")?, 0)?;
        let newest = newest.context("the disk has a version")?;
        let disk = place.opener(&folder, 2)?.create(newest)?;
        disk.read(0, &mut [0; 4096])?;
        there.0.push(milliseconds(began.elapsed()));
    }
    let name = |what: &str| format!("{what} to the first byte, points in the history: {history}");
    Ok(vec![
        Row::new(name("opening"), "ms", &here, Bar::MedianAtMost(OPEN_MS)),
        Row::new(name("opening elsewhere"), "ms", &there, Bar::None),
    ])
}

/// What 2 GiB of a disk take of the index: in the store, and of the memory of a process that has opened it and read
/// all of it.
fn index() -> anyhow::Result<Vec<Row>> {
    const WRITTEN: usize = 2;
    let place = Place::new()?;
    let disk = place.create()?;
    for piece in 0..WRITTEN * GIB / MIB {
        disk.write((piece * MIB) as u64, &content(piece))?;
    }
    disk.upload(disk.cut()?, None)?;
    disk.checkpoint()?;
    drop(disk);
    let before = private_mib(std::process::id())?;
    let opened = place.opener("disk", 1)?.open()?;
    let disk = opened.context("the disk is there")?;
    let mut touched = [0; 4096];
    for piece in 0..WRITTEN * GIB / MIB {
        disk.read((piece * MIB) as u64, &mut touched)?;
    }
    let own = private_mib(std::process::id())? - before;
    let stored = place.keys.tenant();
    let indexes = place.path("store").join(stored.to_string()).join("indexes");
    let bytes = sizes(&indexes)?;
    let per = |mib: f64| Samples(vec![mib / WRITTEN as f64]);
    Ok(vec![
        Row::new(
            "index in the store, of each GiB of disk",
            "MiB",
            &per(bytes as f64 / MIB as f64),
            Bar::MedianAtMost(INDEX_MIB),
        ),
        Row::new(
            "private memory, of each GiB of disk",
            "MiB",
            &per(own.max(0.0)),
            Bar::MedianAtMost(INDEX_MIB),
        ),
    ])
}

/// Bytes of all files below a folder.
pub fn sizes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() {
            sizes(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(bytes)
}
