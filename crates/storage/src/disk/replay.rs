//! Opening: the checkpoint, and the log's tail on top of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, RwLock};

use super::checkpoint::{self, Checkpoint};
use super::format::{FIRST, GROUP_BLOCKS, GROUP_BYTES, GroupUse, Head, LOST, Position, read_head};
use super::group::{GroupView, Look, log};
use super::{Background, Below, Disk, Group, LastFetch, Session, State, Used, World, Writer};
use crate::block::BLOCK;
use crate::error::{During, Result, StorageError};
use crate::files::FileHandle;
use crate::index::Index;
use crate::keys::ObjectId;
use crate::manifest::{DiskName, Manifest};
use crate::map::BlockMap;

/// A disk that is not open yet.
pub struct OpenDisk {
    pub world: World,
    pub name: DiskName,
    /// Where this host keeps its part; it exists.
    pub folder: PathBuf,
    /// Of this placement: larger than that of every earlier one.
    pub epoch: u64,
    pub base: Option<Arc<dyn Below>>,
}

impl OpenDisk {
    /// Makes the local part of a disk whose newest version is `manifest`; for a new disk that is
    /// [`Manifest::unborn`]. What the folder had before is replaced.
    pub fn create(self, manifest: Manifest) -> Result<Disk> {
        let index = match manifest.version.number {
            0 => Index::empty(manifest.blocks),
            _ => self.world.store.whole_index(&self.world.keys, &manifest)?,
        };
        let mut local = BlockMap::empty(manifest.blocks);
        local.grow(manifest.blocks);
        for block in &manifest.lost {
            local.set(*block, LOST)?;
        }
        let log = self.folder.join("log");
        let files = &self.world.files;
        let attempt = || {
            files.remove(&self.folder.join("map"))?;
            files.remove(&log)?;
            files.open(&log, true)
        };
        let file = attempt().during(|| log.display().to_string())?;
        let (_, session) = checkpoint::read_session(&*self.world.files, &self.folder)?;
        let lost = manifest
            .lost
            .iter()
            .map(|block| (*block, u64::MAX))
            .collect();
        let log_id = self.world.entropy.object_id();
        let state = State {
            local,
            index,
            groups: Vec::new(),
            manifest,
            committed: 1,
            lost,
        };
        let writer = Writer::new(1, session, Vec::new(), 0, 0);
        let disk = self.assemble(file, log_id, state, writer);
        disk.checkpoint()?;
        Ok(disk)
    }

    /// Opens what the folder has; `None` when it has no disk.
    pub fn open(self) -> Result<Option<Disk>> {
        let files = self.world.files.clone();
        let session = checkpoint::read_session(&*files, &self.folder);
        if let Ok((epoch, _)) = session
            && epoch > self.epoch
        {
            return Err(StorageError::Fenced {
                disk: self.name.to_string(),
                epoch: self.epoch,
                newer: epoch,
            });
        }
        let checkpoint = match checkpoint::read(&*files, &self.folder) {
            Err(error @ StorageError::Damaged { .. }) => return self.rebuild(error).map(Some),
            other => other?,
        };
        let Some(checkpoint) = checkpoint else {
            return Ok(None);
        };
        let (file, length) = self.open_log()?;
        let Checkpoint {
            kept,
            local,
            index,
            groups,
            free,
        } = checkpoint;
        let last_session = match session {
            Ok((_, session)) => session,
            Err(StorageError::Damaged { .. }) => {
                let heads = used_groups(&*file, length, &kept.log)?;
                heads.iter().map(|(by, _)| by.session).max().unwrap_or(0)
            }
            Err(error) => return Err(error),
        };
        let state = State {
            local,
            index,
            groups,
            manifest: kept.manifest,
            committed: kept.committed,
            lost: kept.lost,
        };
        let allocated = (length / GROUP_BYTES).max(u64::from(kept.end)) as u32;
        let session = last_session.max(kept.session);
        let mut writer = Writer::new(kept.next_generation, session, free, kept.end, allocated);
        writer.checkpoint = kept.next_generation;
        let disk = self.assemble(file, kept.log, state, writer);
        disk.background().checkpoint = disk.state().committed;
        let mut writer = disk.writer();
        let tail = disk.tail(&mut writer, kept.session)?;
        disk.adopt(&mut writer, &tail)?;
        drop(writer);
        Ok(Some(disk))
    }

