//! A disk that is written to: a local log over what the store has, over an immutable base.
//!
//! ```text
//!   read    local map ──slot──► log           write ──► log, then the local map
//!              │ none                         flush ──► the log is durable on this host
//!            index ───slot───► store          upload ─► sealed groups become packs, then a manifest names them
//!              │ below
//!            base
//! ```
//!
//! Writes are one after the other, and the log has them in that order, so that every prefix of the log is a
//! state that the disk could have had after a power cut. Reads go beside each other and beside writes. Two
//! locks: [`Writer`] for as long as a write takes, [`State`] for as long as looking something up takes.
//!
//! What a process leaves behind when it is killed, or the power when it fails, is the same to the next
//! [`Disk::open`]: the last checkpoint of the maps, and the log's tail after it.

mod batch;
mod beside;
mod branch;
pub(crate) mod checkpoint;
mod clean;
mod compact;
pub mod format;
mod group;
pub mod keeper;

mod read;
mod replay;
mod shown;
mod upload;
mod write;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::branch::fork;
pub use self::replay::OpenDisk;
use crate::block::{BLOCK, BlockNumber, MAX_BLOCKS};
use crate::disk::format::{FIRST, GROUP_BLOCKS, GroupUse, LOST, NONE, Position, ZERO};
use crate::error::{Result, StorageError};
use crate::files::{FileHandle, Files, HostFiles};
use crate::index::Index;
use crate::keys::{Entropy, Identities, ObjectId, SystemEntropy, TenantKeys};
use crate::manifest::{DiskName, Manifest, Version};
use crate::map::BlockMap;
use crate::pack::PackContents;
use crate::store::Store;

/// What shows where a disk has nothing of its own.
pub trait Below: Send + Sync {
    /// Blocks that it has; beyond them everything is zero.
    fn blocks(&self) -> u32;

    /// Reads whole blocks.
    fn read(&self, first: BlockNumber, buffer: &mut [u8]) -> Result<()>;

    /// So many blocks from `first` on, `most` at the most, are known to be zero without being read. There may be more
    /// of them, unless it is none.
    fn zeros(&self, first: BlockNumber, most: u32) -> Result<u32>;

    /// The same of one block.
    fn is_zero(&self, block: BlockNumber) -> Result<bool> {
        Ok(self.zeros(block, 1)? > 0)
    }
}

/// Milliseconds since 1970.
pub trait Clock: Send + Sync {
    fn now_ms(&self) -> u64;
}

/// The host's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
    }
}

/// What a disk stands on.
#[derive(Clone)]
pub struct World {
    pub files: Arc<dyn Files>,
    pub store: Store,
    pub keys: TenantKeys,
    pub entropy: Arc<dyn Entropy>,
    pub clock: Arc<dyn Clock>,
    /// Packs that are made beside each other.
    pub threads: usize,
    /// Writes of so many bytes and more do not keep others waiting while they go to the log.
    pub large: usize,
    /// Packs that a version has beside an index; with more of them, a new index is written.
    pub segments: usize,
    /// So long a pack is sure to stay in the store that no version names yet, milliseconds: no longer than
    /// the grace of whoever collects ([`crate::collect::Rules`]).
    pub hold_ms: u64,
}

impl World {
    /// This host, with its files, its clock and its randomness.
    pub fn new(store: Store, keys: TenantKeys) -> Self {
        Self {
            files: Arc::new(HostFiles),
            store,
            keys,
            entropy: Arc::new(SystemEntropy),
            clock: Arc::new(SystemClock),
            threads: THREADS,
            large: LARGE,
            segments: SEGMENTS,
            hold_ms: HOLD_MS,
        }
    }
}

/// What [`World::threads`] is on a host that has other things to do too.
const THREADS: usize = 2;

/// What [`World::large`] is, but in tests: from here on the host's disk is busy longer than we are.
pub const LARGE: usize = 128 << 10;

/// What [`World::segments`] is, but in tests: whoever opens a version reads something of each.
const SEGMENTS: usize = 64;

/// What [`World::hold_ms`] is where nobody collects sooner than [`crate::collect::Rules::default`].
pub const HOLD_MS: u64 = 3_600_000;

