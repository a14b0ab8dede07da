//! The local log of a disk, as bytes.
//!
//! The file `log` is a row of *groups* of 256 blocks (1 MiB). The first block of a group is its head, blocks
//! 2 to 255 hold what was written; groups are filled one after the other and used again when nothing in them
//! is needed any more. The head, integers little-endian:
//!
//! ```text
//!  0   8  generation: larger by one than that of the group opened before, for ever
//!  8   4  session: larger by one than that of the process that had the disk before, for ever
//! 12   4  CRC-32C of the log's id, the group's number, generation and session
//! 16   8  everything before here was durable when this was written: generation * 512 + block
//! 24   4  CRC-32C of those eight bytes after the one above
//! 28   4  zero
//! 32  16  for block 2, 3, …: what it is (4), CRC-32C of all that identifies it and its content (4),
//!         zero (4), CRC-32C of all that identifies it and those twelve bytes (4)
//! ```
//!
//! What a block is: the two highest bits say `0` written by the guest, `1` a copy of what the store has,
//! `3` a record; the others are the number of the disk's block, or of a record 0, and 1 for its second copy,
//! which follows the first. A record's content:
//!
//! ```text
//! 0  4  1: blocks are zero from now on; 2: the disk has another size
//! 4  4  number of ranges (at most 511)
//! 8  8  for each: first block (4), blocks (4); for 2: zero, blocks of the disk
//! ```

use crate::block::{BLOCK, BlockNumber};
use crate::keys::ObjectId;

/// Blocks of a group.
pub const GROUP_BLOCKS: u32 = 256;
pub const GROUP_BYTES: u64 = GROUP_BLOCKS as u64 * BLOCK as u64;
/// The first that holds data.
pub const FIRST: u32 = 2;
/// Ranges of a record.
pub const MAX_RANGES: usize = 511;
pub const ENTRY: usize = 16;
pub type Entry = [u8; ENTRY];
const KIND_SHIFT: u32 = 30;

/// Words of the local map that are no slot.
pub const NONE: u32 = 0;
pub const ZERO: u32 = 1;
/// It was there, and is damaged, and nowhere else.
pub const LOST: u32 = u32::MAX;

/// A moment in the log: what comes before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub generation: u64,
    pub next: u32,
}

impl Position {
    /// After everything.
    pub const END: Self = Self {
        generation: u64::MAX,
        next: 0,
    };

    fn code(self) -> u64 {
        (self.generation << 9) + u64::from(self.next)
    }

    fn from_code(code: u64) -> Self {
        Self {
            generation: code >> 9,
            next: (code & 511) as u32,
        }
    }
}

/// What a block of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Written(BlockNumber),
    Copy(BlockNumber),
    Record { second: bool },
}

impl What {
    fn code(self) -> u32 {
        match self {
            Self::Written(block) => block,
            Self::Copy(block) => block | (1 << KIND_SHIFT),
            Self::Record { second } => (3 << KIND_SHIFT) | u32::from(second),
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        let block = code & ((1 << KIND_SHIFT) - 1);
        match code >> KIND_SHIFT {
            0 => Some(Self::Written(block)),
            1 => Some(Self::Copy(block)),
            3 if block <= 1 => Some(Self::Record { second: block == 1 }),
            _ => None,
        }
    }
}

/// Identifies a group in its present use; what every check sum starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupUse {
    pub generation: u64,
    pub session: u32,
    seed: u32,
}