    fn open_log(&self) -> Result<(Arc<dyn FileHandle>, u64)> {
        let path = self.folder.join("log");
        let name = || path.display().to_string();
        let file = self.world.files.open(&path, false).during(name)?;
        let mut length = file.length().during(name)?;
        let part = length % GROUP_BYTES;
        if part > 0 {
            // A power cut left a part of the last group. What is in it counts as much as in others: were it passed over
            // now, and its place used again, another power cut could bring it back.
            let start = length - part;
            file.allocate(start, GROUP_BYTES).during(name)?;
            length = start + GROUP_BYTES;
        }
        Ok((file, length))
    }

    /// Opens a disk whose checkpoint is damaged: what is not in the store is in groups of the log that are
    /// not used again before it is.
    fn rebuild(self, damage: StorageError) -> Result<Disk> {
        tracing::error!(%damage, "the checkpoint is made anew from the store and the log");
        let world = &self.world;
        let newest = world.store.newest(&world.keys, &self.name, 0)?;
        let Some((newest, position)) = newest.and_then(|newest| {
            let position = newest.log?;
            Some((newest, position))
        }) else {
            return Err(damage);
        };
        let index = world.store.whole_index(&world.keys, &newest)?;
        let (file, length) = self.open_log()?;
        let mut heads = used_groups(&*file, length, &position.log)?;
        let session = heads.iter().map(|(by, _)| by.session).max().unwrap_or(0);
        heads.retain(|(by, _)| by.generation >= position.generation);
        heads.sort_unstable_by_key(|(by, _)| (by.generation, std::cmp::Reverse(by.session)));
        let mut tail: Vec<(GroupUse, u32)> = Vec::new();
        for (by, group) in heads {
            let expected = position.generation + tail.len() as u64;
            let before = tail.last().map_or(0, |(last, _)| last.session);
            if by.generation == expected && by.session >= before {
                tail.push((by, group));
            }
        }
        let end = (length / GROUP_BYTES) as u32;
        let used: BTreeSet<u32> = tail.iter().map(|(_, group)| *group).collect();
        let free = (0..end).filter(|group| !used.contains(group)).collect();
        let mut local = BlockMap::empty(newest.blocks);
        for block in &newest.lost {
            local.set(*block, LOST)?;
        }
        let state = State {
            local,
            index,
            groups: vec![Group::new(None); end as usize],
            lost: newest.lost.iter().map(|block| (*block, u64::MAX)).collect(),
            manifest: newest,
            committed: position.generation,
        };
        let writer = Writer::new(position.generation, session, free, end, end);
        let disk = self.assemble(file, position.log, state, writer);
        {
            let mut writer = disk.writer();
            let views = tail.into_iter().map(|(by, group)| {
                disk.view(Used {
                    group,
                    by,
                    limit: GROUP_BLOCKS,
                })
            });
            let views: Vec<GroupView> = views.collect::<Result<_>>()?;
            disk.adopt(&mut writer, &views)?;
        }
        disk.checkpoint()?;
        Ok(disk)
    }

    fn assemble(
        self,
        log: Arc<dyn FileHandle>,
        log_id: ObjectId,
        state: State,
        writer: Writer,
    ) -> Disk {
        Disk {
            identities: self.world.keys.identities(),
            world: self.world,
            folder: self.folder,
            log,
            log_id,
            epoch: self.epoch,
            base: self.base,
            writer: Mutex::new(writer),
            beside: RwLock::new(()),
            turns: Condvar::new(),
            state: RwLock::new(state),
            background: Mutex::new(Background::default()),
            flushing: Mutex::new(()),
            last_fetch: Mutex::new(LastFetch::default()),
            fenced: AtomicU64::new(0),
            pace: AtomicU64::new(0),
        }
    }
}

