//! The checkpoint: both maps and all that is known of the log, in one file that is replaced whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::format::{GROUP_BLOCKS, GroupUse};
use super::{Disk, Group, State, Writer};
use crate::block::BlockNumber;
use crate::error::{During, Result, StorageError};
use crate::index::{Index, PackTable};
use crate::keys::ObjectId;
use crate::manifest::Manifest;
use crate::map::{self, BlockMap};
use crate::planted::{self, Bug};

/// Format that this code writes.
const FORMAT: u32 = 1;
const SESSION_MAGIC: &[u8; 8] = b"RoostSe1";

/// What stands in the checkpoint beside the maps.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub format: u32,
    pub log: ObjectId,
    /// Of the process that wrote it.
    pub session: u32,
    /// The log from this generation on comes on top.
    pub next_generation: u64,
    /// Groups that the log has.
    pub end: u32,
    pub committed: u64,
    pub manifest: Manifest,
    /// Blocks whose only copy is damaged, and the generation that it had.
    pub lost: BTreeMap<BlockNumber, u64>,
}

/// A checkpoint that was read.
pub(super) struct Checkpoint {
    pub kept: Kept,
    pub local: BlockMap,
    pub index: Index,
    pub groups: Vec<Group>,
    /// Groups that can be used again, in this order.
    pub free: Vec<u32>,
}

/// ```text
/// 4  bytes of the JSON, then it
/// 4  number of groups, then for each: generation (8), session (4), live (2), limit (2); no generation before
///    its first use
/// 4  number of free groups, then for each: its number (4)
/// 4  number of packs, then their records
/// ```
fn encode(kept: &Kept, groups: &[Group], free: &[u32], packs: &[u8], count: u32) -> Vec<u8> {
    let json = serde_json::to_vec(kept).expect("it has no keys but texts");
    let mut out = (json.len() as u32).to_le_bytes().to_vec();
    out.extend_from_slice(&json);
    out.extend_from_slice(&(groups.len() as u32).to_le_bytes());
    for group in groups {
        let (generation, session) = group.by.map_or((0, 0), |by| (by.generation, by.session));
        out.extend_from_slice(&generation.to_le_bytes());
        out.extend_from_slice(&session.to_le_bytes());
        out.extend_from_slice(&(group.live as u16).to_le_bytes());
        out.extend_from_slice(&(group.limit as u16).to_le_bytes());
    }
    out.extend_from_slice(&(free.len() as u32).to_le_bytes());
    for group in free {
        out.extend_from_slice(&group.to_le_bytes());
    }
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(packs);
    out
}

fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*count) as usize)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

pub(crate) fn decode(mut bytes: &[u8]) -> Option<(Kept, Vec<Group>, Vec<u32>, PackTable)> {
    let bytes = &mut bytes;
    let length = take_count(bytes)?;
    let kept: Kept = serde_json::from_slice(take(bytes, length)?).ok()?;
    let count = take_count(bytes)?;
    let mut groups = Vec::new();
    for (number, group) in take(bytes, count.checked_mul(16)?)?
        .as_chunks::<16>()
        .0
        .iter()
        .enumerate()
    {
        let (words, _) = group.as_chunks::<4>();
        let word = |at: usize| u32::from_le_bytes(words[at]);
        let generation = u64::from(word(0)) | (u64::from(word(1)) << 32);
        let by =
            (generation != 0).then(|| GroupUse::new(&kept.log, number as u32, generation, word(2)));
        groups.push(Group {
            by,
            live: word(3) & 0xffff,
            limit: (word(3) >> 16).min(GROUP_BLOCKS),
        });
    }
    let count = take_count(bytes)?;
    let free: Vec<u32> = take(bytes, count.checked_mul(4)?)?
        .as_chunks::<4>()
        .0
        .iter()
        .map(|group| u32::from_le_bytes(*group))
        .collect();
    let count = take_count(bytes)?;
    let packs = PackTable::read_from(bytes, count as u32)?;
    let sound = bytes.is_empty()
        && groups.len() == kept.end as usize
        && free.iter().all(|group| *group < kept.end);
    sound.then_some((kept, groups, free, packs))
}

/// Reads the checkpoint of `disk`'s folder, if there is one.
pub(super) fn read(
    files: &dyn crate::files::Files,
    folder: &std::path::Path,
) -> Result<Option<Checkpoint>> {
    let path = folder.join("map");
    let Some((maps, owned)) = map::open(files, &path, 2)? else {
        return Ok(None);
    };
    let [local, index] = <[BlockMap; 2]>::try_from(maps).unwrap_or_else(|_| {
        unreachable!("as many maps as were asked for");
    });
    let damaged =
        || StorageError::damaged(format!("the map {}", path.display()), "it makes no sense");
    let (kept, groups, free, packs) = decode(&owned).ok_or_else(damaged)?;
    if kept.format > FORMAT {
        return Err(StorageError::Newer {
            what: format!("the map {}", path.display()),
            found: kept.format,
            known: FORMAT,
        });
    }
    Ok(Some(Checkpoint {
        kept,
        local,
        index: Index { map: index, packs },
        groups,
        free,
    }))
}