impl GroupUse {
    pub fn new(log: &ObjectId, group: u32, generation: u64, session: u32) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&log.0);
        bytes[16..20].copy_from_slice(&group.to_le_bytes());
        bytes[20..28].copy_from_slice(&generation.to_le_bytes());
        bytes[28..].copy_from_slice(&session.to_le_bytes());
        Self {
            generation,
            session,
            seed: crc32c::crc32c(&bytes),
        }
    }

    /// The first 28 bytes of the head.
    pub fn head(&self, durable: Position) -> [u8; 28] {
        let mut head = [0; 28];
        head[..8].copy_from_slice(&self.generation.to_le_bytes());
        head[8..12].copy_from_slice(&self.session.to_le_bytes());
        head[12..16].copy_from_slice(&self.seed.to_le_bytes());
        head[16..].copy_from_slice(&self.mark(durable));
        head
    }

    /// Bytes 16 to 28 of the head.
    pub fn mark(&self, durable: Position) -> [u8; 12] {
        let code = durable.code().to_le_bytes();
        let mut mark = [0; 12];
        mark[..8].copy_from_slice(&code);
        mark[8..].copy_from_slice(&crc32c::crc32c_append(self.seed, &code).to_le_bytes());
        mark
    }

    /// The entry of block `at` of the group.
    pub fn entry(&self, at: u32, what: What, content: &[u8]) -> Entry {
        let code = what.code();
        let mut entry = [0; ENTRY];
        entry[..4].copy_from_slice(&code.to_le_bytes());
        entry[4..8].copy_from_slice(&self.content_sum(at, code, content).to_le_bytes());
        let sum = self.entry_sum(at, &entry);
        entry[12..].copy_from_slice(&sum.to_le_bytes());
        entry
    }

    fn content_sum(&self, at: u32, code: u32, content: &[u8]) -> u32 {
        let mut about = [0; 8];
        about[..4].copy_from_slice(&at.to_le_bytes());
        about[4..].copy_from_slice(&code.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c_append(self.seed, &about), content)
    }

    fn entry_sum(&self, at: u32, entry: &Entry) -> u32 {
        crc32c::crc32c_append(
            crc32c::crc32c_append(self.seed, &at.to_le_bytes()),
            &entry[..12],
        )
    }

    /// What the entry says of block `at`.
    pub fn read_entry(&self, at: u32, entry: &Entry) -> Told {
        if *entry == [0; ENTRY] {
            return Told::Nothing;
        }
        let sound = |entry: &Entry| {
            (self.entry_sum(at, entry) == word(entry, 12))
                .then(|| What::from_code(word(entry, 0)))?
        };
        if let Some(what) = sound(entry) {
            return Told::Sound(what);
        }
        // One bit that flipped can be put right: no other entry is as near.
        (0..ENTRY * 8)
            .find_map(|bit| {
                let mut mended = *entry;
                mended[bit / 8] ^= 1 << (bit % 8);
                sound(&mended).map(|what| Told::Mended(what, mended))
            })
            .unwrap_or(Told::Damaged)
    }

    /// Whether block `at` still has the content that its entry was written for.
    pub fn holds(&self, at: u32, entry: &Entry, content: &[u8]) -> bool {
        self.content_sum(at, word(entry, 0), content) == word(entry, 4)
    }
}

fn word(entry: &Entry, at: usize) -> u32 {
    u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing was written there in this use of the group.
    Nothing,
    Sound(What),
    /// After one flipped bit was put right; with the entry as it was.
    Mended(What, Entry),
    Damaged,
}

impl Told {
    /// What was written, as far as it can be told.
    pub fn what(self) -> Option<What> {
        match self {
            Self::Sound(what) | Self::Mended(what, _) => Some(what),
            Self::Nothing | Self::Damaged => None,
        }
    }
}

/// Where the entry of block `at` is in its group, bytes.
pub fn entry_at(at: u32) -> u64 {
    u64::from(at) * ENTRY as u64
}

/// The entry of block `at` in a group's head.
pub fn entry_of(head: &[u8; BLOCK], at: u32) -> &Entry {
    &head.as_chunks::<ENTRY>().0[at as usize]
}

/// What a group's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Nothing was ever written there.
    Empty,
    Used {
        by: GroupUse,
        /// `None` when that part is damaged.
        durable: Option<Position>,
    },
    Damaged,
}

fn read_use(log: &ObjectId, group: u32, head: &[u8]) -> Option<GroupUse> {
    let (generation, rest) = head.split_first_chunk::<8>()?;
    let (words, _) = rest.as_chunks::<4>();
    let [session, seed] = words else { return None };
    let session = u32::from_le_bytes(*session);
    let by = GroupUse::new(log, group, u64::from_le_bytes(*generation), session);
    (by.seed == u32::from_le_bytes(*seed)).then_some(by)
}

/// One bit that flipped can be put right.
fn mend_use(log: &ObjectId, group: u32, head: &[u8]) -> Option<GroupUse> {
    (0..head.len() * 8).find_map(|bit| {
        let mut mended = head.to_vec();
        mended[bit / 8] ^= 1 << (bit % 8);
        read_use(log, group, &mended)
    })
}

/// Reads the head of group number `group`.
pub fn read_head(log: &ObjectId, group: u32, head: &[u8; BLOCK]) -> Head {
    let long = |at: usize| {
        let bytes = head[at..].first_chunk().expect("the head is longer");
        u64::from_le_bytes(*bytes)
    };
    if head[..28].iter().all(|byte| *byte == 0) {
        return Head::Empty;
    }
    let found = &head[..16];
    let Some(by) = read_use(log, group, found).or_else(|| mend_use(log, group, found)) else {
        return Head::Damaged;
    };
    let durable = Position::from_code(long(16));
    let sound = by.mark(durable)[..] == head[16..28];
    Head::Used {
        by,
        durable: sound.then_some(durable),
    }
}

/// Something that happened to a disk other than a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Blocks are zero from now on.
    Zero(Vec<Range>),
    /// The disk has this many blocks.
    Size(u32),
}

