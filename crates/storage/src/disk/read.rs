//! Reading: from wherever the newest copy of a block is, never without checking it.

use std::sync::Arc;

use super::format::{
    ENTRY, FIRST, GROUP_BLOCKS, GROUP_BYTES, GroupUse, LOST, NONE, Range, Record, Told, What, ZERO,
    entry_at, entry_of,
};
use super::{Disk, Slot, State};
use crate::block::{BLOCK, BlockNumber};
use crate::error::{During, Result, StorageError};
use crate::index::Place;
use crate::map::PAGE_WORDS;
use crate::pack::PackRef;

/// Frames that are fetched at once when a disk is read from front to back.
const READ_AHEAD: usize = 16;

/// What a place of the log holds.
pub(super) enum Found {
    /// Nothing was written there.
    Nothing,
    Whole(What, Box<[u8; BLOCK]>),
    /// The entry is sound, and the content is not what it was written for.
    Broken(What),
    /// The entry is damaged, or of another use of the group.
    Unknown,
}

impl Found {
    /// What follows for the local map, if it is all durable: words of ranges.
    pub(super) fn words(&self, slot: Slot) -> Vec<(Range, u32)> {
        let one = |block: &BlockNumber| Range {
            first: *block,
            count: 1,
        };
        match self {
            Self::Whole(What::Written(block) | What::Copy(block), _) => {
                vec![(one(block), slot.word())]
            }
            Self::Broken(What::Written(block)) => vec![(one(block), LOST)],
            Self::Whole(What::Record, content) => match Record::decode(content) {
                Some(Record::Zero(ranges)) => {
                    ranges.into_iter().map(|range| (range, ZERO)).collect()
                }
                Some(Record::Size(_)) | None => Vec::new(),
            },
            Self::Broken(What::Copy(_) | What::Record) | Self::Nothing | Self::Unknown => {
                Vec::new()
            }
        }
    }
}

/// Where some blocks that follow each other are.
enum Piece {
    /// In the log, from this slot on.
    Local {
        slot: Slot,
        by: GroupUse,
    },
    /// In the store, from this slot of the pack on.
    Stored {
        pack: Arc<PackRef>,
        slot: u32,
    },
    Below,
    Zero,
    Lost,
}