/// An open disk. One process has it at a time: its caller sees to that, with a lock on the folder.
pub struct Disk {
    world: World,
    identities: Identities,
    folder: PathBuf,
    log: Arc<dyn FileHandle>,
    log_id: ObjectId,
    epoch: u64,
    base: Option<Arc<dyn Below>>,
    writer: Mutex<Writer>,
    /// Shared by writes of whole blocks for as long as they take; whoever else writes has it alone.
    beside: RwLock<()>,
    /// A write that had places has had its turn.
    turns: Condvar,
    state: RwLock<State>,
    /// Held by whoever uploads, or writes a checkpoint: one at a time.
    background: Mutex<Background>,
    /// Held for a sync of the log: a failure is told to one caller alone, which has to act on it first.
    flushing: Mutex<()>,
    last_fetch: Mutex<LastFetch>,
    /// Somebody with a newer epoch has the disk: its epoch, else 0.
    fenced: AtomicU64,
    /// What each MiB that is written has to wait, microseconds.
    pace: AtomicU64,
}

/// What is looked up.
struct State {
    local: BlockMap,
    index: Index,
    groups: Vec<Group>,
    /// Newest version that is in the store; number 0 when none is.
    manifest: Manifest,
    /// Groups of lower generations are in that version.
    committed: u64,
    /// Blocks whose only copy is damaged, and the generation that it had.
    lost: BTreeMap<BlockNumber, u64>,
}

/// A group of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// `None` before its first use.
    by: Option<GroupUse>,
    /// Words of the local map that point into it.
    live: u32,
    /// Places from here on are void: what they had was written again after a failed sync.
    limit: u32,
}

impl Group {
    fn new(by: Option<GroupUse>) -> Self {
        Self {
            by,
            live: 0,
            limit: GROUP_BLOCKS,
        }
    }
}

/// A group that is in use.
#[derive(Clone, Copy)]
struct Used {
    group: u32,
    by: GroupUse,
    limit: u32,
}

impl Used {
    fn of(group: &Group, number: u32) -> Option<Self> {
        Some(Self {
            group: number,
            by: group.by?,
            limit: group.limit,
        })
    }
}

/// What writes need to know.
struct Writer {
    open: Option<Open>,
    next_generation: u64,
    /// Of the last checkpoint.
    checkpoint: u64,
    session: Session,
    /// Groups that can be used, in this order; then those from `end` on.
    free: VecDeque<u32>,
    /// Those of them that have no room on the host; after an opening it is not known, and costs a call.
    holes: BTreeSet<u32>,
    end: u32,
    /// Groups that the file has room for.
    allocated: u32,
    /// Everything before is durable.
    durable: Position,
    /// Everything before was promised to be durable, or is in the store.
    promised: Position,
    /// What the open group's head says of it.
    marked: Position,
    /// A sync failed: what is not durable has to be written again, elsewhere.
    suspect: bool,
    /// Since a failed sync there has been no checkpoint.
    broken: bool,
    /// Cuts in this range are of no use: what they stood for was written again later.
    void_cuts: Option<std::ops::RangeInclusive<u64>>,
    /// Writes that got places, and how many of them are done: they take their turns in that order.
    taken: u64,
    turn: u64,
    /// What failed ones of them may have left.
    voids: Vec<beside::Void>,
    /// When a group was first flushed that is not in the store: generation → time.
    flushed: BTreeMap<u64, u64>,
}

/// The writer while no other write is on its way.
struct Alone<'a> {
    writer: MutexGuard<'a, Writer>,
    _alone: RwLockWriteGuard<'a, ()>,
}

impl Deref for Alone<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}

impl DerefMut for Alone<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }
}

#[derive(Clone, Copy, Debug)]
enum Session {
    /// That of the process before; this one has written nothing yet.
    Before(u32),
    Mine(u32),
}

/// The group that is being filled.
#[derive(Clone, Copy)]
struct Open {
    group: u32,
    by: GroupUse,
    /// The block that comes next.
    next: u32,
    /// An attempt failed that may have left entries up to here: nobody may take them for real.
    ghosts: u32,
}

#[derive(Default)]
struct Background {
    /// A version with our epoch is in the store.
    claimed: bool,
    /// What the last checkpoint says of the store: groups of lower generations are there.
    checkpoint: u64,
    /// A version that is on its way.
    pending: Option<Pending>,
    /// Stored by this process since a version last got a name: no such version refers to it.
    young: BTreeSet<Object>,
    /// Of it, what the newest version does without, and so everybody.
    dead: Vec<Object>,
    /// Versions without a name that others have replaced, and that are there yet.
    replaced: Vec<Version>,
}

