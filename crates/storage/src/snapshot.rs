//! A version as it lies in the store, to be read and nothing else: no part of it on this host is needed, made
//! or left.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::block::{BLOCK, BlockNumber};
use crate::disk::Below;
use crate::error::{Result, StorageError};
use crate::index::{Index, Place};
use crate::keys::TenantKeys;
use crate::manifest::{Manifest, Version};
use crate::pack::PackContents;
use crate::ranges::BlockRanges;
use crate::store::Store;

/// Frames that are remembered, 64 KiB each: whoever reads a disk from front to back goes through all of its
/// packs at once, since each of them has its blocks in order.
const FRAMES: usize = 256;

/// A version that can be read.
pub struct Snapshot {
    store: Store,
    keys: TenantKeys,
    manifest: Manifest,
    index: Index,
    base: Option<Arc<dyn Below>>,
    /// Blocks of which the store does not have what was written.
    unreadable: BlockRanges,
    frames: Mutex<Frames>,
}

#[derive(Default)]
struct Frames {
    /// Number of the pack, and of the frame in it.
    known: HashMap<(u32, u32), Known>,
    uses: u64,
}

struct Known {
    used: u64,
    raw: Arc<[u8]>,
}

/// Something of a version that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// Its path in the store.
    pub object: String,
    pub error: StorageError,
    /// Blocks that may have another content because of it.
    pub blocks: BlockRanges,
}

/// The index of a version as far as it can be read, and what of it cannot.
pub(crate) fn salvage_index(
    store: &Store,
    keys: &TenantKeys,
    manifest: &Manifest,
) -> Result<(Index, Vec<Unreadable>)> {
    let mut index = Index::empty(manifest.blocks);
    let mut unreadable: Vec<Unreadable> = Vec::new();
    let everything = || {
        let mut blocks = BlockRanges::default();
        blocks.insert(0..manifest.blocks);
        blocks
    };
    let note = |unreadable: &mut Vec<Unreadable>, object, error: StorageError| {
        if !error.is_damage() {
            return Err(error);
        }
        unreadable.push(Unreadable {
            object,
            error,
            blocks: everything(),
        });
        Ok(())
    };
    if let Some(id) = &manifest.index {
        match store.index(keys, id) {
            Ok(found) => index = found,
            Err(error) => note(&mut unreadable, Store::index_name(keys.tenant(), id), error)?,
        }
    }
    index.map.grow(manifest.blocks);
    for id in &manifest.segments {
        match store.pack_contents(keys, id) {
            Ok(contents) => {
                index.apply(&contents)?;
                replaces(&contents, &mut unreadable);
            }
            Err(error) => note(&mut unreadable, Store::pack_name(keys.tenant(), id), error)?,
        }
    }
    Ok((index, unreadable))
}

/// What a pack has is known again, whatever was there before.
fn replaces(contents: &PackContents, unreadable: &mut [Unreadable]) {
    for change in &contents.changes {
        for before in &mut *unreadable {
            before
                .blocks
                .remove(change.first..change.first + change.count);
        }
    }
}

impl Snapshot {
    /// Opens a version; `base` is the image that its manifest names, if it does.
    pub fn open(
        store: &Store,
        keys: &TenantKeys,
        version: &Version,
        base: Option<Arc<dyn Below>>,
    ) -> Result<Self> {
        let (snapshot, unreadable) = Self::salvage(store, keys, version, base)?;
        match unreadable.into_iter().next() {
            Some(first) => Err(first.error),
            None => Ok(snapshot),
        }
    }

