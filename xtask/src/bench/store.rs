//! The store on this host's disk: how fast what is written gets there, how large it is, and how fast an image that
//! is nowhere else is read for the first time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures::TryStreamExt;
use futures::executor::block_on;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use storage::base::{BaseCache, Origin};
use storage::disk::Below;
use storage::import::publish;
use storage::keys::{SystemEntropy, Tenant};
use storage::manifest::{DiskName, Manifest, Version};

use super::disk::{MIB, Place, sizes};
use super::report::{Bar, Row, Samples};
use super::world::milliseconds;

/// Of what is written, MiB.
const WRITTEN: usize = 512;
/// Share of the floor's speed.
const WRITING: f64 = 0.7;
const SIZE: f64 = 1.15;
const READING: f64 = 0.8;
/// Times one request to the store.
const FIRST_READ: f64 = 2.0;
/// Bytes of a stored frame, more or less.
const FRAME: u64 = 32 << 10;
/// 4 KiB reads of one run.
const READS: u32 = 200;

pub fn run(runs: usize) -> anyhow::Result<Vec<Row>> {
    let content = content()?;
    let mut rows = writing(&content, runs)?;
    rows.extend(reading(&content, runs)?);
    Ok(rows)
}

/// What the guests' image has: its first parts that are not empty.
fn content() -> anyhow::Result<Vec<u8>> {
    let images =
        std::env::var_os("ROOST_IMAGES").context("./dev bench says where the images are")?;
    let image = std::fs::read_dir(&images)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "ext4"))
        .context("there is an image")?;
    let file = File::open(&image)?;
    let mut content = Vec::with_capacity(WRITTEN * MIB);
    let mut piece = vec![0; MIB];
    for offset in (0..file.metadata()?.len() - MIB as u64).step_by(MIB) {
        file.read_exact_at(&mut piece, offset)?;
        if piece.iter().any(|byte| *byte != 0) {
            content.extend_from_slice(&piece);
        }
        if content.len() == WRITTEN * MIB {
            return Ok(content);
        }
    }
    anyhow::bail!("{} has too little in it", image.display())
}

fn shell(folder: &Path, line: &str) -> anyhow::Result<()> {
    let status = Command::new("bash")
        .args(["-c", line])
        .current_dir(folder)
        .status()?;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
}

/// What is to be written goes to the disk first, so that nobody pays for another's.
fn settled() {
    rustix::fs::sync();
}

fn writing(content: &[u8], runs: usize) -> anyhow::Result<Vec<Row>> {
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    let (mut size, mut packed) = (Samples::default(), Samples::default());
    let bytes = content.len() as f64 / MIB as f64;
    for _ in 0..runs {
        let place = Place::new()?;
        let folder = place.path("");
        std::fs::write(place.path("content"), content)?;
        settled();
        let began = Instant::now();
        shell(
            &folder,
            "lz4 -1 -c content | dd of=packed bs=1M conv=fsync status=none iflag=fullblock",
        )?;
        floor.0.push(bytes / began.elapsed().as_secs_f64());
        packed
            .0
            .push(std::fs::metadata(place.path("packed"))?.len() as f64 / MIB as f64);
        let disk = place.create()?;
        settled();
        let began = Instant::now();
        for (piece, offset) in content.chunks(MIB).zip((0..).step_by(MIB)) {
            disk.write(offset, piece)?;
        }
        disk.upload(disk.cut()?, None)?;
        ours.0.push(bytes / began.elapsed().as_secs_f64());
        size.0
            .push(sizes(&place.path("store"))? as f64 / MIB as f64);
    }
    let name = "lz4 -1 | dd conv=fsync";
    Ok(vec![
        Row::compared(
            "writing until it is in the store",
            "MiB/s",
            &ours,
            Some((name, &floor)),
            Bar::RatioAtLeast(WRITING),
        ),
        Row::compared(
            format!("size there of {bytes} MiB"),
            "MiB",
            &size,
            Some((name, &packed)),
            Bar::RatioAtMost(SIZE),
        ),
    ])
}

fn reading(content: &[u8], runs: usize) -> anyhow::Result<Vec<Row>> {
    let place = Place::new()?;
    let image = place.path("image");
    std::fs::write(&image, content)?;
    let store = place.store()?;
    let tenant = Tenant::new("images")?;
    let origin = Origin {
        store: store.clone(),
        keys: place.ring.tenant(&tenant)?,
        version: Version {
            tenant: tenant.clone(),
            disk: DiskName::new("image")?,
            number: 1,
        },
    };
    let published: Manifest = publish(&image, &origin, &SystemEntropy, 2)?;
    let client = LocalFileSystem::new_with_prefix(place.path("store"))?;
    let folder = ObjectPath::from(format!("{tenant}/packs"));
    let packs: Vec<ObjectMeta> = block_on(client.list(Some(&folder)).try_collect())?;
    let blocks = published.blocks;
    let bytes = content.len() as f64 / MIB as f64;
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    let (mut reads, mut gets) = (Samples::default(), Samples::default());
    let stored = packs.iter().map(|pack| pack.size).sum::<u64>() as f64 / MIB as f64;
    for run in 0..runs {
        forget_files()?;
        let began = Instant::now();
        for pack in &packs {
            let got = block_on(async { client.get(&pack.location).await?.bytes().await })?;
            std::hint::black_box(got);
        }
        floor.0.push(stored / began.elapsed().as_secs_f64());
        let cache = place.path(&format!("cache{run}"));
        BaseCache::create(&cache, blocks)?;
        let base = BaseCache::open(&cache, Some(origin.clone()))?;
        forget_files()?;
        let mut piece = vec![0; MIB];
        let began = Instant::now();
        for first in (0..blocks).step_by(MIB / 4096) {
            base.read(first, &mut piece)?;
        }
        ours.0.push(bytes / began.elapsed().as_secs_f64());
        drop(base);
        std::fs::remove_file(&cache)?;
        BaseCache::create(&cache, blocks)?;
        let base = BaseCache::open(&cache, Some(origin.clone()))?;
        base.read(0, &mut piece[..4096])?;
        forget_files()?;
        for number in 0..READS {
            // Far from each other, in no order.
            let block = (number + 1).wrapping_mul(2_654_435_761) % (blocks / 64) * 64;
            let began = Instant::now();
            base.read(block, &mut piece[..4096])?;
            reads.0.push(milliseconds(began.elapsed()));
            // A piece of a pack as long as most frames are.
            let pack = &packs[number as usize % packs.len()];
            let last = pack.size.saturating_sub(FRAME);
            let start = u64::from(block) * 977 % last.max(1);
            let began = Instant::now();
            block_on(client.get_range(&pack.location, start..start + FRAME))?;
            gets.0.push(milliseconds(began.elapsed()));
        }
    }
    Ok(vec![
        Row::compared(
            "first read of an image, from front to back",
            "MiB/s",
            &ours,
            Some(("the store's objects", &floor)),
            Bar::RatioAtLeast(READING),
        ),
        Row::compared(
            "first read of 4 KiB of it",
            "ms",
            &reads,
            Some(("getting a frame", &gets)),
            Bar::RatioAtMost(FIRST_READ),
        ),
    ])
}

/// What the host has in memory of files is forgotten.
fn forget_files() -> anyhow::Result<()> {
    settled();
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("forgetting files takes root")
}
