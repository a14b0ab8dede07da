//! Opening: the checkpoint, and the log's tail on top of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use super::checkpoint::{self, Checkpoint};
use super::format::{
    ENTRY, FIRST, GROUP_BLOCKS, GROUP_BYTES, GroupUse, Head, LOST, NONE, Position, Range, Record,
    Told, What, ZERO, entry_at, entry_of, read_head,
};
use super::read::Found;
use super::{Background, Below, Disk, Group, LastFetch, Session, Slot, State, World, Writer};
use crate::block::BLOCK;
use crate::error::{During, Result, StorageError};
use crate::index::Index;
use crate::manifest::Manifest;
use crate::map::BlockMap;

/// A disk that is not open yet.
pub struct OpenDisk {
    pub world: World,
    /// Where this host keeps its part; it exists.
    pub folder: PathBuf,
    /// Of this placement: larger than that of every earlier one.
    pub epoch: u64,
    pub base: Option<Arc<dyn Below>>,
}

impl OpenDisk {
    /// Makes the local part of a disk whose newest version is `manifest`; for a new disk that is
    /// [`Manifest::first`] with the number 0. What the folder had before is replaced.
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
        let writer = Writer {
            open: None,
            next_generation: 1,
            checkpoint: 1,
            session: Session::Before(session),
            free: VecDeque::new(),
            holes: BTreeSet::new(),
            end: 0,
            allocated: 0,
            durable: Position {
                generation: 1,
                next: FIRST,
            },
            marked: Position::default(),
            suspect: false,
            broken: false,
            flushed: BTreeMap::new(),
        };
        let disk = self.assemble(file, log_id, state, writer);
        disk.checkpoint()?;
        Ok(disk)
    }

    /// Opens what the folder has; `None` when it has no disk.
    pub fn open(self) -> Result<Option<Disk>> {
        let files = &self.world.files;
        let (epoch, last_session) = checkpoint::read_session(&**files, &self.folder)?;
        if epoch > self.epoch {
            return Err(StorageError::Fenced {
                disk: self.folder.display().to_string(),
                epoch: self.epoch,
                newer: epoch,
            });
        }
        let Some(checkpoint) = checkpoint::read(&**files, &self.folder)? else {
            return Ok(None);
        };
        let path = self.folder.join("log");
        let file = files
            .open(&path, false)
            .during(|| path.display().to_string())?;
        let length = file.length().during(|| path.display().to_string())?;
        let Checkpoint {
            kept,
            local,
            index,
            groups,
            free,
        } = checkpoint;
        let state = State {
            local,
            index,
            groups,
            manifest: kept.manifest,
            committed: kept.committed,
            lost: kept.lost,
        };
        let start = Position {
            generation: kept.next_generation,
            next: FIRST,
        };
        let writer = Writer {
            open: None,
            next_generation: kept.next_generation,
            checkpoint: kept.next_generation,
            session: Session::Before(last_session.max(kept.session)),
            free: free.into(),
            holes: BTreeSet::new(),
            end: kept.end,
            allocated: (length / GROUP_BYTES).max(u64::from(kept.end)) as u32,
            durable: start,
            marked: Position::default(),
            suspect: false,
            broken: false,
            flushed: BTreeMap::new(),
        };
        let disk = self.assemble(file, kept.log, state, writer);
        disk.background().checkpoint = disk.state().committed;
        disk.replay(kept.session)?;
        Ok(Some(disk))
    }

    fn assemble(
        self,
        log: Arc<dyn crate::files::FileHandle>,
        log_id: crate::keys::ObjectId,
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
            state: RwLock::new(state),
            background: Mutex::new(Background::default()),
            flushing: Mutex::new(()),
            last_fetch: Mutex::new(LastFetch::default()),
            fenced: AtomicU64::new(0),
        }
    }
}

/// A group of the log's tail.
struct Tail {
    group: u32,
    by: GroupUse,
    head: Box<[u8; BLOCK]>,
}

impl Tail {
    fn end(&self) -> Position {
        Position {
            generation: self.by.generation,
            next: GROUP_BLOCKS,
        }
    }
}