/// Some blocks of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: BlockNumber,
    pub count: u32,
}

impl Range {
    pub fn blocks(self) -> std::ops::Range<BlockNumber> {
        self.first..self.first.saturating_add(self.count)
    }
}

impl Record {
    /// The content of its block.
    pub fn encode(&self) -> Box<[u8; BLOCK]> {
        let size = [Range { first: 0, count: 0 }];
        let (code, ranges) = match self {
            Self::Zero(ranges) => (1u32, &ranges[..]),
            Self::Size(_) => (2, &size[..]),
        };
        let mut content = Box::new([0; BLOCK]);
        content[..4].copy_from_slice(&code.to_le_bytes());
        content[4..8].copy_from_slice(&(ranges.len() as u32).to_le_bytes());
        for (range, bytes) in ranges.iter().zip(content[8..].as_chunks_mut::<8>().0) {
            let count = if let Self::Size(blocks) = self {
                *blocks
            } else {
                range.count
            };
            bytes[..4].copy_from_slice(&range.first.to_le_bytes());
            bytes[4..].copy_from_slice(&count.to_le_bytes());
        }
        content
    }

    pub fn decode(content: &[u8; BLOCK]) -> Option<Self> {
        let (words, _) = content.as_chunks::<4>();
        let word = |at: usize| u32::from_le_bytes(words[at]);
        let count = word(1) as usize;
        if count > MAX_RANGES {
            return None;
        }
        let ranges = (0..count).map(|number| Range {
            first: word(2 + 2 * number),
            count: word(3 + 2 * number),
        });
        match (word(0), count) {
            (1, _) => Some(Self::Zero(ranges.collect())),
            (2, 1) => Some(Self::Size(word(3))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: ObjectId = ObjectId([9; 16]);

    #[test]
    fn a_head_is_read_in_its_place_and_nowhere_else() {
        let by = GroupUse::new(&LOG, 3, 77, 2);
        let durable = Position {
            generation: 76,
            next: 256,
        };
        let mut head = [0; BLOCK];
        assert_eq!(read_head(&LOG, 3, &head), Head::Empty);
        head[..28].copy_from_slice(&by.head(durable));
        let used = Head::Used {
            by,
            durable: Some(durable),
        };
        assert_eq!(read_head(&LOG, 3, &head), used);
        assert_eq!(read_head(&LOG, 4, &head), Head::Damaged);
        for at in 0..28 {
            let mut flipped = head;
            flipped[at] ^= 4;
            let read = read_head(&LOG, 3, &flipped);
            let mark_only = Head::Used { by, durable: None };
            assert_eq!(read, if at < 16 { used } else { mark_only });
            flipped[(at + 5) % 16] ^= 9;
            if at < 16 {
                assert_eq!(read_head(&LOG, 3, &flipped), Head::Damaged);
            }
        }
    }

    #[test]
    fn an_entry_fits_one_content_in_one_place_of_one_use() {
        let by = GroupUse::new(&LOG, 3, 77, 2);
        let content = [5; BLOCK];
        let what = What::Copy(1234);
        let entry = by.entry(10, what, &content);
        assert_eq!(by.read_entry(10, &entry), Told::Sound(what));
        assert!(by.holds(10, &entry, &content));
        assert!(!by.holds(10, &entry, &[6; BLOCK]));
        assert!(!by.holds(11, &entry, &content));
        let later = GroupUse::new(&LOG, 3, 78, 2);
        let others = GroupUse::new(&LOG, 3, 77, 3);
        for (by, at) in [(by, 11), (later, 10), (others, 10)] {
            assert_eq!(by.read_entry(at, &entry), Told::Damaged);
        }
        assert_eq!(by.read_entry(10, &[0; ENTRY]), Told::Nothing);
    }

    #[test]
    fn a_flipped_bit_in_an_entry_is_put_right_and_two_are_found() {
        let by = GroupUse::new(&LOG, 3, 77, 2);
        let what = What::Written(99);
        let entry = by.entry(200, what, &[5; BLOCK]);
        for bit in 0..128 {
            let mut flipped = entry;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(by.read_entry(200, &flipped), Told::Mended(what, entry));
            let other = (bit + 37) % 128;
            flipped[other / 8] ^= 1 << (other % 8);
            assert_eq!(by.read_entry(200, &flipped), Told::Damaged);
        }
    }

    #[test]
    fn records_are_what_they_were() {
        let range = |first, count| Range { first, count };
        for record in [
            Record::Zero(vec![range(1, 2), range(9, 100)]),
            Record::Zero(vec![range(0, 1); MAX_RANGES]),
            Record::Size(1 << 30),
        ] {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
        assert_eq!(Record::decode(&[7; BLOCK]), None);
    }
}
