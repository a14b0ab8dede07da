//! Packs: up to 4 MiB of blocks in one object, with what they change in an image.
//!
//! Blocks are numbered from 0 in the pack (*slots*) and lie in frames of several, so that neighbours
//! compress together and one request fetches them. What a pack adds to an object's directory:
//!
//! ```text
//!  4  slots
//!  1  blocks of a frame (the last may have fewer)        integers are little-endian
//!  3  zero
//! 16  for each slot: identity of the block, see [`crate::keys::Identities`]
//!  4  number of changes
//! 12  for each: first block (4), blocks (4), and from which slot on they are in this pack (4);
//!     2^32-1 instead of a slot: they are zero from now on
//! ```

use crate::block::{BLOCK, BlockNumber};
use crate::error::Result;
use crate::keys::{Identities, Identity, ObjectId, TenantKeys};
use crate::object::{Directory, Frame, HEADER, Kind, ObjectWriter};

/// Slots of a full pack.
pub const PACK_BLOCKS: usize = 1024;
/// Blocks of a frame of a disk: 64 KiB compress nearly as well as a whole file, and take some 30 µs to open.
pub const DISK_FRAME: u8 = 16;

const ZERO: u32 = u32::MAX;
/// Of a full pack that does not compress, and of its directory.
const ROOM: usize = PACK_BLOCKS * BLOCK + (64 << 10);

/// Blocks of an image that are something else from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub first: BlockNumber,
    pub count: u32,
    /// The slot of the first one; `None` for zeros.
    pub slot: Option<u32>,
}

/// What is known of a pack: enough to read any of its slots with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRef {
    pub id: ObjectId,
    pub key: u32,
    pub slots: u16,
    pub frame_blocks: u8,
    pub frames: Box<[Frame]>,
}

impl PackRef {
    /// What stands in the place of a pack that nobody needs any more: it has no slots, and is in no store.
    pub fn nothing(number: u32) -> Self {
        let mut id = ObjectId::default();
        id.0[12..].copy_from_slice(&number.to_be_bytes());
        Self {
            id,
            key: 0,
            slots: 0,
            frame_blocks: 1,
            frames: Box::default(),
        }
    }

    pub fn is_nothing(&self) -> bool {
        self.slots == 0
    }

    /// Where frame `number` is in the object: offset and stored bytes.
    pub fn frame_range(&self, number: usize) -> std::ops::Range<u64> {
        let before: u64 = self.frames[..number]
            .iter()
            .map(|frame| u64::from(frame.stored))
            .sum();
        let start = HEADER as u64 + before;
        start..start + u64::from(self.frames[number].stored)
    }

    /// Blocks of frame `number`.
    pub fn frame_slots(&self, number: usize) -> std::ops::Range<u32> {
        let start = number as u32 * u32::from(self.frame_blocks);
        start..u32::from(self.slots).min(start + u32::from(self.frame_blocks))
    }

    /// Bytes of all frames as they are stored.
    pub fn stored(&self) -> u64 {
        self.frames
            .iter()
            .map(|frame| u64::from(frame.stored))
            .sum()
    }

    fn is_sound(&self) -> bool {
        let slots = usize::from(self.slots);
        let frames = self.frame_blocks != 0
            && self.frames.len() == slots.div_ceil(usize::from(self.frame_blocks));
        frames && slots <= PACK_BLOCKS
    }

    /// Appends the record that an index keeps: 24 bytes and 4 for each frame.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.key.to_le_bytes());
        out.extend_from_slice(&self.slots.to_le_bytes());
        out.extend_from_slice(&[self.frame_blocks, 0]);
        for frame in &self.frames {
            out.extend_from_slice(&frame.code().to_le_bytes());
        }
    }

    /// Takes such a record off the front of `bytes`.
    pub fn read_from(bytes: &mut &[u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<24>()?;
        let id = ObjectId(*fixed.first_chunk()?);
        let key = u32::from_le_bytes([fixed[16], fixed[17], fixed[18], fixed[19]]);
        let slots = u16::from_le_bytes([fixed[20], fixed[21]]);
        let frame_blocks = fixed[22];
        if frame_blocks == 0 {
            return None;
        }
        let count = usize::from(slots).div_ceil(usize::from(frame_blocks));
        let (codes, rest) = rest.split_at_checked(count * 4)?;
        let frames = codes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|code| Frame::from_code(u32::from_le_bytes(*code)))
            .collect();
        *bytes = rest;
        let pack = Self {
            id,
            key,
            slots,
            frame_blocks,
            frames,
        };
        pack.is_sound().then_some(pack)
    }
}

