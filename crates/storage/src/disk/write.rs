//! Writing: everything goes to the end of the log.

use std::sync::MutexGuard;

use super::format::{
    FIRST, GROUP_BLOCKS, GROUP_BYTES, GroupUse, MAX_RANGES, NONE, Position, Range, Record, What,
    ZERO, entry_at,
};
use super::group::{Item, Look, log};
use super::{Disk, Group, Open, Session, Slot, Writer};
use crate::block::{BLOCK, BlockNumber, MAX_BLOCKS};
use crate::error::{During, Result, StorageError};
use crate::map::PAGE_WORDS;
use crate::planted::{self, Bug};

/// Groups that the file gets room for at once.
const ALLOCATE: u32 = 32;

impl Disk {
    /// Writes bytes. Others see them when it returns; a power cut may take them until the next
    /// [`Disk::flush`], the end of this process does not.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.check_fence()?;
        self.with_index(|| self.write_bytes(offset, data))
    }

    fn write_bytes(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.range(offset, data.len())?;
        if data.is_empty() {
            return Ok(());
        }
        let first = (offset / BLOCK as u64) as BlockNumber;
        let head = (offset % BLOCK as u64) as usize;
        let end = head + data.len();
        self.sound_pages(first, end.div_ceil(BLOCK) as u32)?;
        if head == 0 && data.len().is_multiple_of(BLOCK) {
            return self.write_beside(first, data);
        }
        let mut writer = self.writer();
        let written = |number| What::Written(first + number);
        // What a block has beside the bytes stays as it is.
        let mut whole = vec![0; end.next_multiple_of(BLOCK)];
        let last = whole.len() - BLOCK;
        if head > 0 {
            self.read_for_write(&writer, first, &mut whole[..BLOCK])?;
        }
        if !end.is_multiple_of(BLOCK) && (last > 0 || head == 0) {
            let block = first + (last / BLOCK) as u32;
            self.read_for_write(&writer, block, &mut whole[last..])?;
        }
        whole[head..end].copy_from_slice(data);
        self.append(&mut writer, &written, &whole)
    }

    /// Makes bytes zero and gives their room back; what is less than a block at either end is written.
    pub fn zero(&self, offset: u64, length: u64) -> Result<()> {
        self.check_fence()?;
        let size = self.size();
        let end = offset.saturating_add(length).min(size);
        if offset >= end {
            return Ok(());
        }
        let block = BLOCK as u64;
        let (first, last) = (offset.div_ceil(block), end / block);
        if first >= last {
            return self.write(offset, &vec![0; (end - offset) as usize]);
        }
        if offset < first * block {
            self.write(offset, &vec![0; (first * block - offset) as usize])?;
        }
        if last * block < end {
            self.write(last * block, &vec![0; (end - last * block) as usize])?;
        }
        self.sound_pages(first as u32, (last - first) as u32)?;
        let mut writer = self.writer();
        let ranges = self.not_yet_zero(first as u32..last as u32)?;
        for some in ranges.chunks(MAX_RANGES) {
            self.append_record(&mut writer, &Record::Zero(some.to_vec()))?;
            let mut state = self.state_mut();
            for block in some.iter().flat_map(|range| range.blocks()) {
                state.set_local(block, ZERO)?;
            }
        }
        Ok(())
    }

    /// The blocks of a range that do not read as zeros for want of any content.
    fn not_yet_zero(&self, blocks: std::ops::Range<u32>) -> Result<Vec<Range>> {
        let below = self.base.as_ref().map_or(0, |base| base.blocks());
        let state = self.state();
        let mut ranges: Vec<Range> = Vec::new();
        for block in blocks {
            let is_zero = match state.local(block)? {
                ZERO => true,
                NONE => match state.index.map.get(block)? {
                    0 => block >= below,
                    word => word == crate::index::ZERO,
                },
                _ => false,
            };
            if is_zero {
                continue;
            }
            add(&mut ranges, block);
        }
        Ok(ranges)
    }

    /// Makes the disk larger, durably. A smaller size changes nothing.
    pub fn grow(&self, blocks: u32) -> Result<()> {
        self.check_fence()?;
        if blocks > MAX_BLOCKS {
            return Err(StorageError::Invalid(format!(
                "no disk has {blocks} blocks"
            )));
        }
        let mut writer = self.writer();
        if blocks > self.state().local.blocks() {
            self.append_record(&mut writer, &Record::Size(blocks))?;
            let mut state = self.state_mut();
            state.local.grow(blocks);
            state.index.map.grow(blocks);
        }
        drop(writer);
        self.flush()
    }

    /// Returns when everything that was written before is durable on this host.
    pub fn flush(&self) -> Result<()> {
        let position = self.settle()?;
        let now = self.world.clock.now_ms();
        self.writer().promised_to(position, now);
        Ok(())
    }

    /// The same when nobody is told: what is durable then has no hurry to get to the store.
    pub(super) fn settle(&self) -> Result<Position> {
        self.check_fence()?;
        let position = self.sync_log(&self.flushing())?;
        if self.writer().broken {
            self.checkpoint()?;
        }
        Ok(position)
    }

    /// Makes what was written to the log durable: again, if a sync failed before. Says up to where.
    pub(super) fn sync_log(&self, _one: &MutexGuard<'_, ()>) -> Result<Position> {
        let position = {
            let mut writer = self.writer();
            if writer.suspect && !planted::is(Bug::BelieveNextSync) {
                self.write_again(&mut writer)?;
            }
            self.mark(&mut writer)?;
            writer.position()
        };
        let synced = if planted::is(Bug::AckWithoutSync) {
            Ok(())
        } else {
            self.log.sync()
        };
        let mut writer = self.writer();
        match synced {
            Ok(()) => {
                writer.durable = writer.durable.max(position);
                writer.suspect = false;
                Ok(position)
            }
            Err(error) => {
                writer.suspect = true;
                // A head that was lost breaks the chain of groups: what follows is found from a checkpoint
                // alone.
                writer.broken = !planted::is(Bug::BelieveNextSync);
                Err(error).during(log)
            }
        }
    }

    /// Tells the open group's head how much is durable, so that damage is told from what never arrived.
    fn mark(&self, writer: &mut Writer) -> Result<()> {
        self.clear_voids(writer)?;
        let Some(open) = writer.open else {
            return Ok(());
        };
        if writer.marked < writer.durable {
            let head = u64::from(open.group) * GROUP_BYTES;
            self.log
                .write_at(&open.by.mark(writer.durable), head + 16)
                .during(log)?;
            writer.marked = writer.durable;
        }
        Ok(())
    }

    /// Writes everything that is not durable a second time: a failed sync says that it may be lost, and a
    /// later one would not say so again.
    fn write_again(&self, writer: &mut Writer) -> Result<()> {
        self.close_group(writer)?;
        let (durable, end) = (writer.durable, writer.position());
        let mut groups = self.state().uncommitted();
        let lost = durable.generation..end.generation;
        groups.retain(|used| lost.contains(&used.by.generation));
        for used in &groups {
            let view = self.view(*used)?;
            let group = used.group;
            let is_first = used.by.generation == durable.generation;
            for (at, item) in self.items(&view, Position::END, Look::Entries)? {
                if is_first && at < durable.next {
                    continue;
                }
                let (block, what) = match item {
                    Item::Written(block) => (block, What::Written(block)),
                    Item::Copy(block) => (block, What::Copy(block)),
                    Item::Zero(ranges) => {
                        self.zero_again(writer, &ranges)?;
                        continue;
                    }
                    Item::Size(_) => {
                        let blocks = self.state().local.blocks();
                        self.append_record(writer, &Record::Size(blocks))?;
                        continue;
                    }
                    Item::Broken(_) => continue,
                };
                if self.state().local(block)? == (Slot { group, at }).word()
                    && let Some(content) = self.content(&view, at)?
                {
                    self.append(writer, &|_| what, &content[..])?;
                }
            }
        }
        let after = self.close_group(writer)?;
        let first = writer
            .void_cuts
            .as_ref()
            .map_or(durable.generation + 1, |void| {
                (*void.start()).min(durable.generation + 1)
            });
        writer.void_cuts = Some(first..=after.saturating_sub(1));
        let mut state = self.state_mut();
        for used in groups {
            let is_first = used.by.generation == durable.generation;
            let limit = if is_first { durable.next } else { FIRST };
            state.groups[used.group as usize].limit = limit.min(used.limit);
        }
        Ok(())
    }

    /// Blocks that became zero, but for those that were written since.
    fn zero_again(&self, writer: &mut Writer, ranges: &[Range]) -> Result<()> {
        let mut still = Vec::new();
        {
            let state = self.state();
            for block in ranges.iter().flat_map(|range| range.blocks()) {
                if state.local(block)? == ZERO {
                    add(&mut still, block);
                }
            }
        }
        for some in still.chunks(MAX_RANGES) {
            self.append_record(writer, &Record::Zero(some.to_vec()))?;
        }
        Ok(())
    }

    /// Closes the open group and tells the generation that the next one will have: everything that was
    /// written before is in groups of lower ones.
    pub fn cut(&self) -> Result<u64> {
        if self.writer().suspect {
            self.settle()?;
        }
        let mut writer = self.writer();
        self.close_group(&mut writer)
    }

    pub(super) fn close_group(&self, writer: &mut Writer) -> Result<u64> {
        self.clear_voids(writer)?;
        if let Some(open) = writer.open.filter(|open| open.ghosts > open.next) {
            let ghosts = entry_at(open.ghosts - open.next) as usize;
            self.write_entries(writer, open, open.next, &vec![0; ghosts])?;
        }
        if writer.open.is_some_and(|open| open.next > FIRST) {
            writer.open = None;
        }
        let empty = writer.open.map(|open| open.by.generation);
        Ok(empty.unwrap_or(writer.next_generation))
    }

    /// Appends a record, twice in one group: it has no other copy.
    fn append_record(&self, writer: &mut Writer, record: &Record) -> Result<()> {
        if writer.open.is_some_and(|open| open.next + 2 > GROUP_BLOCKS) {
            self.close_group(writer)?;
        }
        let what = |number| What::Record {
            second: number == 1,
        };
        self.append(writer, &what, &record.encode().repeat(2))
    }

    /// Appends whole blocks; the pages of the map that they are in are sound.
    pub(super) fn append(
        &self,
        writer: &mut Writer,
        what: &dyn Fn(u32) -> What,
        data: &[u8],
    ) -> Result<()> {
        let mut done = 0;
        while done * BLOCK < data.len() {
            let open = self.open_group(writer)?;
            let count = (data.len() / BLOCK - done).min((GROUP_BLOCKS - open.next) as usize);
            let some = &data[done * BLOCK..][..count * BLOCK];
            let slot = |number: usize| Slot {
                group: open.group,
                at: open.next + number as u32,
            };
            let whats = (done..done + count).map(|number| what(number as u32));
            let mut entries = Vec::with_capacity(count * 16);
            for (number, (what, block)) in whats.clone().zip(some.chunks(BLOCK)).enumerate() {
                entries.extend_from_slice(&open.by.entry(slot(number).at, what, block));
            }
            // The content first: an entry never stands for what is not there.
            self.log.write_at(some, slot(0).offset()).during(log)?;
            let end = open.next + count as u32;
            entries.resize(entry_at(open.ghosts.max(end) - open.next) as usize, 0);
            self.write_entries(writer, open, end, &entries)?;
            let mut state = self.state_mut();
            for (number, what) in whats.enumerate() {
                if let What::Written(block) | What::Copy(block) = what {
                    state.set_local(block, slot(number).word())?;
                }
            }
            drop(state);
            done += count;
        }
        Ok(())
    }

    /// Writes entries from the open group's next place on, which is `end` then.
    fn write_entries(
        &self,
        writer: &mut Writer,
        open: Open,
        end: u32,
        entries: &[u8],
    ) -> Result<()> {
        let at = u64::from(open.group) * GROUP_BYTES + entry_at(open.next);
        let written = self.log.write_at(entries, at);
        writer.open = Some(match &written {
            Ok(()) => Open {
                next: end,
                ghosts: end,
                ..open
            },
            Err(_) => Open {
                ghosts: open.ghosts.max(end),
                ..open
            },
        });
        written.during(log)
    }

    /// The open group, with room for a block at least.
    pub(super) fn open_group(&self, writer: &mut Writer) -> Result<Open> {
        if let Some(open) = writer.open.filter(|open| open.next < GROUP_BLOCKS) {
            return Ok(open);
        }
        let session = self.my_session(writer)?;
        let group = match writer.free.front() {
            Some(group) if writer.holes.contains(group) => {
                let start = u64::from(*group) * GROUP_BYTES;
                self.log.allocate(start, GROUP_BYTES).during(log)?;
                *group
            }
            Some(group) => *group,
            None => {
                if writer.end == writer.allocated {
                    let start = u64::from(writer.end) * GROUP_BYTES;
                    self.log
                        .allocate(start, u64::from(ALLOCATE) * GROUP_BYTES)
                        .during(log)?;
                    writer.allocated += ALLOCATE;
                }
                writer.end
            }
        };
        let by = GroupUse::new(&self.log_id, group, writer.next_generation, session);
        let mut head = [0; BLOCK];
        head[..28].copy_from_slice(&by.head(writer.durable));
        self.log
            .write_at(&head, u64::from(group) * GROUP_BYTES)
            .during(log)?;
        writer.holes.remove(&group);
        let mut state = self.state_mut();
        if writer.free.pop_front().is_none() {
            writer.end += 1;
            state.groups.resize(writer.end as usize, Group::new(None));
        }
        state.groups[group as usize] = Group::new(Some(by));
        let open = Open {
            group,
            by,
            next: FIRST,
            ghosts: FIRST,
        };
        writer.open = Some(open);
        writer.marked = writer.durable;
        writer.next_generation += 1;
        Ok(open)
    }

    /// The number of this process among those that had the disk. Taken before the first write, durably.
    fn my_session(&self, writer: &mut Writer) -> Result<u32> {
        match writer.session {
            Session::Mine(session) => Ok(session),
            Session::Before(before) => {
                self.write_session(before + 1)?;
                writer.session = Session::Mine(before + 1);
                Ok(before + 1)
            }
        }
    }

    /// Makes sure that the pages of the maps for these blocks are what was written: of the index only those for
    /// blocks that are not here, so that it takes no memory for the others. Not to be called with a lock held.
    pub(super) fn sound_pages(&self, first: BlockNumber, count: u32) -> Result<()> {
        let end = first.saturating_add(count.max(1)) - 1;
        for page in first as usize / PAGE_WORDS..=end as usize / PAGE_WORDS {
            let start = (page * PAGE_WORDS) as u32;
            let within = start.max(first)..=(start + PAGE_WORDS as u32 - 1).min(end);
            let sound = {
                let state = self.state();
                within.into_iter().try_for_each(|block| {
                    if state.local(block)? == NONE {
                        state.index.map.get(block)?;
                    }
                    Ok(())
                })
            };
            if let Err(StorageError::Damaged { .. }) = sound {
                self.mend_page(page)?;
            }
        }
        Ok(())
    }
}

/// Adds the next block to ranges that are in order.
fn add(ranges: &mut Vec<Range>, block: BlockNumber) {
    match ranges.last_mut() {
        Some(last) if last.first + last.count == block => last.count += 1,
        _ => ranges.push(Range {
            first: block,
            count: 1,
        }),
    }
}

impl Writer {
    /// Whoever uses the disk is told now that everything before `position` is durable.
    fn promised_to(&mut self, position: Position, now_ms: u64) {
        if position <= self.promised {
            return;
        }
        let last = if position.next > FIRST {
            position.generation
        } else {
            position.generation - 1
        };
        for generation in self.promised.generation..=last {
            self.flushed.entry(generation).or_insert(now_ms);
        }
        self.promised = position;
    }
}
