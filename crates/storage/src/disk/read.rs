//! Reading: from wherever the newest copy of a block is, never without checking it.

use std::sync::Arc;

use super::format::{
    ENTRY, GROUP_BLOCKS, GROUP_BYTES, GroupUse, LOST, NONE, Position, Told, What, ZERO, entry_at,
};
use super::group::{Item, Look, log};
use super::{Disk, Slot, State, Writer};
use crate::block::{BLOCK, BlockNumber};
use crate::error::{During, Result, StorageError};
use crate::index::Place;
use crate::manifest::Manifest;
use crate::map::PAGE_WORDS;
use crate::pack::PackRef;

/// Frames that are fetched at once when a disk is read from front to back.
const READ_AHEAD: usize = 16;

/// What was read, and what came along.
struct Read {
    blocks: u32,
    kept: Option<Fetched>,
}

/// Frames of a pack.
struct Fetched {
    pack: Arc<PackRef>,
    /// The one that was asked for.
    slot: u32,
    /// The first one that came.
    from: u32,
    raw: Vec<u8>,
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
        self.with_index(|| self.read_bytes(offset, buffer))
    }

    /// Does something that looks into the store. Packs that this host's index names may be gone since it was
    /// written, because a version that it does not know of does without them: then that one is taken over.
    pub(super) fn with_index(&self, mut act: impl FnMut() -> Result<()>) -> Result<()> {
        match act() {
            Err(StorageError::Missing(_)) => {
                {
                    let _background = self.background();
                    self.catch_up()?;
                }
                act()
            }
            outcome => outcome,
        }
    }

    fn read_bytes(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
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

    /// Reads whole blocks, and keeps what had to be fetched.
    fn read_blocks(&self, first: BlockNumber, buffer: &mut [u8]) -> Result<()> {
        self.sound_pages(first, (buffer.len() / BLOCK) as u32)?;
        self.read_each(first, buffer, |block, fetched| self.keep(block, fetched))
    }

    /// Reads whole blocks for a writer, who holds its lock: what is fetched is not kept, as it is about to be
    /// written.
    pub(super) fn read_for_write(
        &self,
        _writer: &Writer,
        first: BlockNumber,
        buffer: &mut [u8],
    ) -> Result<()> {
        self.read_each(first, buffer, |_, _| Ok(()))
    }

    fn read_each(
        &self,
        first: BlockNumber,
        buffer: &mut [u8],
        keep: impl Fn(BlockNumber, &Fetched) -> Result<()>,
    ) -> Result<()> {
        let end = first + (buffer.len() / BLOCK) as u32;
        let mut block = first;
        while block < end {
            let read = self.read_some(block, &mut buffer[(block - first) as usize * BLOCK..])?;
            if let Some(fetched) = &read.kept {
                keep(block, fetched)?;
            }
            block += read.blocks;
        }
        Ok(())
    }

    /// Reads blocks that lie in one place: as many of those that fit as follow each other there.
    fn read_some(&self, block: BlockNumber, buffer: &mut [u8]) -> Result<Read> {
        let (piece, count) = self.piece(block, (buffer.len() / BLOCK) as u32)?;
        let some = &mut buffer[..count as usize * BLOCK];
        let blocks = match piece {
            Piece::Local { slot, by } => self.read_local(block, slot, &by, some)?,
            Piece::Stored { pack, slot } => return self.read_stored(pack, slot, some),
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
        Ok(Read { blocks, kept: None })
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

    /// Reads blocks that only the store has.
    fn read_stored(&self, pack: Arc<PackRef>, slot: u32, buffer: &mut [u8]) -> Result<Read> {
        let per_frame = u32::from(pack.frame_blocks);
        let first = (slot / per_frame) as usize;
        let blocks = (buffer.len() / BLOCK) as u32;
        let needed = ((slot + blocks - 1) / per_frame) as usize + 1;
        let end = needed
            .max(self.read_ahead(&pack, first))
            .min(pack.frames.len());
        let world = &self.world;
        let fetch = |end| world.store.frames(&world.keys, &pack, first..end);
        let raw = match fetch(end) {
            // What is damaged may be what nobody has asked for.
            Err(StorageError::Damaged { .. }) if end > needed => fetch(needed)?,
            other => other?,
        };
        let from = first as u32 * per_frame;
        let at = (slot - from) as usize * BLOCK;
        buffer.copy_from_slice(&raw[at..at + buffer.len()]);
        let kept = Some(Fetched {
            pack,
            slot,
            from,
            raw,
        });
        Ok(Read { blocks, kept })
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

    /// Keeps fetched blocks in the log, unless they have been written meanwhile: those around `block`, for
    /// which they were fetched.
    fn keep(&self, block: BlockNumber, fetched: &Fetched) -> Result<()> {
        let Fetched {
            pack,
            slot,
            from,
            raw,
        } = fetched;
        let (slot, from) = (*slot, *from);
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
                    (*other, *slot) == (*first + number, *at + number)
                })
                .count();
            let data = &raw[*at as usize * BLOCK..][..run * BLOCK];
            let first = *first;
            let copy = |number| What::Copy(first + number);
            match self.append(&mut writer, &copy, data) {
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

    /// Makes every damaged page of the maps anew. Not to be called with a lock held.
    pub(super) fn mend_maps(&self) -> Result<()> {
        let damaged = {
            let state = self.state();
            let mut pages = state.local.damaged_pages();
            pages.extend(state.index.map.damaged_pages());
            pages
        };
        damaged
            .into_iter()
            .try_for_each(|page| self.mend_page(page))
    }

    /// Makes a damaged page of the maps anew: what is not in the store yet is in the log, the rest is in the
    /// store.
    ///
    /// Not to be called with a lock held.
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
        for used in state.uncommitted() {
            let view = self.view(used)?;
            for (at, item) in self.items(&view, Position::END, Look::Content)? {
                if !matches!(item, Item::Size(_)) {
                    state.apply(&view, at, item, |block| blocks.contains(&block))?;
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
        self.remake_index(&self.manifest())
    }

    /// Reads the index of a version from the store, in the place of one that is damaged. To be called with the background's
    /// lock held.
    pub(super) fn remake_index(&self, manifest: &Manifest) -> Result<()> {
        tracing::error!(version = %manifest.version, "a part of the disk's index is damaged; it is read from the store");
        let mut index = self.world.store.whole_index(&self.world.keys, manifest)?;
        let mut state = self.state_mut();
        index.map.grow(state.local.blocks());
        state.index = index;
        Ok(())
    }
}