/// What a pack's directory says beyond its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackContents {
    pub pack: PackRef,
    pub identities: Vec<Identity>,
    pub changes: Vec<Change>,
}

impl PackContents {
    /// Whether a block is something else with this pack.
    pub fn changes_block(&self, block: BlockNumber) -> bool {
        let within = |change: &Change| (change.first..change.first + change.count).contains(&block);
        self.changes.iter().any(within)
    }

    /// Reads it from the directory of the pack `id`, which is sealed with `key`.
    pub fn parse(id: ObjectId, key: u32, directory: &Directory) -> Option<Self> {
        let (head, rest) = directory.extra.split_first_chunk::<8>()?;
        let slots = u32::from_le_bytes(*head.first_chunk()?);
        let pack = PackRef {
            id,
            key,
            slots: u16::try_from(slots).ok()?,
            frame_blocks: head[4],
            frames: directory.frames.iter().map(|frame| frame.frame).collect(),
        };
        if !pack.is_sound() {
            return None;
        }
        for (number, frame) in directory.frames.iter().enumerate() {
            if frame.raw as usize != pack.frame_slots(number).len() * BLOCK {
                return None;
            }
        }
        let (identities, rest) = rest.split_at_checked(slots as usize * 16)?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count) as usize;
        if rest.len() != count.checked_mul(12)? {
            return None;
        }
        let mut changes = Vec::with_capacity(count);
        for entry in rest.as_chunks::<12>().0 {
            let (words, _) = entry.as_chunks::<4>();
            let word = |at: usize| u32::from_le_bytes(words[at]);
            let change = Change {
                first: word(0),
                count: word(1),
                slot: Some(word(2)).filter(|slot| *slot != ZERO),
            };
            let fits = change.slot.is_none_or(|slot| {
                slot.checked_add(change.count)
                    .is_some_and(|end| end <= slots)
            });
            if !fits || change.first.checked_add(change.count).is_none() {
                return None;
            }
            changes.push(change);
        }
        Some(Self {
            pack,
            identities: identities.as_chunks::<16>().0.to_vec(),
            changes,
        })
    }
}

/// Builds one pack in memory. Blocks come in the order of their numbers, which keeps neighbours together.
pub struct PackWriter<'a> {
    object: ObjectWriter,
    identities_of: &'a Identities,
    key: u32,
    frame_blocks: u8,
    /// Blocks of the frame that is not full yet.
    pending: Vec<u8>,
    frames: Vec<Frame>,
    identities: Vec<Identity>,
    changes: Vec<Change>,
}

/// A pack that is ready to be stored.
pub struct Pack {
    pub contents: PackContents,
    pub bytes: Vec<u8>,
}

impl<'a> PackWriter<'a> {
    pub fn new(
        id: ObjectId,
        keys: &TenantKeys,
        identities: &'a Identities,
        frame_blocks: u8,
    ) -> Result<Self> {
        Ok(Self {
            object: ObjectWriter::with_room(Kind::Pack, id, keys, ROOM)?,
            identities_of: identities,
            key: keys.current(),
            frame_blocks,
            pending: Vec::with_capacity(usize::from(frame_blocks) * BLOCK),
            frames: Vec::new(),
            identities: Vec::new(),
            changes: Vec::new(),
        })
    }

    pub fn is_full(&self) -> bool {
        self.identities.len() == PACK_BLOCKS
    }

    /// Nothing was put in.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Block `number` has this content. Not to be called when full.
    pub fn block(&mut self, number: BlockNumber, content: &[u8]) {
        let slot = self.identities.len() as u32;
        self.identities.push(self.identities_of.of(content));
        self.pending.extend_from_slice(content);
        if self.pending.len() == usize::from(self.frame_blocks) * BLOCK {
            self.end_frame();
        }
        match self.changes.last_mut() {
            Some(last)
                if last.first + last.count == number
                    && last.slot.is_some_and(|first| first + last.count == slot) =>
            {
                last.count += 1;
            }
            _ => self.changes.push(Change {
                first: number,
                count: 1,
                slot: Some(slot),
            }),
        }
    }