impl Writer {
    /// Before anything was written by this process; everything of lower generations is durable.
    fn new(generation: u64, session: u32, free: Vec<u32>, end: u32, allocated: u32) -> Self {
        let begin = Position {
            generation,
            next: FIRST,
        };
        Self {
            open: None,
            next_generation: generation,
            checkpoint: generation,
            session: Session::Before(session),
            free: free.into(),
            holes: BTreeSet::new(),
            end,
            allocated,
            durable: begin,
            promised: begin,
            marked: Position::default(),
            suspect: false,
            broken: false,
            void_cuts: None,
            taken: 0,
            turn: 0,
            voids: Vec::new(),
            flushed: BTreeMap::new(),
        }
    }
}

/// Groups of a log that have been used, with the heads that say so.
fn used_groups(
    file: &dyn FileHandle,
    length: u64,
    log_id: &ObjectId,
) -> Result<Vec<(GroupUse, u32)>> {
    let mut used = Vec::new();
    for group in 0..(length / GROUP_BYTES) as u32 {
        let mut head = [0; BLOCK];
        file.read_at(&mut head, u64::from(group) * GROUP_BYTES)
            .during(log)?;
        if let Head::Used { by, .. } = read_head(log_id, group, &head) {
            used.push((by, group));
        }
    }
    Ok(used)
}

impl Disk {
    /// Takes over the log's tail.
    fn adopt(&self, writer: &mut Writer, tail: &[GroupView]) -> Result<()> {
        // What was durable is known to be whole; what came after may have arrived in part.
        for part in tail {
            if let Head::Used {
                durable: Some(durable),
                ..
            } = read_head(&self.log_id, part.group, &part.head)
            {
                writer.durable = writer.durable.max(durable);
            }
        }
        let mut state = self.state_mut();
        for part in tail {
            state.groups[part.group as usize] = Group::new(Some(part.by));
        }
        for part in tail {
            for (at, item) in self.items(part, writer.durable, Look::Entries)? {
                state.apply(part, at, item, |_| true)?;
            }
        }
        if let Some(last) = tail.last() {
            writer.next_generation = last.by.generation + 1;
        }
        // What came after the last flush that is known of may not be durable, and a sync need not say so: the
        // process before may have been told already. It is written again with the next flush.
        let unknown = tail.last().is_some_and(|last| {
            let end = Position {
                generation: last.by.generation,
                next: GROUP_BLOCKS,
            };
            writer.durable < end
        });
        (writer.suspect, writer.broken) = (unknown, unknown);
        for part in tail {
            if part.by.generation >= state.committed {
                let now = self.world.clock.now_ms();
                writer.flushed.entry(part.by.generation).or_insert(now);
            }
        }
        Ok(())
    }

    /// Finds the groups that were opened after the checkpoint, in order: the next is the first one of the
    /// free list, or the one after the end.
    fn tail(&self, writer: &mut Writer, mut session: u32) -> Result<Vec<GroupView>> {
        let mut tail = Vec::new();
        let mut expected = writer.next_generation;
        loop {
            let candidates = [writer.free.front().copied(), Some(writer.end)];
            let mut next = None;
            let mut damaged = None;
            for group in candidates.into_iter().flatten() {
                if group >= writer.allocated {
                    continue;
                }
                let head = self.read_head_block(group)?;
                match read_head(&self.log_id, group, &head) {
                    Head::Used { by, .. } if by.generation == expected && by.session >= session => {
                        next = Some(GroupView {
                            group,
                            by,
                            limit: GROUP_BLOCKS,
                            head,
                        });
                        break;
                    }
                    Head::Used { .. } | Head::Empty => {}
                    Head::Damaged => damaged = Some(group),
                }
            }
            let Some(found) = next else {
                if let Some(group) = damaged {
                    return Err(StorageError::damaged(
                        format!("the head of group {group} of the log"),
                        format!("what was written from generation {expected} on cannot be told"),
                    ));
                }
                return Ok(tail);
            };
            if writer.free.front() == Some(&found.group) {
                writer.free.pop_front();
            } else {
                writer.end += 1;
                self.state_mut()
                    .groups
                    .resize(writer.end as usize, Group::new(None));
            }
            session = found.by.session;
            expected += 1;
            tail.push(found);
        }
    }
}
