//! Sending: groups of the log become packs in the store, and then a version of the disk names them.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::batch::{Batch, Next};
use super::format::{GroupUse, Position, Told, entry_of};
use super::group::{Item, Look, log};
use super::{Background, Disk, LOST, NONE, Object, Pending, Slot, Used};
use crate::block::{BLOCK, BlockNumber, is_zero};
use crate::error::{During, Result, StorageError};
use crate::index::Place;
use crate::manifest::{LogPosition, Manifest, Point};
use crate::pack::{DISK_FRAME, PACK_BLOCKS, PackContents, PackWriter};
use crate::parallel;
use crate::planted::{self, Bug};

/// Blocks that go into one version, give or take a group. What is written again and again is sent once for each
/// version, so that few versions are less work: half a GiB that somebody writes over and over makes one. What is held in
/// memory for one, 40 bytes a block, stays small.
const BATCH: usize = 160 * PACK_BLOCKS;
/// Niceness of threads that make packs: whoever reads and writes goes before.
const BEHIND: i32 = 12;
/// Of those that are late: beside a guest that takes every processor they get their share.
const LATE: i32 = 5;
/// Since the oldest flush that the store does not have.
const LATE_AFTER_MS: u64 = 4000;
/// Blocks that are read from the log at once.
const READ: usize = 64;

impl Disk {
    /// Takes the disk for this placement: from now on the store refuses every older one. What an older one
    /// sent from this host's log is caught up with.
    ///
    /// [`StorageError::Fenced`]: a newer placement has it. [`StorageError::Invalid`]: it was written on
    /// another host since, so that what is here is of no use.
    pub fn claim(&self) -> Result<()> {
        self.check_fence()?;
        let mut background = self.background();
        self.claim_with(&mut background)
    }

    fn claim_with(&self, background: &mut Background) -> Result<()> {
        while !background.claimed {
            if background.pending.is_none() {
                self.catch_up()?;
                let mut manifest = self.manifest();
                manifest.claim = true;
                manifest.point = None;
                let now = self.world.clock.now_ms();
                self.prepare(background, manifest, Vec::new(), None, now)?;
            }
            match self.commit(background) {
                Ok(()) => background.claimed = self.manifest().epoch == self.epoch,
                // Somebody older was faster: look again.
                Err(StorageError::Fenced { newer, .. }) if newer <= self.epoch => {}
                Err(error) => return Err(self.noted(error)),
            }
        }
        Ok(())
    }

    /// Takes over versions that this log led to and this process does not know of.
    pub(super) fn catch_up(&self) -> Result<()> {
        let known = self.manifest();
        let world = &self.world;
        let name = &known.version.disk;
        let newest = world
            .store
            .newest(&world.keys, name, known.version.number)?;
        let Some(newest) = newest else {
            return Ok(());
        };
        if newest.epoch > self.epoch {
            return Err(self.noted(StorageError::Fenced {
                disk: name.to_string(),
                epoch: self.epoch,
                newer: newest.epoch,
            }));
        }
        let elsewhere = || {
            StorageError::Invalid(format!(
                "the disk was written elsewhere since: version {} is not of this host's log",
                newest.version
            ))
        };
        // It went back: nothing of this log is in it, whatever the versions before say.
        if newest.line != known.line {
            return Err(elsewhere());
        }
        let generation = match newest.log {
            Some(position) if position.log == self.log_id => position.generation,
            // Claims alone came after what is known here.
            other if other == known.log => self.state().committed,
            _ => return Err(elsewhere()),
        };
        if generation > self.writer().next_generation {
            return Err(StorageError::damaged(
                "the log of the disk",
                format!("the store has it until {generation}, and this host does not"),
            ));
        }
        let mut index = world.store.whole_index(&world.keys, &newest)?;
        let mut state = self.state_mut();
        index.map.grow(state.local.blocks());
        state.index = index;
        state.committed = state.committed.max(generation);
        let found: Vec<BlockNumber> = state
            .lost
            .iter()
            .filter(|(block, lost)| **lost < generation && !newest.lost.contains(block))
            .map(|(block, _)| *block)
            .collect();
        for block in found {
            state.set_local(block, NONE)?;
        }
        state.manifest = newest;
        let committed = state.committed;
        drop(state);
        self.writer().committed_to(committed);
        Ok(())
    }

