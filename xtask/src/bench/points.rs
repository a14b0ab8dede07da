//! Points in time of a disk, taken while somebody reads and writes it, with much written since the last one.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use rustix::fs::OFlags;
use storage::keys::SystemEntropy;
use storage::manifest::{Manifest, Point, PointKind};
use storage::store::Store;

use super::disk::{Door, MIB, Place, content};
use super::report::{Bar, Row, Samples};
use super::world::milliseconds;

/// What is written between two points.
const BETWEEN: usize = 1 << 30;
/// What a guest's I/O may wait for a point, p99, milliseconds.
const STALL_MS: f64 = 20.0;

/// A buffer that direct reads and writes take.
fn aligned(length: usize) -> (Vec<u8>, usize) {
    let buffer = vec![1; length + 4096];
    let start = buffer.as_ptr().align_offset(4096);
    (buffer, start)
}

/// How long reads and writes take that overlap the taking of a point, until it is in the store; and how long they take
/// of a raw file while the same packs are written and synced by a plain program.
pub fn run(runs: usize) -> anyhow::Result<Vec<Row>> {
    let place = Place::new()?;
    let disk = place.create()?;
    let door = Door::open(&disk)?;
    let raw = place.path("raw");
    File::create(&raw)?.set_len(MIB as u64)?;
    let here = Probe::start(Path::new(&door.path()).to_owned());
    let there = Probe::start(raw);
    let (mut points, mut copies) = (Vec::new(), Vec::new());
    let mut before = None;
    for number in 0..runs {
        for piece in 0..BETWEEN / MIB {
            // The first MiB is the probe's.
            let offset = (MIB + piece * MIB) as u64;
            disk.write(offset, &content(number * 1024 + piece))?;
        }
        let began = Instant::now();
        let point = Point::new(&SystemEntropy, "point", PointKind::Manual, 0);
        let kept = disk.upload(disk.cut()?, Some(&point))?;
        points.push(began..Instant::now());
        copies.push(copy_packs(&place, &kept)?);
        if let Some(before) = before.replace(kept.version.number) {
            disk.forget(before)?;
        }
    }
    let stalls = here.stalls(&points)?;
    let floor = there.stalls(&copies)?;
    Ok(vec![
        Row::new(
            "longest request while a point is taken, 1 GiB since the last",
            "ms",
            &stalls,
            Bar::P99AtMost(STALL_MS),
        ),
        Row::new(
            "the same of a raw file, while the same packs are copied and synced",
            "ms",
            &floor,
            Bar::None,
        ),
    ])
}

/// Writes and syncs the packs of a version once more, on two threads, as whoever sends them does. Says when that was.
fn copy_packs(place: &Place, version: &Manifest) -> anyhow::Result<Range<Instant>> {
    let copies = place.path("copies");
    std::fs::create_dir_all(&copies)?;
    let packs = &version.segments;
    let next = AtomicUsize::new(0);
    let work = || -> std::io::Result<()> {
        while let Some(pack) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = Store::pack_name(place.keys.tenant(), pack);
            let content = std::fs::read(place.path("store").join(name))?;
            let mut copy = File::create(copies.join(pack.to_string()))?;
            copy.write_all(&content)?;
            copy.sync_all()?;
        }
        Ok(())
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(work));
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow!("copying failed"))??;
            anyhow::Ok(())
        })
    })?;
    let took = began..Instant::now();
    std::fs::remove_dir_all(copies)?;
    Ok(took)
}

/// Somebody who reads and writes a file all the time.
struct Probe {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<Range<Instant>>>>,
}

impl Probe {
    fn start(path: PathBuf) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let thread = {
            let ends = ends.clone();
            std::thread::spawn(move || probe(&path, &ends))
        };
        Self { ends, thread }
    }

    /// Ends it. Gives its longest request in each window, milliseconds.
    fn stalls(self, windows: &[Range<Instant>]) -> anyhow::Result<Samples> {
        self.ends.store(true, Ordering::Relaxed);
        let done = self
            .thread
            .join()
            .map_err(|_| anyhow!("the probe failed"))??;
        let longest = |window: &Range<Instant>| {
            let within = done
                .iter()
                .filter(|request| request.start < window.end && request.end > window.start)
                .map(|request| milliseconds(request.end - request.start));
            within.fold(0.0, f64::max)
        };
        Ok(Samples(windows.iter().map(longest).collect()))
    }
}

/// Reads and writes a block again and again, as a guest would. Gives when each request was on its way.
fn probe(path: &Path, ends: &AtomicBool) -> anyhow::Result<Vec<Range<Instant>>> {
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlags::DIRECT.bits() as i32)
        .open(path)?;
    let (mut buffer, start) = aligned(4096);
    let block = &mut buffer[start..start + 4096];
    let mut done = Vec::new();
    for number in 0.. {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let offset = (number % 256) * 4096;
        let began = Instant::now();
        if number % 2 == 0 {
            file.write_all_at(block, offset)?;
        } else {
            file.read_exact_at(block, offset)?;
        }
        done.push(began..Instant::now());
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(done)
}