/// Something in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Pack(ObjectId),
    Index(ObjectId),
}

/// A version that may be in the store already.
struct Pending {
    manifest: Manifest,
    sealed: (ObjectId, Vec<u8>),
    packs: Vec<PackContents>,
    /// Groups of lower generations are in it.
    end: Option<u64>,
    /// When its packs were stored, milliseconds since 1970.
    since_ms: u64,
}

/// What was fetched from the store last, to see when somebody reads on and on.
#[derive(Default)]
struct LastFetch {
    pack: ObjectId,
    end: usize,
    window: usize,
    /// The pack was read to its end.
    at_end: bool,
}

/// Figures of a disk, bytes but where said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    pub size: u64,
    /// The log on the host's disk, but for its holes.
    pub log: u64,
    /// Blocks in it that somebody may still read.
    pub live: u64,
    /// Groups that can be used again.
    pub free: u64,
    /// Groups that can be after the next checkpoint.
    pub freed: u64,
    /// Groups that hold little and that the store has; how many, not bytes.
    pub sparse: u64,
    /// What an opening would have to read on top of the last checkpoint.
    pub tail: u64,
    /// Groups that were ever begun.
    pub written: u64,
    /// Groups that are not in the store yet.
    pub unsent: u64,
    /// Milliseconds since the oldest flush whose data is on this host alone; 0 when there is none.
    pub age_ms: u64,
    /// Blocks whose only copy is damaged; how many, not bytes.
    pub lost: u64,
}

impl Disk {
    /// The writer, with nothing on its way.
    fn writer(&self) -> Alone<'_> {
        let alone = self.beside.write().unwrap_or_else(PoisonError::into_inner);
        Alone {
            writer: self.any_writer(),
            _alone: alone,
        }
    }

    /// The writer; writes that have places may be on their way.
    fn any_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn background(&self) -> MutexGuard<'_, Background> {
        self.background
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn flushing(&self) -> MutexGuard<'_, ()> {
        self.flushing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_fetch(&self) -> MutexGuard<'_, LastFetch> {
        self.last_fetch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_pace(&self, each_mib: Duration) {
        let each_mib = each_mib.as_micros() as u64;
        self.pace.store(each_mib, Ordering::Relaxed);
    }

    /// How long whoever has written so many bytes is to wait before he writes more.
    pub fn pace(&self, bytes: usize) -> Duration {
        let each_mib = self.pace.load(Ordering::Relaxed);
        Duration::from_micros((each_mib * bytes as u64) >> 20)
    }

    pub fn name(&self) -> DiskName {
        self.state().manifest.version.disk.clone()
    }

    /// Which log the versions of this disk's local part are of.
    pub fn log_id(&self) -> ObjectId {
        self.log_id
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        u64::from(self.state().local.blocks()) * BLOCK as u64
    }

    /// Newest version that is in the store; its number is 0 when none is.
    pub fn manifest(&self) -> Manifest {
        self.state().manifest.clone()
    }

    /// Blocks whose only copy is damaged.
    pub fn lost(&self) -> Vec<BlockNumber> {
        self.state().lost.keys().copied().collect()
    }

    pub fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        let (free, oldest, tail) = {
            let writer = self.writer();
            let holes = writer.holes.len() as u64;
            figures.log = u64::from(writer.end) - holes;
            figures.free = writer.free.len() as u64 - holes;
            figures.tail = writer.next_generation - writer.checkpoint;
            figures.written = writer.next_generation;
            let free: BTreeSet<u32> = writer.free.iter().copied().collect();
            let oldest = writer.flushed.first_key_value().map(|(_, time)| *time);
            (free, oldest, writer.checkpoint)
        };
        let state = self.state();
        for (group, number) in state.groups.iter().zip(0..) {
            let Some(by) = group.by else { continue };
            let sent = by.generation < state.committed;
            figures.unsent += u64::from(!sent);
            figures.live += u64::from(group.live);
            let is_freed = sent && group.live == 0 && !free.contains(&number);
            figures.freed += u64::from(is_freed);
            let is_sparse = sent && (1..clean::SPARSE).contains(&group.live);
            figures.sparse += u64::from(is_sparse && by.generation < tail);
        }
        figures.size = u64::from(state.local.blocks());
        figures.lost = state.lost.len() as u64;
        for blocks in [&mut figures.size, &mut figures.live] {
            *blocks *= BLOCK as u64;
        }
        for groups in [
            &mut figures.log,
            &mut figures.free,
            &mut figures.freed,
            &mut figures.tail,
            &mut figures.written,
            &mut figures.unsent,
        ] {
            *groups *= format::GROUP_BYTES;
        }
        let now = self.world.clock.now_ms();
        figures.age_ms = oldest.map_or(0, |oldest| now.saturating_sub(oldest).max(1));
        figures
    }

    /// An error when the disk is somebody else's by now.
    fn check_fence(&self) -> Result<()> {
        match self.fenced.load(Ordering::Relaxed) {
            0 => Ok(()),
            newer => Err(StorageError::Fenced {
                disk: self.name().to_string(),
                epoch: self.epoch,
                newer,
            }),
        }
    }

    fn range(&self, offset: u64, length: usize) -> Result<()> {
        let size = self.size();
        let end = offset.checked_add(length as u64);
        if end.is_some_and(|end| end <= size) {
            Ok(())
        } else {
            Err(StorageError::Invalid(format!(
                "{length} bytes from {offset} on are not within the disk's {size}"
            )))
        }
    }
}