    /// Takes the background, with the disk claimed and no version on its way.
    pub(super) fn settled(&self) -> Result<MutexGuard<'_, Background>> {
        let mut background = self.background();
        self.claim_with(&mut background)?;
        self.commit_noted(&mut background)?;
        Ok(background)
    }

    pub(super) fn commit_noted(&self, background: &mut Background) -> Result<()> {
        self.commit(background).map_err(|error| self.noted(error))
    }

    /// Remembers that the disk is another's.
    fn noted(&self, error: StorageError) -> StorageError {
        if let StorageError::Fenced { newer, .. } = &error {
            self.fenced.store(*newer, Ordering::Relaxed);
        }
        error
    }

    /// Sends everything that was written before generation `until` (see [`Disk::cut`]) and makes it the
    /// newest version, under a name if `point` is given. In the store, durably, when it returns.
    ///
    /// After an error that is transient it can be called again with the same arguments; after
    /// [`StorageError::CutAgain`] with another cut.
    pub fn upload(&self, until: u64, point: Option<&Point>) -> Result<Manifest> {
        // The store never has what a power cut here could take: there is one history.
        self.settle()?;
        let is_void = |void: &std::ops::RangeInclusive<u64>| void.contains(&until);
        if self.writer().void_cuts.as_ref().is_some_and(is_void) {
            return Err(StorageError::CutAgain);
        }
        let mut background = self.settled()?;
        let is_named = |manifest: &Manifest| {
            point.is_none_or(|point| {
                let found = manifest.point.as_ref();
                found.is_some_and(|found| found.id == point.id)
            })
        };
        let mut groups = self.state().uncommitted();
        groups.retain(|used| used.by.generation < until);
        let mut rest = &groups[..];
        while !rest.is_empty() {
            let (batch, taken) = self.batch(rest)?;
            let end = rest[taken - 1].by.generation + 1;
            rest = &rest[taken..];
            let point = point.filter(|_| rest.is_empty());
            self.send(&mut background, &batch, end, point)?;
        }
        if !is_named(&self.manifest()) {
            // Nothing was written since the newest version: it gets the name.
            let mut manifest = self.manifest();
            manifest.claim = false;
            manifest.point = point.cloned();
            let now = self.world.clock.now_ms();
            self.prepare(&mut background, manifest, Vec::new(), None, now)?;
            self.commit_noted(&mut background)?;
        }
        let made = self.manifest();
        if made.segments.len() > self.world.segments {
            self.write_index(&mut background)?;
        }
        // One without a name is replaced by the one with the new index.
        Ok(if made.point.is_some() {
            made
        } else {
            self.manifest()
        })
    }

    /// Gives up a version that was kept under a name. The newest one loses its name alone.
    pub fn forget(&self, number: u64) -> Result<()> {
        let mut background = self.settled()?;
        let mut manifest = self.manifest();
        if number > manifest.version.number {
            return Ok(());
        }
        let mut version = manifest.version.clone();
        version.number = number;
        if manifest.version.number == number {
            manifest.point = None;
            manifest.claim = false;
            let now = self.world.clock.now_ms();
            self.prepare(&mut background, manifest, Vec::new(), None, now)?;
            self.commit_noted(&mut background)?;
            if self.manifest().version.number == number {
                return Ok(());
            }
        }
        self.world.store.delete_version(&version)
    }

    /// What the first of the groups come to, and how many of them that is: what was written again among them is
    /// there once, and counts once.
    fn batch(&self, groups: &[Used]) -> Result<(Batch, usize)> {
        let mut batch = Batch::default();
        for (used, number) in groups.iter().zip(1..) {
            let view = self.view(*used)?;
            for (at, item) in self.items(&view, Position::END, Look::Entries)? {
                match item {
                    Item::Written(block) => {
                        let entry = match view.by.read_entry(at, entry_of(&view.head, at)) {
                            Told::Mended(_, entry) => entry,
                            _ => *entry_of(&view.head, at),
                        };
                        batch.blocks.insert(block, (view.slot(at), entry));
                    }
                    Item::Zero(ranges) => ranges.into_iter().for_each(|range| batch.zero(range)),
                    Item::Copy(_) | Item::Broken(_) | Item::Size(_) => {}
                }
            }
            batch.groups.insert(used.group, used.by);
            if batch.blocks.len() >= BATCH {
                return Ok((batch, number));
            }
        }
        Ok((batch, groups.len()))
    }

    /// Stores what groups of lower generations than `end` come to as packs, and commits the version that they lead to.
    fn send(
        &self,
        background: &mut Background,
        batch: &Batch,
        end: u64,
        point: Option<&Point>,
    ) -> Result<()> {
        let started_ms = self.world.clock.now_ms();
        let below = self.base.as_ref().map_or(0, |base| base.blocks());
        let is_zero_there = |block| {
            let state = self.state();
            Ok(match state.index.place(block)? {
                Place::Zero => true,
                Place::Below => block >= below,
                Place::Stored { .. } => false,
            })
        };
        let changes = match batch.changes(is_zero_there) {
            Err(StorageError::Damaged { .. }) => {
                self.remake_index(&self.manifest())?;
                batch.changes(is_zero_there)?
            }
            other => other?,
        };
        let parts: Vec<&[Next]> = changes.chunks(PACK_BLOCKS).collect();
        let mut packs = Vec::new();
        let mut lost = Vec::new();
        let threads = self.world.threads;
        let is_late = self.figures().age_ms >= LATE_AFTER_MS;
        let go_behind = if is_late { late } else { behind };
        let made = parallel::each(threads, &parts, go_behind, |part| {
            self.store_pack(batch, part)
        })?;
        for made in made {
            packs.extend(made.contents);
            lost.extend(made.lost);
        }
        let mut manifest = self.manifest();
        let blocks = self.state().local.blocks();
        let nothing = packs.is_empty() && lost.is_empty() && point.is_none();
        if nothing && blocks == manifest.blocks {
            // Copies alone: there is nothing that a version would say.
            self.state_mut().committed = end;
            self.writer().committed_to(end);
            return Ok(());
        }
        manifest.claim = false;
        manifest.blocks = blocks;
        manifest.point = point.cloned();
        manifest
            .segments
            .extend(packs.iter().map(|pack| pack.pack.id));
        let changed = |block: u32| packs.iter().any(|pack| pack.changes_block(block));
        manifest.lost.retain(|block| !changed(*block));
        manifest.lost.extend(lost);
        manifest.lost.sort_unstable();
        manifest.lost.dedup();
        manifest.log = Some(LogPosition {
            log: self.log_id,
            generation: end,
        });
        self.prepare(background, manifest, packs, Some(end), started_ms)?;
        if planted::is(Bug::CommitBeforeStore) {
            self.state_mut().committed = end;
        }
        self.commit_noted(background)
    }

    fn store_pack(&self, batch: &Batch, changes: &[Next]) -> Result<Made> {
        let world = &self.world;
        let id = world.entropy.object_id();
        let mut pack = PackWriter::new(id, &world.keys, &self.identities, DISK_FRAME)?;
        let mut lost = Vec::new();
        let mut buffer = vec![0; READ * BLOCK];
        let mut rest = changes;
        while let Some((next, after)) = rest.split_first() {
            let (first, slot) = match *next {
                Next::Zero(range) => {
                    pack.zero(range.first, range.count);
                    rest = after;
                    continue;
                }
                Next::Block(block, slot, _) => (block, slot),
            };
            // Blocks that follow each other in the log are read together.
            let run = rest
                .iter()
                .zip(0..READ as u32)
                .take_while(|(next, number)| {
                    let expected = Slot {
                        at: slot.at + number,
                        ..slot
                    };
                    matches!(next, Next::Block(_, slot, _) if *slot == expected)
                })
                .count();
            let content = &mut buffer[..run * BLOCK];
            self.log.read_at(content, slot.offset()).during(log)?;
            let by = &batch.groups[&slot.group];
            for (next, content) in rest[..run].iter().zip(content.chunks(BLOCK)) {
                let Next::Block(block, slot, entry) = *next else {
                    unreachable!("a run is of blocks");
                };
                if !by.holds(slot.at, &entry, content) {
                    self.lose(block, slot, by)?;
                    lost.push(block);
                } else if is_zero(content) {
                    pack.zero(block, 1);
                } else {
                    pack.block(block, content);
                }
            }
            rest = &rest[run..];
            debug_assert!(run > 0, "block {first} makes a run of its own");
        }
        if pack.is_empty() {
            return Ok(Made {
                contents: None,
                lost,
            });
        }
        let pack = pack.finish();
        let contents = pack.contents.clone();
        world.store.put_pack(world.keys.tenant(), pack)?;
        Ok(Made {
            contents: Some(contents),
            lost,
        })
    }

    /// The only copy of a block is damaged. Whoever reads it is told so, unless it was written again since.
    fn lose(&self, block: BlockNumber, slot: Slot, by: &GroupUse) -> Result<()> {
        let mut state = self.state_mut();
        if state.local(block)? == slot.word() {
            state.set_local(block, LOST)?;
            state.lost.insert(block, by.generation);
        }
        Ok(())
    }

    /// Seals the next version, so that the same can be committed again when an attempt's outcome is not
    /// known.
    pub(super) fn prepare(
        &self,
        background: &mut Background,
        mut manifest: Manifest,
        packs: Vec<PackContents>,
        end: Option<u64>,
        started_ms: u64,
    ) -> Result<()> {
        let world = &self.world;
        manifest.version.number += 1;
        manifest.epoch = self.epoch;
        manifest.written_ms = world.clock.now_ms();
        let sealed = manifest.seal(&world.keys, &*world.entropy)?;
        background.pending = Some(Pending {
            manifest,
            sealed,
            packs,
            end,
            since_ms: started_ms,
        });
        Ok(())
    }

    /// Makes the prepared version the newest one, if there is one.
    fn commit(&self, background: &mut Background) -> Result<()> {
        let Some(pending) = &background.pending else {
            return Ok(());
        };
        let world = &self.world;
        let (store, keys) = (&world.store, &world.keys);
        let is_old = world.clock.now_ms().saturating_sub(pending.since_ms) > world.hold_ms;
        let committed = if is_old {
            // Its packs may be gone: it is not to be made now, but it may have been made.
            match store.manifest(keys, &pending.manifest.version) {
                Ok((id, _)) if id == pending.sealed.0 => Ok(()),
                Ok(_) | Err(StorageError::Missing(_)) => {
                    background.pending = None;
                    return Ok(());
                }
                Err(error) => Err(error),
            }
        } else {
            store.commit(keys, &pending.manifest, &pending.sealed)
        };
        if let Err(error) = committed {
            if !error.is_transient() || planted::is(Bug::CommitBeforeStore) {
                background.pending = None;
            }
            return Err(error);
        }
        for pack in &pending.packs {
            // One by one, so that nobody waits long: until all are there, what they change is read from the log.
            let applied = self.state_mut().index.apply(pack);
            match applied {
                Err(StorageError::Damaged { .. }) => {
                    self.remake_index(&pending.manifest)?;
                    break;
                }
                other => other?,
            }
        }
        let Some(pending) = background.pending.take() else {
            unreachable!("it was looked at above");
        };
        if pending.manifest.point.is_some() {
            background.young.clear();
        } else {
            let packs = pending.packs.iter().map(|pack| Object::Pack(pack.pack.id));
            background.young.extend(packs);
        }
        let before = {
            let mut state = self.state_mut();
            if let Some(end) = pending.end {
                state.committed = end;
            }
            std::mem::replace(&mut state.manifest, pending.manifest)
        };
        if let Some(end) = pending.end {
            let mut writer = self.writer();
            writer.committed_to(end);
            if planted::is(Bug::ReuseBeforeCheckpoint) {
                let open = writer.open.map(|open| open.group);
                let free = self.free_groups(&writer, &self.state(), None).into_iter();
                writer.free = free.filter(|group| Some(*group) != open).collect();
            }
        }
        // Versions that nobody named go. Claims stay: they are what keeps an older placement out.
        let goes = before.version.number > 0 && before.point.is_none() && !before.claim;
        if goes {
            background.replaced.push(before.version);
        }
        self.delete_replaced(background);
        Ok(())
    }
}

impl Disk {
    /// Says whether there is none any more.
    pub(super) fn delete_replaced(&self, background: &mut Background) -> bool {
        let store = &self.world.store;
        background.replaced.retain(|version| {
            let deleted = store.delete_version(version);
            if let Err(error) = &deleted {
                tracing::warn!(%error, %version, "an old version is not deleted");
            }
            deleted.is_err()
        });
        background.replaced.is_empty()
    }
}

fn behind() {
    go_behind(BEHIND);
}

fn late() {
    go_behind(LATE);
}

/// The calling thread runs when nobody else wants to, more or less: whoever waits for the disk is not to wait for what
/// nobody waits for. It stays so.
fn go_behind(nice: i32) {
    // Of Linux this is the calling thread's alone. Without it, things are as they were.
    let _ = rustix::process::setpriority_process(None, nice);
}

/// A stored pack, and blocks that could not be put into it.
struct Made {
    contents: Option<PackContents>,
    lost: Vec<BlockNumber>,
}
