//! What is sent at once: the newest content of each block in a stretch of the log.

use std::collections::{BTreeMap, HashMap};

use super::Slot;
use super::format::{Entry, GroupUse, Range};
use crate::block::BlockNumber;
use crate::error::Result;

/// What a stretch of the log comes to.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) groups: HashMap<u32, GroupUse>,
    /// Where the newest content of a block is, and what its entry says.
    pub(super) blocks: BTreeMap<BlockNumber, (Slot, Entry)>,
    /// Blocks that are zero, but for those above.
    zeros: Vec<Range>,
}

/// One change of an image.
#[derive(Clone, Copy)]
pub(super) enum Next {
    Block(BlockNumber, Slot, Entry),
    Zero(Range),
}

impl Batch {
    pub(super) fn zero(&mut self, range: Range) {
        let gone: Vec<BlockNumber> = self
            .blocks
            .range(range.blocks())
            .map(|(block, _)| *block)
            .collect();
        for block in gone {
            self.blocks.remove(&block);
        }
        self.zeros.push(range);
    }

    /// The changes, each block in one of them, in order.
    pub(super) fn changes(
        &self,
        is_zero_already: impl Fn(BlockNumber) -> Result<bool>,
    ) -> Result<Vec<Next>> {
        let mut zeros = self.zeros.clone();
        zeros.sort_unstable_by_key(|range| range.first);
        let mut changes = Vec::new();
        let mut blocks = self.blocks.iter().peekable();
        let mut done = 0;
        for range in zeros {
            for block in range.blocks().start.max(done)..range.blocks().end {
                while let Some((written, (slot, entry))) =
                    blocks.next_if(|(written, _)| **written <= block)
                {
                    changes.push(Next::Block(*written, *slot, *entry));
                }
                done = block + 1;
                if self.blocks.contains_key(&block) || is_zero_already(block)? {
                    continue;
                }
                match changes.last_mut() {
                    Some(Next::Zero(last)) if last.blocks().end == block => last.count += 1,
                    _ => changes.push(Next::Zero(Range {
                        first: block,
                        count: 1,
                    })),
                }
            }
        }
        changes.extend(blocks.map(|(block, (slot, entry))| Next::Block(*block, *slot, *entry)));
        Ok(changes)
    }
}
