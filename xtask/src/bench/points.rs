//! Points in time of a disk, taken while somebody reads and writes it, with much written since the last one.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use rustix::fs::OFlags;
use storage::keys::SystemEntropy;
use storage::manifest::{Point, PointKind};

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

/// How long reads and writes take that overlap the taking of a point, until it is in the store.
pub fn run(runs: usize) -> anyhow::Result<Vec<Row>> {
    let place = Place::new()?;
    let disk = place.create()?;
    let door = Door::open(&disk)?;
    let ends = Arc::new(AtomicBool::new(false));
    let probe = {
        let (path, ends) = (door.path(), ends.clone());
        std::thread::spawn(move || probe(Path::new(&path), &ends))
    };
    let mut taken = Vec::new();
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
        taken.push(began..Instant::now());
        if let Some(before) = before.replace(kept.version.number) {
            disk.forget(before)?;
        }
    }
    ends.store(true, Ordering::Relaxed);
    let done = probe.join().map_err(|_| anyhow!("the probe failed"))??;
    let mut stalls = Samples::default();
    for window in &taken {
        let within = done
            .iter()
            .filter(|request| request.start < window.end && request.end > window.start)
            .map(|request| milliseconds(request.end - request.start));
        stalls.0.push(within.fold(0.0, f64::max));
    }
    Ok(vec![Row::new(
        "longest request while a point is taken, 1 GiB since the last",
        "ms",
        &stalls,
        Bar::P99AtMost(STALL_MS),
    )])
}

/// Reads and writes a block again and again, as a guest would. Gives when each request was on its way.
fn probe(path: &Path, ends: &AtomicBool) -> anyhow::Result<Vec<std::ops::Range<Instant>>> {
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