impl Disk {
    /// Takes over what the log has after the checkpoint.
    fn replay(&self, session: u32) -> Result<()> {
        let mut writer = self.writer();
        let tail = self.tail(&mut writer, session)?;
        // What was durable is known to be whole; what came after may have arrived in part.
        for part in &tail {
            if let Head::Used {
                durable: Some(durable),
                ..
            } = read_head(&self.log_id, part.group, &part.head)
            {
                writer.durable = writer.durable.max(durable);
            }
        }
        let mut state = self.state_mut();
        for part in &tail {
            state.groups[part.group as usize] = Group {
                by: Some(part.by),
                live: 0,
            };
        }
        for part in &tail {
            self.replay_group(part, writer.durable, &mut state)?;
        }
        if let Some(last) = tail.last() {
            writer.next_generation = last.by.generation + 1;
        }
        // What came after the last flush that is known of may not be durable, and a sync need not say so: the
        // process before may have been told already. It is written again with the next flush.
        let unknown = tail.iter().any(|part| writer.durable < part.end());
        (writer.suspect, writer.broken) = (unknown, unknown);
        for part in &tail {
            if part.by.generation >= state.committed {
                let now = self.world.clock.now_ms();
                writer.flushed.entry(part.by.generation).or_insert(now);
            }
        }
        Ok(())
    }

    /// Finds the groups that were opened after the checkpoint, in order: the next is the first one of the
    /// free list, or the one after the end.
    fn tail(&self, writer: &mut Writer, mut session: u32) -> Result<Vec<Tail>> {
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
                        next = Some(Tail { group, by, head });
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
                    .resize(writer.end as usize, Group::default());
            }
            session = found.by.session;
            expected += 1;
            tail.push(found);
        }
    }

    fn replay_group(&self, part: &Tail, durable: Position, state: &mut State) -> Result<()> {
        let Tail { group, by, head } = part;
        for at in FIRST..GROUP_BLOCKS {
            let slot = Slot { group: *group, at };
            let here = Position {
                generation: by.generation,
                next: at,
            };
            let is_durable = here < durable;
            let words = match by.read_entry(at, entry_of(head, at)) {
                Told::Nothing => continue,
                // Written by the guest, durable: it is checked when it is read.
                Told::Sound(What::Written(block) | What::Copy(block)) if is_durable => {
                    let range = Range {
                        first: block,
                        count: 1,
                    };
                    vec![(range, slot.word())]
                }
                Told::Damaged if is_durable => {
                    return Err(StorageError::damaged(
                        format!("entry {at} of group {group} of the log"),
                        "which block was written there cannot be told",
                    ));
                }
                Told::Damaged => {
                    self.strike_out(slot)?;
                    continue;
                }
                Told::Sound(_) | Told::Mended(..) => match self.read_entry(by, slot, head)? {
                    Found::Whole(What::Record, content) => match Record::decode(&content) {
                        Some(Record::Size(blocks)) => {
                            state.local.grow(blocks);
                            state.index.map.grow(blocks);
                            continue;
                        }
                        Some(_) => Found::Whole(What::Record, content).words(slot),
                        None => continue,
                    },
                    Found::Broken(What::Record) if is_durable => {
                        return Err(StorageError::damaged(
                            format!("the record {at} of group {group} of the log"),
                            "what became zero there cannot be told",
                        ));
                    }
                    // Not all of it arrived before the power went, and nobody was told that it had.
                    Found::Broken(_) if !is_durable => {
                        self.strike_out(slot)?;
                        continue;
                    }
                    found => found.words(slot),
                },
            };
            for (range, word) in words {
                self.replay_words(range, word, by.generation, state)?;
            }
        }
        Ok(())
    }

    /// Whoever looks at the group later must not take what did not arrive for what is damaged.
    fn strike_out(&self, slot: Slot) -> Result<()> {
        let head = u64::from(slot.group) * GROUP_BYTES;
        self.log
            .write_at(&[0; ENTRY], head + entry_at(slot.at))
            .during(|| "the log of the disk".to_owned())
    }

    fn replay_words(
        &self,
        range: Range,
        word: u32,
        generation: u64,
        state: &mut State,
    ) -> Result<()> {
        for block in range.blocks() {
            if block >= state.local.blocks() {
                break;
            }
            // Untouched blocks need no word to be zero or unknown.
            if matches!(word, NONE | ZERO) && state.local.get(block).is_ok_and(|now| now == word) {
                continue;
            }
            if let Err(StorageError::Damaged { .. }) = state.local.get(block) {
                // Made anew when it is looked at, from the same groups.
                continue;
            }
            state.set_local(block, word)?;
            if word == LOST {
                state.lost.insert(block, generation);
            }
        }
        Ok(())
    }
}