    /// Opens as much of a version as there is. Blocks that may be something else because of what cannot be read
    /// are refused when somebody reads them.
    pub fn salvage(
        store: &Store,
        keys: &TenantKeys,
        version: &Version,
        base: Option<Arc<dyn Below>>,
    ) -> Result<(Self, Vec<Unreadable>)> {
        let (_, manifest) = store.manifest(keys, version)?;
        if let (None, Some(needed)) = (&base, &manifest.base) {
            return Err(StorageError::Invalid(format!(
                "{version} cannot be read without the image that it lies over, {needed}"
            )));
        }
        let (index, damage) = salvage_index(store, keys, &manifest)?;
        let mut unreadable = BlockRanges::default();
        unreadable.extend(manifest.lost.iter().copied());
        for range in damage.iter().flat_map(|damage| damage.blocks.iter()) {
            unreadable.insert(range);
        }
        let snapshot = Self {
            store: store.clone(),
            keys: keys.clone(),
            manifest,
            index,
            base,
            unreadable,
            frames: Mutex::default(),
        };
        Ok((snapshot, damage))
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How many of the blocks from `first` on lie after each other where it does, `most` at the most.
    fn run(&self, first: BlockNumber, most: u32, place: Place) -> Result<u32> {
        for number in 1..most {
            let block = first + number;
            let expected = match place {
                Place::Stored { pack, slot } => Place::Stored {
                    pack,
                    slot: slot + number,
                },
                same => same,
            };
            if self.index.place(block)? != expected || self.unreadable.contains(block) {
                return Ok(number);
            }
        }
        Ok(most)
    }

    fn read_stored(&self, number: u32, slot: u32, buffer: &mut [u8]) -> Result<()> {
        let per_frame = u32::from(self.index.pack(number)?.frame_blocks);
        let blocks = (buffer.len() / BLOCK) as u32;
        let frames = slot / per_frame..(slot + blocks - 1) / per_frame + 1;
        let skipped = (slot % per_frame) as usize * BLOCK;
        let mut at = 0;
        for raw in self.fetch(number, frames)? {
            let raw = &raw[if at == 0 { skipped } else { 0 }..];
            let length = raw.len().min(buffer.len() - at);
            buffer[at..at + length].copy_from_slice(&raw[..length]);
            at += length;
        }
        Ok(())
    }

    /// Frames of a pack; those that are not known come with one request.
    fn fetch(&self, number: u32, frames: Range<u32>) -> Result<Vec<Arc<[u8]>>> {
        let mut known = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |known: &Frames| {
            let mut missing = frames
                .clone()
                .filter(|frame| !known.known.contains_key(&(number, *frame)));
            let first = missing.next()?;
            Some(first..missing.next_back().unwrap_or(first) + 1)
        };
        if let Some(missing) = missing(&known) {
            let pack = self.index.pack(number)?;
            let range = missing.start as usize..missing.end as usize;
            let raw = self.store.frames(&self.keys, pack, range)?;
            let mut rest = &raw[..];
            for frame in missing {
                let length = pack.frame_slots(frame as usize).len() * BLOCK;
                let (raw, after) = rest.split_at(length);
                known.keep((number, frame), raw.into());
                rest = after;
            }
        }
        let found = frames.map(|frame| known.get((number, frame)));
        let found = found.collect();
        known.forget();
        Ok(found)
    }
}

impl Frames {
    fn keep(&mut self, key: (u32, u32), raw: Arc<[u8]>) {
        self.known.insert(key, Known { used: 0, raw });
    }

    fn get(&mut self, key: (u32, u32)) -> Arc<[u8]> {
        self.uses += 1;
        let known = self.known.get_mut(&key).expect("it was fetched just now");
        known.used = self.uses;
        known.raw.clone()
    }

    /// Those that nobody has used for the longest time go, many at once: to look for them takes a while.
    fn forget(&mut self) {
        if self.known.len() > FRAMES {
            let since = self.uses.saturating_sub(FRAMES as u64 / 2);
            self.known.retain(|_, known| known.used > since);
        }
    }
}

impl Below for Snapshot {
    fn blocks(&self) -> u32 {
        self.manifest.blocks
    }

    fn read(&self, first: BlockNumber, buffer: &mut [u8]) -> Result<()> {
        let end = first + (buffer.len() / BLOCK) as u32;
        let mut block = first;
        while block < end {
            let rest = &mut buffer[(block - first) as usize * BLOCK..];
            if block >= self.manifest.blocks {
                rest.fill(0);
                return Ok(());
            }
            if self.unreadable.contains(block) {
                return Err(StorageError::damaged(
                    format!("block {block} of {}", self.manifest.version),
                    "the store does not have what was written",
                ));
            }
            let place = self.index.place(block)?;
            let most = end.min(self.manifest.blocks) - block;
            let count = self.run(block, most, place)?;
            let some = &mut rest[..count as usize * BLOCK];
            match (place, &self.base) {
                (Place::Stored { pack, slot }, _) => self.read_stored(pack, slot, some)?,
                (Place::Below, Some(base)) => base.read(block, some)?,
                (Place::Zero, _) | (Place::Below, None) => some.fill(0),
            }
            block += count;
        }
        Ok(())
    }

    fn zeros(&self, first: BlockNumber, most: u32) -> Result<u32> {
        let within = self.manifest.blocks.saturating_sub(first).min(most);
        for number in 0..within {
            let block = first + number;
            let is_zero = match (self.index.place(block)?, &self.base) {
                (Place::Zero, _) | (Place::Below, None) => true,
                (Place::Below, Some(base)) => base.is_zero(block)?,
                (Place::Stored { .. }, _) => false,
            };
            if !is_zero || self.unreadable.contains(block) {
                return Ok(number);
            }
        }
        Ok(most)
    }
}