/// Who had a disk last: the epoch of its placement, and its session.
pub(super) fn read_session(
    files: &dyn crate::files::Files,
    folder: &std::path::Path,
) -> Result<(u64, u32)> {
    let path = folder.join("session");
    let name = || format!("{}", path.display());
    let file = match files.open(&path, false) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
        other => other.during(name)?,
    };
    let mut bytes = [0; 24];
    file.read_at(&mut bytes, 0).during(name)?;
    decode_session(&bytes)
        .ok_or_else(|| StorageError::damaged(name(), "it is not what was written"))
}

/// Epoch and session, if the bytes are what was written.
pub(crate) fn decode_session(bytes: &[u8]) -> Option<(u64, u32)> {
    let bytes = bytes.as_array::<24>()?;
    let (words, _) = bytes.as_chunks::<4>();
    let word = |at: usize| u32::from_le_bytes(words[at]);
    let sound = bytes[..8] == SESSION_MAGIC[..] && word(5) == crc32c::crc32c(&bytes[..20]);
    sound.then(|| (u64::from(word(2)) | (u64::from(word(3)) << 32), word(4)))
}

impl Disk {
    /// Notes durably that this process has the disk.
    pub(super) fn write_session(&self, session: u32) -> Result<()> {
        let mut bytes = SESSION_MAGIC.to_vec();
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&session.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let path = self.folder.join("session");
        let unfinished = self.folder.join("session.unfinished");
        let files = &self.world.files;
        let attempt = || {
            let file = files.open(&unfinished, true)?;
            file.write_at(&bytes, 0)?;
            file.sync()?;
            files.replace(&unfinished, &path)
        };
        attempt().during(|| path.display().to_string())
    }

    /// Writes a checkpoint: the next open has less of the log to read, and groups in which nothing is
    /// needed any more can be used again.
    pub fn checkpoint(&self) -> Result<()> {
        self.mend_maps()?;
        let mut background = self.background();
        let one = self.flushing();
        if self.writer().suspect {
            self.sync_log(&one)?;
        }
        let (kept, groups, free, local, index, packs, count) = {
            let mut writer = self.writer();
            let generation = self.close_group(&mut writer)?;
            // An empty group stays open, and comes after the checkpoint like every later one.
            let open = writer.open.map(|open| open.group);
            let state = self.state();
            let free = self.free_groups(&writer, &state, open);
            let kept = Kept {
                format: FORMAT,
                log: self.log_id,
                session: match writer.session {
                    super::Session::Before(session) | super::Session::Mine(session) => session,
                },
                next_generation: generation,
                end: writer.end,
                committed: state.committed,
                manifest: state.manifest.clone(),
                lost: state.lost.clone(),
            };
            let mut packs = Vec::new();
            state.index.packs.write_to(&mut packs);
            let count = state.index.packs.count();
            let (local, index) = (state.local.snapshot()?, state.index.map.snapshot()?);
            let mut groups = state.groups.clone();
            if let Some(open) = open {
                groups[open as usize] = Group::new(None);
            }
            (kept, groups, free, local, index, packs, count)
        };
        // What the maps point to has to be there before they are.
        if !planted::is(Bug::CheckpointBeforeLog) {
            self.sync_log(&one)?;
        }
        drop(one);
        let owned = encode(&kept, &groups, &free, &packs, count);
        let path = self.folder.join("map");
        map::write(&*self.world.files, &path, &[&local, &index], &owned)?;
        // Pages that changed before are the file's now, and need no memory of this process.
        let reopened = map::open(&*self.world.files, &path, 2);
        // Dropped last, when everybody can go on.
        let mut _before = None;
        let mut writer = self.writer();
        if let Ok(Some((maps, _))) = reopened
            && let Ok([local, index]) = <[BlockMap; 2]>::try_from(maps)
        {
            let mut state = self.state_mut();
            let local = state.local.go_on_with(local);
            _before = Some((local, state.index.map.go_on_with(index)));
        }
        background.checkpoint = kept.committed;
        writer.broken = false;
        writer.checkpoint = kept.next_generation;
        // Those that were taken since are still in front, in the old order.
        let known: BTreeSet<u32> = writer.free.iter().copied().collect();
        debug_assert!(
            known.iter().all(|group| free.contains(group)),
            "a free group was forgotten"
        );
        let state = self.state();
        for group in free {
            let unused = state.groups[group as usize]
                .by
                .is_none_or(|by| by.generation < kept.next_generation);
            if !known.contains(&group) && unused {
                writer.free.push_back(group);
            }
        }
        Ok(())
    }

    /// Groups that can be used once the checkpoint is durable: those that can be now, in their order, then
    /// those in which nothing is needed any more.
    pub(super) fn free_groups(
        &self,
        writer: &Writer,
        state: &State,
        open: Option<u32>,
    ) -> Vec<u32> {
        let mut free: Vec<u32> = open
            .into_iter()
            .chain(writer.free.iter().copied())
            .collect();
        let known: BTreeSet<u32> = free.iter().copied().collect();
        let groups = state.groups.iter().enumerate();
        free.extend(groups.filter_map(|(number, group)| {
            let number = number as u32;
            let needed = group.live > 0
                || group.by.is_some_and(|by| by.generation >= state.committed)
                || known.contains(&number);
            (!needed).then_some(number)
        }));
        free
    }
}