impl State {
    /// The word of `block`; a damaged page of the map is made anew from the log and the store first, which
    /// needs [`Disk::mend_page`].
    fn local(&self, block: BlockNumber) -> Result<u32> {
        self.local.get(block)
    }

    /// Gives `block` another word and keeps count of what points where.
    fn set_local(&mut self, block: BlockNumber, word: u32) -> Result<()> {
        let before = self.local.get(block)?;
        if let Some(slot) = Slot::of(before) {
            let group = &mut self.groups[slot.group as usize];
            group.live = group.live.saturating_sub(1);
        }
        if before == LOST {
            self.lost.remove(&block);
        }
        if let Some(slot) = Slot::of(word) {
            self.groups[slot.group as usize].live += 1;
        }
        self.local.set(block, word)
    }

    /// Groups that are not in the store, oldest first.
    fn uncommitted(&self) -> Vec<Used> {
        let groups = self.groups.iter().zip(0..);
        let mut uncommitted: Vec<Used> = groups
            .filter_map(|(group, number)| Used::of(group, number))
            .filter(|used| used.by.generation >= self.committed)
            .collect();
        uncommitted.sort_unstable_by_key(|used| used.by.generation);
        uncommitted
    }

    /// Counts anew what points into which group.
    fn count_live(&mut self) {
        for group in &mut self.groups {
            group.live = 0;
        }
        for (_, words) in self.local.used_pages() {
            for slot in words
                .into_iter()
                .flatten()
                .filter_map(|word| Slot::of(*word))
            {
                if let Some(group) = self.groups.get_mut(slot.group as usize) {
                    group.live += 1;
                }
            }
        }
    }
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    group: u32,
    at: u32,
}

impl Slot {
    fn of(word: u32) -> Option<Self> {
        (!matches!(word, NONE | ZERO | LOST)).then_some(Self {
            group: word / GROUP_BLOCKS,
            at: word % GROUP_BLOCKS,
        })
    }

    fn word(self) -> u32 {
        self.group * GROUP_BLOCKS + self.at
    }

    /// In the log's file.
    fn offset(self) -> u64 {
        (u64::from(self.group) * u64::from(GROUP_BLOCKS) + u64::from(self.at)) * BLOCK as u64
    }
}

impl Writer {
    /// Groups of lower generations are in the store.
    fn committed_to(&mut self, generation: u64) {
        self.flushed = self.flushed.split_off(&generation);
        self.promised = self.promised.max(Position {
            generation,
            next: FIRST,
        });
    }

    fn position(&self) -> Position {
        match self.open {
            Some(open) => Position {
                generation: open.by.generation,
                next: open.next,
            },
            None => Position {
                generation: self.next_generation,
                next: FIRST,
            },
        }
    }
}

/// Blocks for a disk of `bytes`, if there can be one.
pub fn size_in_blocks(bytes: u64) -> Result<u32> {
    let blocks = bytes.div_ceil(BLOCK as u64);
    if blocks == 0 || blocks > u64::from(MAX_BLOCKS) {
        return Err(StorageError::Invalid(format!(
            "no disk can have {bytes} bytes"
        )));
    }
    Ok(blocks as u32)
}
