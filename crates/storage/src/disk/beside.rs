//! Writes beside each other. Large ones go past the page cache, and the host's disk does several at once: each gets its
//! places in the log first, writes its content there, and then takes its turn, so that entries and map change in the
//! order of the places, and the log tells the same story as the map. A small one is done at once when none of them is on
//! its way, and else goes between them in the same manner.

use std::sync::PoisonError;

use super::format::{ENTRY, GROUP_BLOCKS, GROUP_BYTES, GroupUse, What, entry_at};
use super::group::log;
use super::{Disk, Open, Slot, Writer};
use crate::block::{BLOCK, BlockNumber};
use crate::error::{During, Result};

/// Places in the log that nobody else gets.
struct Places {
    turn: u64,
    slot: Slot,
    by: GroupUse,
    count: usize,
}

/// Entries that a failed attempt may have left: nobody may take them for real.
#[derive(Clone, Copy)]
pub(super) struct Void {
    slot: Slot,
    count: usize,
}

impl Disk {
    /// Writes whole blocks beside others who do.
    pub(super) fn write_beside(&self, first: BlockNumber, data: &[u8]) -> Result<()> {
        let beside = self.beside.read().unwrap_or_else(PoisonError::into_inner);
        let mut rest = data;
        let written = |rest: &[u8]| ((data.len() - rest.len()) / BLOCK) as u32;
        while !rest.is_empty() {
            let mut writer = self.any_writer();
            if rest.len() < self.world.large && writer.turn == writer.taken {
                let what = |number| What::Written(first + written(rest) + number);
                return self.append(&mut writer, &what, rest);
            }
            let places = self.take_places(&mut writer, rest.len() / BLOCK)?;
            drop(writer);
            let Some(places) = places else {
                drop(beside);
                let what = |number| What::Written(first + written(rest) + number);
                return self.append(&mut self.writer(), &what, rest);
            };
            let (some, after) = rest.split_at(places.count * BLOCK);
            self.write_places(&places, first + written(rest), some)?;
            rest = after;
        }
        Ok(())
    }

    /// `None`: after a failure, which has to be cleared away first.
    fn take_places(&self, writer: &mut Writer, most: usize) -> Result<Option<Places>> {
        let open = self.open_group(writer)?;
        if open.ghosts > open.next || !writer.voids.is_empty() {
            return Ok(None);
        }
        let count = most.min((GROUP_BLOCKS - open.next) as usize);
        let next = open.next + count as u32;
        writer.open = Some(Open {
            next,
            ghosts: next,
            ..open
        });
        writer.taken += 1;
        Ok(Some(Places {
            turn: writer.taken - 1,
            slot: Slot {
                group: open.group,
                at: open.next,
            },
            by: open.by,
            count,
        }))
    }

    fn write_places(&self, places: &Places, first: BlockNumber, data: &[u8]) -> Result<()> {
        let slot = places.slot;
        let mut entries = Vec::with_capacity(places.count * ENTRY);
        for (number, block) in (0..).zip(data.chunks(BLOCK)) {
            let what = What::Written(first + number);
            entries.extend_from_slice(&places.by.entry(slot.at + number, what, block));
        }
        let content = self.log.write_at(data, slot.offset());
        let mut writer = self.any_writer();
        while writer.turn != places.turn {
            let waited = self.turns.wait(writer);
            writer = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let written = content.and_then(|()| {
            let at = u64::from(slot.group) * GROUP_BYTES + entry_at(slot.at);
            self.log.write_at(&entries, at)
        });
        let shown = match written.during(log) {
            Ok(()) => {
                let mut state = self.state_mut();
                let words = (first..).zip(slot.word()..).take(places.count);
                words
                    .into_iter()
                    .try_for_each(|(block, word)| state.set_local(block, word))
            }
            Err(error) => {
                writer.voids.push(Void {
                    slot,
                    count: places.count,
                });
                Err(error)
            }
        };
        writer.turn += 1;
        self.turns.notify_all();
        shown
    }

    /// Strikes out what failed attempts may have left.
    pub(super) fn clear_voids(&self, writer: &mut Writer) -> Result<()> {
        while let Some(Void { slot, count }) = writer.voids.last().copied() {
            let at = u64::from(slot.group) * GROUP_BYTES + entry_at(slot.at);
            self.log.write_at(&vec![0; count * ENTRY], at).during(log)?;
            writer.voids.pop();
        }
        Ok(())
    }
}