impl Disk {
    /// Reads bytes.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.range(offset, buffer.len())?;
        if buffer.is_empty() {
            return Ok(());
        }
        let first = (offset / BLOCK as u64) as BlockNumber;
        let head = (offset % BLOCK as u64) as usize;
        if head == 0 && buffer.len().is_multiple_of(BLOCK) {
            return self.read_blocks(first, buffer);
        }
        let mut whole = vec![0; (head + buffer.len()).next_multiple_of(BLOCK)];
        self.read_blocks(first, &mut whole)?;
        buffer.copy_from_slice(&whole[head..head + buffer.len()]);
        Ok(())
    }

    /// Reads whole blocks.
    pub(super) fn read_blocks(&self, first: BlockNumber, buffer: &mut [u8]) -> Result<()> {
        let end = first + (buffer.len() / BLOCK) as u32;
        let mut block = first;
        while block < end {
            let (piece, count) = match self.piece(block, end - block) {
                Err(StorageError::Damaged { .. }) => {
                    self.mend_page(block as usize / PAGE_WORDS)?;
                    self.piece(block, end - block)?
                }
                other => other?,
            };
            let at = (block - first) as usize * BLOCK;
            let some = &mut buffer[at..at + count as usize * BLOCK];
            let done = match piece {
                Piece::Local { slot, by } => self.read_local(block, slot, &by, some)?,
                Piece::Stored { pack, slot } => self.read_stored(block, &pack, slot, some)?,
                Piece::Below => {
                    match &self.base {
                        Some(base) => base.read(block, some)?,
                        None => some.fill(0),
                    }
                    count
                }
                Piece::Zero => {
                    some.fill(0);
                    count
                }
                Piece::Lost => {
                    return Err(StorageError::damaged(
                        format!("block {block} of the disk {}", self.name()),
                        "its only copy is not what was written",
                    ));
                }
            };
            block += done;
        }
        Ok(())
    }

    /// Where `first` is, and how many of the next `most` blocks lie there in a row.
    fn piece(&self, first: BlockNumber, most: u32) -> Result<(Piece, u32)> {
        let state = self.state();
        let blocks = first..first + most;
        let run = |fits: &mut dyn FnMut(&State, u32, u32) -> Result<bool>| -> Result<u32> {
            for block in blocks.clone().skip(1) {
                if !fits(&state, block, block - first)? {
                    return Ok(block - first);
                }
            }
            Ok(most)
        };
        let word = state.local(first)?;
        let same = |state: &State, block, _| Ok(state.local(block)? == word);
        match word {
            ZERO => return Ok((Piece::Zero, run(&mut { same })?)),
            LOST => return Ok((Piece::Lost, run(&mut { same })?)),
            NONE => {}
            _ => {
                let slot = Slot::of(word).expect("all other words are looked at above");
                let most = GROUP_BLOCKS - slot.at;
                let count = run(&mut |state, block, number| {
                    Ok(number < most && state.local(block)? == word + number)
                })?;
                let by = state
                    .groups
                    .get(slot.group as usize)
                    .and_then(|group| group.by);
                let by = by.ok_or_else(|| {
                    StorageError::damaged("the map of a disk", "it points to an unused group")
                })?;
                return Ok((Piece::Local { slot, by }, count));
            }
        }
        let place = state.index.place(first)?;
        let count = run(&mut |state, block, number| {
            let next = state.index.place(block)?;
            let follows = match (place, next) {
                (Place::Stored { pack, slot }, next) => {
                    next == Place::Stored {
                        pack,
                        slot: slot + number,
                    }
                }
                (same, next) => same == next,
            };
            Ok(follows && state.local(block)? == NONE)
        })?;
        let piece = match place {
            Place::Zero => Piece::Zero,
            Place::Below => Piece::Below,
            Place::Stored { pack, slot } => Piece::Stored {
                pack: state.index.pack(pack)?.clone(),
                slot,
            },
        };
        Ok((piece, count))
    }

    /// Reads blocks from the log. Says how many could be read: fewer when the next one has another place by
    /// now.
    fn read_local(
        &self,
        first: BlockNumber,
        slot: Slot,
        by: &GroupUse,
        buffer: &mut [u8],
    ) -> Result<u32> {
        let log = || "the log of the disk".to_owned();
        let count = buffer.len() / BLOCK;
        let mut entries = vec![0; count * ENTRY];
        let head = u64::from(slot.group) * GROUP_BYTES;
        self.log.read_at(buffer, slot.offset()).during(log)?;
        self.log
            .read_at(&mut entries, head + entry_at(slot.at))
            .during(log)?;
        let pairs = entries
            .as_chunks::<ENTRY>()
            .0
            .iter()
            .zip(buffer.chunks(BLOCK));
        for (number, (entry, content)) in pairs.enumerate() {
            let number = number as u32;
            let block = first + number;
            let at = slot.at + number;
            let sound = match by.read_entry(at, entry) {
                Told::Sound(What::Written(of) | What::Copy(of)) => {
                    of == block && by.holds(at, entry, content)
                }
                Told::Mended(What::Written(of) | What::Copy(of), entry) => {
                    of == block && by.holds(at, &entry, content)
                }
                _ => false,
            };
            if !sound {
                if number == 0 {
                    self.give_up(block, slot, by)?;
                }
                return Ok(number);
            }
        }
        Ok(count as u32)
    }

    /// A local copy is not what was written. Either its place was used again since it was looked up, or it
    /// is damaged: then the store's copy is taken, where there is one.
    pub(super) fn give_up(&self, block: BlockNumber, slot: Slot, by: &GroupUse) -> Result<()> {
        let mut state = self.state_mut();
        let now = state.groups[slot.group as usize].by;
        if state.local(block)? != slot.word() || now != Some(*by) {
            return Ok(());
        }
        let stored =
            by.generation < state.committed && !matches!(state.index.place(block)?, Place::Below);
        tracing::error!(
            block,
            group = slot.group,
            stored,
            "a block of the local log is damaged"
        );
        if stored {
            return state.set_local(block, NONE);
        }
        state.set_local(block, LOST)?;
        state.lost.insert(block, by.generation);
        Ok(())
    }

    /// Reads blocks that only the store has; they are kept in the log. Says how many could be read.
    fn read_stored(
        &self,
        first: BlockNumber,
        pack: &Arc<PackRef>,
        slot: u32,
        buffer: &mut [u8],
    ) -> Result<u32> {
        let per_frame = u32::from(pack.frame_blocks);
        let frame = (slot / per_frame) as usize;
        let count = (buffer.len() / BLOCK) as u32;
        let needed = ((slot + count - 1) / per_frame) as usize + 1;
        let frames = frame
            ..needed
                .max(self.read_ahead(pack, frame))
                .min(pack.frames.len());
        let raw = self
            .world
            .store
            .frames(&self.world.keys, pack, frames.clone())?;
        let from = frames.start as u32 * per_frame;
        let at = (slot - from) as usize * BLOCK;
        buffer.copy_from_slice(&raw[at..at + buffer.len()]);
        self.keep(first, pack, slot, from, &raw)?;
        Ok(count)
    }

    /// The frame up to which it pays to fetch: when the last fetch ended just before this one.
    fn read_ahead(&self, pack: &Arc<PackRef>, frame: usize) -> usize {
        let mut last = self.last_fetch();
        let follows = last.pack == pack.id && last.end == frame
            || frame == 0 && last.at_end && last.pack != pack.id;
        let window = if follows {
            (last.window * 2).min(READ_AHEAD)
        } else {
            1
        };
        let end = (frame + window).min(pack.frames.len());
        *last = super::LastFetch {
            pack: pack.id,
            end,
            window,
            at_end: end == pack.frames.len(),
        };
        end
    }

    /// Keeps fetched blocks in the log, unless they have been written meanwhile: those around `block`, which
    /// is in `slot`, that are in the slots from `from` on.
    fn keep(
        &self,
        block: BlockNumber,
        pack: &PackRef,
        slot: u32,
        from: u32,
        raw: &[u8],
    ) -> Result<()> {
        let count = (raw.len() / BLOCK) as u32;
        // Neighbours in a pack are neighbours on the disk, more or less: packs are written in order.
        let reach = count * 2;
        let mut writer = self.writer();
        let mut found: Vec<(BlockNumber, u32)> = Vec::new();
        {
            let state = self.state();
            let Some(number) = state.index.packs.number_of(&pack.id) else {
                return Ok(());
            };
            let around = block.saturating_sub(slot - from + reach)
                ..block.saturating_add(reach).min(state.local.blocks());
            for other in around {
                if let Ok(Place::Stored { pack, slot }) = state.index.place(other)
                    && pack == number
                    && (from..from + count).contains(&slot)
                    && state.local(other).is_ok_and(|word| word == NONE)
                {
                    found.push((other, slot - from));
                }
            }
        }
        let mut rest = &found[..];
        while let Some((first, at)) = rest.first() {
            let run = rest
                .iter()
                .zip(0..)
                .take_while(|((other, slot), number)| {
                    (*other, *slot) == (first + number, at + number)
                })
                .count();
            let data = &raw[*at as usize * BLOCK..][..run * BLOCK];
            match self.append_blocks(&mut writer, *first, data, What::Copy) {
                // What was asked for has been read; that it is not kept costs another fetch.
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "fetched blocks are not kept");
                    return Ok(());
                }
                other => other?,
            }
            rest = &rest[run..];
        }
        Ok(())
    }

    /// The head of a group as it is.
    pub(super) fn read_head_block(&self, group: u32) -> Result<Box<[u8; BLOCK]>> {
        let mut head = Box::new([0; BLOCK]);
        self.log
            .read_at(&mut head[..], u64::from(group) * GROUP_BYTES)
            .during(|| "the log of the disk".to_owned())?;
        Ok(head)
    }

    /// What was written to a place of the log, with its content.
    pub(super) fn read_entry(
        &self,
        by: &GroupUse,
        slot: Slot,
        head: &[u8; BLOCK],
    ) -> Result<Found> {
        let entry = entry_of(head, slot.at);
        let (what, entry) = match by.read_entry(slot.at, entry) {
            Told::Sound(what) => (what, *entry),
            Told::Mended(what, entry) => (what, entry),
            Told::Nothing => return Ok(Found::Nothing),
            Told::Damaged => return Ok(Found::Unknown),
        };
        let mut content = Box::new([0; BLOCK]);
        self.log
            .read_at(&mut content[..], slot.offset())
            .during(|| "the log of the disk".to_owned())?;
        if by.holds(slot.at, &entry, &content[..]) {
            Ok(Found::Whole(what, content))
        } else {
            Ok(Found::Broken(what))
        }
    }

    /// Makes a damaged page of the maps anew: what is not in the store yet is in the log, the rest is in the
    /// store.
    pub(super) fn mend_page(&self, page: usize) -> Result<()> {
        tracing::error!(page, "a page of the disk's map is damaged and made anew");
        self.mend_index(page)?;
        let _writer = self.writer();
        let mut state = self.state_mut();
        if state.local((page * PAGE_WORDS) as u32).is_ok() {
            return Ok(());
        }
        state.local.clear_page(page);
        let blocks = (page * PAGE_WORDS) as u32..((page + 1) * PAGE_WORDS) as u32;
        let lost: Vec<BlockNumber> = state
            .lost
            .range(blocks.clone())
            .map(|(block, _)| *block)
            .collect();
        for block in lost {
            state.local.set(block, LOST)?;
        }
        for (by, group) in state.uncommitted() {
            let head = self.read_head_block(group)?;
            for at in FIRST..GROUP_BLOCKS {
                let slot = Slot { group, at };
                let found = self.read_entry(&by, slot, &head)?;
                for (range, word) in found.words(slot) {
                    for block in range.blocks().filter(|block| blocks.contains(block)) {
                        state.local.set(block, word)?;
                        if word == LOST {
                            state.lost.insert(block, by.generation);
                        } else {
                            state.lost.remove(&block);
                        }
                    }
                }
            }
        }
        state.count_live();
        Ok(())
    }

    /// Reads the index from the store again if the page of it is damaged.
    fn mend_index(&self, page: usize) -> Result<()> {
        let damaged = {
            let state = self.state();
            state.index.map.get((page * PAGE_WORDS) as u32).is_err()
        };
        if !damaged {
            return Ok(());
        }
        let _background = self.background();
        let manifest = self.manifest();
        let mut index = self.world.store.whole_index(&self.world.keys, &manifest)?;
        let mut state = self.state_mut();
        index.map.grow(state.local.blocks());
        state.index = index;
        Ok(())
    }
}