    /// Blocks are zero from now on.
    pub fn zero(&mut self, first: BlockNumber, count: u32) {
        match self.changes.last_mut() {
            Some(last) if last.slot.is_none() && last.first + last.count == first => {
                last.count += count;
            }
            _ => self.changes.push(Change {
                first,
                count,
                slot: None,
            }),
        }
    }

    fn end_frame(&mut self) {
        self.frames.push(self.object.frame(&self.pending));
        self.pending.clear();
    }

    pub fn finish(mut self) -> Pack {
        if !self.pending.is_empty() {
            self.end_frame();
        }
        let mut extra = Vec::new();
        extra.extend_from_slice(&(self.identities.len() as u32).to_le_bytes());
        extra.extend_from_slice(&[self.frame_blocks, 0, 0, 0]);
        for identity in &self.identities {
            extra.extend_from_slice(identity);
        }
        extra.extend_from_slice(&(self.changes.len() as u32).to_le_bytes());
        for change in &self.changes {
            for word in [change.first, change.count, change.slot.unwrap_or(ZERO)] {
                extra.extend_from_slice(&word.to_le_bytes());
            }
        }
        let id = self.object.id();
        let pack = PackRef {
            id,
            key: self.key,
            slots: self.identities.len() as u16,
            frame_blocks: self.frame_blocks,
            frames: self.frames.into(),
        };
        Pack {
            contents: PackContents {
                pack,
                identities: self.identities,
                changes: self.changes,
            },
            bytes: self.object.finish(&extra),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Entropy, KeyRing, SystemEntropy, Tenant};
    use crate::object::{Opener, open_whole};

    fn keys() -> TenantKeys {
        let ring = KeyRing::generate(&SystemEntropy);
        ring.tenant(&Tenant::new("t").unwrap()).unwrap()
    }

    fn content(number: u32) -> Vec<u8> {
        (0..BLOCK as u32 / 4)
            .flat_map(|word| (word / 3 * number).to_le_bytes())
            .collect()
    }

    fn pack(keys: &TenantKeys) -> Pack {
        let identities = keys.identities();
        let id = SystemEntropy.object_id();
        let mut writer = PackWriter::new(id, keys, &identities, DISK_FRAME).unwrap();
        for number in (10..40).chain([50]) {
            writer.block(number, &content(number));
        }
        writer.zero(60, 4);
        writer.zero(64, 1);
        writer.finish()
    }

    #[test]
    fn a_pack_says_what_it_changes() {
        let keys = keys();
        let Pack { contents, bytes } = pack(&keys);
        let run = |first, count, slot| Change { first, count, slot };
        let expected = [run(10, 30, Some(0)), run(50, 1, Some(30)), run(60, 5, None)];
        assert_eq!(contents.changes, expected);
        let id = contents.pack.id;
        let (raw, directory) = open_whole(Kind::Pack, &id, bytes, &keys).unwrap();
        assert_eq!(PackContents::parse(id, 1, &directory).unwrap(), contents);
        assert!(raw[30 * BLOCK..] == content(50));
        assert_eq!(contents.identities[30], keys.identities().of(&content(50)));
    }

    #[test]
    fn one_frame_is_read_without_the_rest() {
        let keys = keys();
        let Pack { contents, bytes } = pack(&keys);
        let mut record = Vec::new();
        contents.pack.write_to(&mut record);
        let pack = PackRef::read_from(&mut &record[..]).unwrap();
        assert_eq!(pack, contents.pack);
        let opener = Opener::new(Kind::Pack, &pack.id, pack.key, &keys).unwrap();
        let range = pack.frame_range(1);
        let mut stored = bytes[range.start as usize..range.end as usize].to_vec();
        assert_eq!(pack.frame_slots(1), 16..31);
        let mut raw = vec![0; 15 * BLOCK];
        opener
            .frame(1, pack.frames[1].compressed, &mut stored, &mut raw)
            .unwrap();
        assert!(raw[..BLOCK] == content(26));
    }
}
