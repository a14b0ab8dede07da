//! What a group of the log says happened, in order.

use super::format::{
    ENTRY, Entry, FIRST, GROUP_BYTES, GroupUse, LOST, NONE, Position, Range, Record, Told, What,
    ZERO, entry_at, entry_of,
};
use super::{Disk, Slot, State, Used};
use crate::block::{BLOCK, BlockNumber};
use crate::error::{During, Result, StorageError};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Written(BlockNumber),
    /// A copy of what the store has.
    Copy(BlockNumber),
    /// Written and durable, and its content is not what it was.
    Broken(BlockNumber),
    Zero(Vec<Range>),
    Size(u32),
}

/// How closely to look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// At entries and records; the content of blocks is checked by whoever reads them.
    Entries,
    /// At everything.
    Content,
}

/// A group with its head, as it was read.
pub(super) struct GroupView {
    pub group: u32,
    pub by: GroupUse,
    /// Places from here on are void.
    pub limit: u32,
    pub head: Box<[u8; BLOCK]>,
}

impl GroupView {
    pub fn slot(&self, at: u32) -> Slot {
        Slot {
            group: self.group,
            at,
        }
    }
}

/// What an error of the log's file is about.
pub(super) fn log() -> String {
    "the log of the disk".to_owned()
}

impl Disk {
    /// Reads a group's head.
    pub(super) fn view(&self, used: Used) -> Result<GroupView> {
        Ok(GroupView {
            group: used.group,
            by: used.by,
            limit: used.limit,
            head: self.read_head_block(used.group)?,
        })
    }

    /// The head of a group as it is.
    pub(super) fn read_head_block(&self, group: u32) -> Result<Box<[u8; BLOCK]>> {
        let mut head = Box::new([0; BLOCK]);
        self.log
            .read_at(&mut head[..], u64::from(group) * GROUP_BYTES)
            .during(log)?;
        Ok(head)
    }

    /// What the group says. Before `durable` everything arrived, and what is not as it was is damaged; what
    /// came later may have arrived in part, and is left out and struck out of the head, so that nobody takes
    /// it for damaged later.
    pub(super) fn items(
        &self,
        view: &GroupView,
        durable: Position,
        look: Look,
    ) -> Result<Vec<(u32, Item)>> {
        let mut items = Vec::new();
        // A record comes twice: the second is for when the first is damaged.
        let mut broken_record = None;
        for at in FIRST..view.limit {
            let here = Position {
                generation: view.by.generation,
                next: at,
            };
            let is_durable = here < durable;
            let (what, entry) = match view.by.read_entry(at, entry_of(&view.head, at)) {
                Told::Nothing => continue,
                Told::Sound(what) => (what, *entry_of(&view.head, at)),
                Told::Mended(what, entry) => (what, entry),
                Told::Damaged if is_durable => {
                    return Err(StorageError::damaged(
                        format!("entry {at} of group {} of the log", view.group),
                        "what was written there cannot be told",
                    ));
                }
                Told::Damaged => {
                    self.strike_out(view.slot(at))?;
                    continue;
                }
            };
            let looks = !is_durable || look == Look::Content || matches!(what, What::Record { .. });
            let content = if looks {
                self.whole(view, at, &entry)?
            } else {
                None
            };
            let item = match (what, looks, content) {
                (What::Written(block), false, _) | (What::Written(block), true, Some(_)) => {
                    Item::Written(block)
                }
                (What::Copy(block), false, _) | (What::Copy(block), true, Some(_)) => {
                    Item::Copy(block)
                }
                (What::Record { .. }, _, Some(content)) => {
                    broken_record = None;
                    match Record::decode(&content) {
                        Some(Record::Zero(ranges)) => Item::Zero(ranges),
                        Some(Record::Size(blocks)) => Item::Size(blocks),
                        None => continue,
                    }
                }
                (_, _, None) if !is_durable => {
                    self.strike_out(view.slot(at))?;
                    continue;
                }
                (What::Written(block), true, None) => Item::Broken(block),
                (What::Copy(_), true, None) => continue,
                (What::Record { second }, _, None) => {
                    if second && broken_record.is_some() {
                        return Err(self.unknown_record(view.group, at));
                    }
                    if !second {
                        broken_record = Some(at);
                    }
                    continue;
                }
            };
            items.push((at, item));
        }
        match broken_record {
            Some(at) => Err(self.unknown_record(view.group, at)),
            None => Ok(items),
        }
    }

    fn unknown_record(&self, group: u32, at: u32) -> StorageError {
        StorageError::damaged(
            format!("the record {at} of group {group} of the log"),
            "both copies are not what was written",
        )
    }

    /// The content of a place, if it is what was written.
    fn whole(&self, view: &GroupView, at: u32, entry: &Entry) -> Result<Option<Box<[u8; BLOCK]>>> {
        let mut content = Box::new([0; BLOCK]);
        self.log
            .read_at(&mut content[..], view.slot(at).offset())
            .during(log)?;
        Ok(view.by.holds(at, entry, &content[..]).then_some(content))
    }

    /// The content of a block that the group has in place `at`, if it is what was written.
    pub(super) fn content(&self, view: &GroupView, at: u32) -> Result<Option<Box<[u8; BLOCK]>>> {
        match view.by.read_entry(at, entry_of(&view.head, at)) {
            Told::Sound(_) => self.whole(view, at, entry_of(&view.head, at)),
            Told::Mended(_, entry) => self.whole(view, at, &entry),
            Told::Nothing | Told::Damaged => Ok(None),
        }
    }

    fn strike_out(&self, slot: Slot) -> Result<()> {
        let head = u64::from(slot.group) * GROUP_BYTES;
        self.log
            .write_at(&[0; ENTRY], head + entry_at(slot.at))
            .during(log)
    }
}

impl State {
    /// Takes over what happened at a place of a group. Blocks that `wanted` refuses are left as they are, and
    /// so are those beyond the disk's end.
    pub(super) fn apply(
        &mut self,
        view: &GroupView,
        at: u32,
        item: Item,
        wanted: impl Fn(BlockNumber) -> bool,
    ) -> Result<()> {
        let slot = view.slot(at).word();
        let one = |block| Range {
            first: block,
            count: 1,
        };
        let (ranges, word) = match item {
            Item::Written(block) | Item::Copy(block) => (vec![one(block)], slot),
            Item::Broken(block) => (vec![one(block)], LOST),
            Item::Zero(ranges) => (ranges, ZERO),
            Item::Size(blocks) => {
                self.local.grow(blocks);
                self.index.map.grow(blocks);
                return Ok(());
            }
        };
        let end = self.local.blocks();
        for block in ranges.into_iter().flat_map(Range::blocks) {
            if block >= end {
                break;
            }
            if !wanted(block) {
                continue;
            }
            match self.local.get(block) {
                // Untouched blocks need no word to be what they are.
                Ok(now) if matches!(word, NONE | ZERO) && now == word => continue,
                Ok(_) => {}
                // The page is made anew when it is looked at, from the same groups.
                Err(StorageError::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            }
            self.set_local(block, word)?;
            if word == LOST {
                self.lost.insert(block, view.by.generation);
            }
        }
        Ok(())
    }
}
