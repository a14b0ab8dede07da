//! Giving room back to the host: what is left in sparse groups moves to the end of the log, what the store
//! has too is given up, and groups that are free become holes.

use super::format::{FIRST, GROUP_BLOCKS, GROUP_BYTES, NONE, What, entry_of};
use super::group::{GroupView, log};
use super::{Disk, Used};
use crate::block::BlockNumber;
use crate::error::{During, Result};

/// A group with fewer live blocks is worth moving.
pub(super) const SPARSE: u32 = (GROUP_BLOCKS - FIRST) / 2;

impl Disk {
    /// Moves what is live out of up to `most` groups that hold little and that the store has. They can be
    /// used again after the next checkpoint. Says how many there were.
    pub fn compact(&self, most: usize) -> Result<usize> {
        self.check_fence()?;
        let sparse = self.sent_groups(|live| live < SPARSE, u64::MAX, most);
        for used in &sparse {
            let view = self.view(*used)?;
            let mut writer = self.writer();
            for at in FIRST..GROUP_BLOCKS {
                let Some(block) = self.held(&view, at)? else {
                    continue;
                };
                match self.content(&view, at)? {
                    Some(content) => {
                        self.append(&mut writer, &|_| What::Copy(block), &content[..])?;
                    }
                    None => self.give_up(block, view.slot(at), &used.by)?,
                }
            }
        }
        Ok(sparse.len())
    }

    /// Gives up the local copies in the `most` oldest groups that the store has, and that the last
    /// checkpoint knows it to have. Says how many there were.
    pub fn evict(&self, most: usize) -> Result<usize> {
        self.check_fence()?;
        let before = self.background().checkpoint;
        let old = self.sent_groups(|_| true, before, most);
        for used in &old {
            let view = self.view(*used)?;
            let _writer = self.writer();
            for at in FIRST..GROUP_BLOCKS {
                if let Some(block) = self.held(&view, at)? {
                    self.state_mut().set_local(block, NONE)?;
                }
            }
        }
        Ok(old.len())
    }

    /// Gives the room of free groups back to the host's file system, but for `keep` of them. Says how many
    /// became holes.
    pub fn punch(&self, keep: usize) -> Result<usize> {
        let mut writer = self.writer();
        let spare: Vec<u32> = writer
            .free
            .iter()
            .skip(keep)
            .filter(|group| !writer.holes.contains(group))
            .copied()
            .collect();
        for group in &spare {
            self.log
                .punch(u64::from(*group) * GROUP_BYTES, GROUP_BYTES)
                .during(log)?;
            writer.holes.insert(*group);
        }
        Ok(spare.len())
    }

    /// Groups that the store has, of lower generations than `before`, that something points into; oldest
    /// first.
    fn sent_groups(&self, wanted: impl Fn(u32) -> bool, before: u64, most: usize) -> Vec<Used> {
        let open = self.writer().open.map(|open| open.group);
        let state = self.state();
        let before = before.min(state.committed);
        let groups = state.groups.iter().zip(0..);
        let mut found: Vec<Used> = groups
            .filter(|(group, number)| group.live > 0 && wanted(group.live) && open != Some(*number))
            .filter_map(|(group, number)| Used::of(group, number))
            .filter(|used| used.by.generation < before)
            .collect();
        found.sort_unstable_by_key(|used| used.by.generation);
        found.truncate(most);
        found
    }

    /// The block whose newest copy is in place `at` of a group, if any.
    fn held(&self, view: &GroupView, at: u32) -> Result<Option<BlockNumber>> {
        let block = match view.by.read_entry(at, entry_of(&view.head, at)).what() {
            Some(What::Written(block) | What::Copy(block)) => block,
            Some(What::Record { .. }) | None => return Ok(None),
        };
        let state = self.state();
        let here = view.slot(at).word();
        let is_here = block < state.local.blocks() && state.local(block)? == here;
        Ok(is_here.then_some(block))
    }
}
