//! The index of an image: which slot of which pack every block is in. One map, flat, whatever its history.
//!
//! A word is 0: not in this image (the base below it answers), 1: zero, else the pack's number in the
//! index's own table plus one, times 1024, plus the slot.
//!
//! As an object its frames hold, one after the other: the pages of the map that are not all zero, each as
//! the differences between neighbouring words (which makes runs compress), 16 pages to a frame; then the
//! table of packs, [`PackRef::write_to`] each. The directory adds:
//!
//! ```text
//! 4  blocks of the image
//! 4  number of pages, then
//! 4  for each: its number          integers are little-endian
//! 4  number of packs
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use crate::block::{BlockNumber, MAX_BLOCKS};
use crate::error::{Result, StorageError};
use crate::keys::{ObjectId, TenantKeys};
use crate::map::{BlockMap, MapSnapshot, PAGE_WORDS};
use crate::object::{Directory, Kind, ObjectWriter, open_whole};
use crate::pack::{PACK_BLOCKS, PackContents, PackRef};

/// The word of a block that is zero.
pub const ZERO: u32 = 1;
const PAGES_OF_A_FRAME: usize = 16;
/// Bytes of the table of packs in a frame.
const TABLE_FRAME: usize = 256 * 1024;

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not in this image.
    Below,
    Zero,
    /// Number of the pack in [`Index::pack`], and slot.
    Stored {
        pack: u32,
        slot: u32,
    },
}

impl Place {
    pub fn of(word: u32) -> Self {
        match word {
            0 => Self::Below,
            // What lies between is never written; it reads as what is surely wrong to hide.
            _ if word < PACK_BLOCKS as u32 => Self::Zero,
            _ => Self::Stored {
                pack: word / PACK_BLOCKS as u32 - 1,
                slot: word % PACK_BLOCKS as u32,
            },
        }
    }
}

/// The packs that an index refers to.
#[derive(Clone, Debug, Default)]
pub struct PackTable {
    packs: Vec<Arc<PackRef>>,
    numbers: HashMap<ObjectId, u32>,
    /// Numbers of packs that nobody needed any more: they are given anew.
    free: Vec<u32>,
}

impl PackTable {
    pub fn get(&self, number: u32) -> Option<&Arc<PackRef>> {
        self.packs.get(number as usize)
    }

    /// All of them, in the order of their numbers.
    pub fn all(&self) -> impl Iterator<Item = &Arc<PackRef>> {
        self.packs.iter().filter(|pack| !pack.is_nothing())
    }

    /// The number of `pack`, which is new or known.
    pub fn number(&mut self, pack: &PackRef) -> u32 {
        *self.numbers.entry(pack.id).or_insert_with(|| {
            let new = Arc::new(pack.clone());
            match self.free.pop() {
                Some(number) => {
                    self.packs[number as usize] = new;
                    number
                }
                None => {
                    self.packs.push(new);
                    (self.packs.len() - 1) as u32
                }
            }
        })
    }

    /// Leaves packs out that no word of the map names. Gives them.
    pub fn forget_unused(&mut self, map: &MapSnapshot) -> Vec<Arc<PackRef>> {
        let mut used = vec![false; self.packs.len()];
        let words = map.pages.iter().flat_map(|(_, words)| words);
        for word in words {
            if let Place::Stored { pack, .. } = Place::of(*word)
                && let Some(used) = used.get_mut(pack as usize)
            {
                *used = true;
            }
        }
        let mut unused = Vec::new();
        for (number, is_used) in used.into_iter().enumerate() {
            let pack = &mut self.packs[number];
            if !is_used && !pack.is_nothing() {
                let nothing = Arc::new(PackRef::nothing(number as u32));
                let pack = std::mem::replace(pack, nothing);
                self.numbers.remove(&pack.id);
                self.free.push(number as u32);
                unused.push(pack);
            }
        }
        unused
    }

    /// The number of a pack that is one of them.
    pub fn number_of(&self, id: &ObjectId) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    /// Numbers that were ever given.
    pub fn count(&self) -> u32 {
        self.packs.len() as u32
    }

    pub fn write_to(&self, out: &mut Vec<u8>) {
        for pack in &self.packs {
            pack.write_to(out);
        }
    }

    /// Reads `count` records off the front of `bytes`.
    pub fn read_from(bytes: &mut &[u8], count: u32) -> Option<Self> {
        let mut table = Self::default();
        for number in 0..count {
            let pack = PackRef::read_from(bytes)?;
            if pack.is_nothing() {
                table.free.push(number);
            // Twice the same would give two numbers to one.
            } else if table.numbers.insert(pack.id, number).is_some() {
                return None;
            }
            table.packs.push(Arc::new(pack));
        }
        Some(table)
    }
}

/// The index of one image.
pub struct Index {
    pub map: BlockMap,
    pub packs: PackTable,
}

impl Index {
    pub fn empty(blocks: u32) -> Self {
        Self {
            map: BlockMap::empty(blocks),
            packs: PackTable::default(),
        }
    }

    pub fn place(&self, block: BlockNumber) -> Result<Place> {
        self.map.get(block).map(Place::of)
    }

    pub fn pack(&self, number: u32) -> Result<&Arc<PackRef>> {
        self.packs
            .get(number)
            .ok_or_else(|| StorageError::damaged("an index", format!("it has no pack {number}")))
    }

    /// Takes over what a pack changes. Blocks beyond the image's end are left out.
    pub fn apply(&mut self, contents: &PackContents) -> Result<()> {
        let number = self.packs.number(&contents.pack);
        let base = (number + 1) * PACK_BLOCKS as u32;
        for change in &contents.changes {
            let end = (change.first + change.count).min(self.map.blocks());
            let word = |block| match change.slot {
                Some(slot) => base + slot + (block - change.first),
                None => ZERO,
            };
            self.map.set_each(change.first..end, word)?;
        }
        Ok(())
    }
}

/// Seals an index as an object.
pub fn seal(
    map: &MapSnapshot,
    packs: &PackTable,
    id: ObjectId,
    keys: &TenantKeys,
) -> Result<Vec<u8>> {
    let mut object = ObjectWriter::new(Kind::Index, id, keys)?;
    for pages in map.pages.chunks(PAGES_OF_A_FRAME) {
        let mut frame = Vec::with_capacity(pages.len() * PAGE_WORDS * 4);
        for (_, words) in pages {
            let mut before = 0;
            for word in words {
                frame.extend_from_slice(&word.wrapping_sub(before).to_le_bytes());
                before = *word;
            }
        }
        object.frame(&frame);
    }
    let mut table = Vec::new();
    packs.write_to(&mut table);
    for part in table.chunks(TABLE_FRAME) {
        object.frame(part);
    }
    let mut extra = Vec::new();
    extra.extend_from_slice(&map.blocks.to_le_bytes());
    extra.extend_from_slice(&(map.pages.len() as u32).to_le_bytes());
    for (page, _) in &map.pages {
        extra.extend_from_slice(&(*page as u32).to_le_bytes());
    }
    extra.extend_from_slice(&packs.count().to_le_bytes());
    Ok(object.finish(&extra))
}

/// Numbers of the frames that hold the table of packs.
pub fn table_frames(directory: &Directory) -> Option<std::ops::Range<usize>> {
    let count = directory.extra.get(4..8)?.first_chunk()?;
    let pages = u32::from_le_bytes(*count) as usize;
    let first = pages.div_ceil(PAGES_OF_A_FRAME);
    (first <= directory.frames.len()).then_some(first..directory.frames.len())
}

/// Opens a sealed index.
pub fn open(id: &ObjectId, bytes: Vec<u8>, keys: &TenantKeys) -> Result<Index> {
    let (raw, directory) = open_whole(Kind::Index, id, bytes, keys)?;
    parse(&raw, &directory).ok_or_else(|| {
        StorageError::damaged(format!("the index {id}"), "its content makes no sense")
    })
}

pub(crate) fn parse(raw: &[u8], directory: &Directory) -> Option<Index> {
    let (blocks, rest) = directory.extra.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let blocks = u32::from_le_bytes(*blocks);
    let count = u32::from_le_bytes(*count) as usize;
    let (pages, rest) = rest.split_at_checked(count.checked_mul(4)?)?;
    let packs = u32::from_le_bytes(*rest.as_array::<4>()?);
    if blocks > MAX_BLOCKS {
        return None;
    }
    let (words, mut table) = raw.split_at_checked(count * PAGE_WORDS * 4)?;
    let packs = PackTable::read_from(&mut table, packs).filter(|_| table.is_empty())?;
    let mut index = Index {
        map: BlockMap::empty(blocks),
        packs,
    };
    let last_page = (blocks as usize).div_ceil(PAGE_WORDS);
    for (number, content) in pages
        .as_chunks::<4>()
        .0
        .iter()
        .zip(words.chunks(PAGE_WORDS * 4))
    {
        let page = u32::from_le_bytes(*number) as usize;
        if page >= last_page {
            return None;
        }
        let mut word = 0u32;
        for (at, difference) in content.as_chunks::<4>().0.iter().enumerate() {
            word = word.wrapping_add(u32::from_le_bytes(*difference));
            let block = (page * PAGE_WORDS + at) as u32;
            if let Place::Stored { pack, slot } = Place::of(word)
                && index
                    .packs
                    .get(pack)
                    .is_none_or(|pack| slot >= u32::from(pack.slots))
            {
                return None;
            }
            if word != 0 && block < blocks {
                index.map.set(block, word).ok()?;
            }
        }
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Entropy, KeyRing, SystemEntropy, Tenant};
    use crate::pack::{DISK_FRAME, PackWriter};

    fn keys() -> TenantKeys {
        let ring = KeyRing::generate(&SystemEntropy);
        ring.tenant(&Tenant::new("t").unwrap()).unwrap()
    }

    fn contents(keys: &TenantKeys, numbers: &[u32]) -> PackContents {
        let identities = keys.identities();
        let id = SystemEntropy.object_id();
        let mut writer = PackWriter::new(id, keys, &identities, DISK_FRAME).unwrap();
        for number in numbers {
            writer.block(*number, &[*number as u8; 4096]);
        }
        writer.zero(30_000, 2);
        writer.finish().contents
    }

    #[test]
    fn an_index_opens_to_what_was_sealed() {
        let keys = keys();
        let mut index = Index::empty(100_000);
        index.apply(&contents(&keys, &[0, 1, 2, 40_000])).unwrap();
        index.apply(&contents(&keys, &[1, 99_999])).unwrap();
        let id = SystemEntropy.object_id();
        let sealed = seal(&index.map.snapshot().unwrap(), &index.packs, id, &keys).unwrap();
        let opened = open(&id, sealed, &keys).unwrap();
        let place = |block| opened.place(block).unwrap();
        assert_eq!(place(0), Place::Stored { pack: 0, slot: 0 });
        assert_eq!(place(1), Place::Stored { pack: 1, slot: 0 });
        assert_eq!(place(40_000), Place::Stored { pack: 0, slot: 3 });
        assert_eq!(place(99_999), Place::Stored { pack: 1, slot: 1 });
        assert_eq!(place(30_001), Place::Zero);
        assert_eq!(place(5), Place::Below);
        assert!(opened.packs.all().eq(index.packs.all()));
    }

    #[test]
    fn a_pack_that_no_block_is_in_is_left_out_and_its_number_given_anew() {
        let keys = keys();
        let mut index = Index::empty(100_000);
        let packs = [[0, 1], [2, 3], [2, 3]].map(|blocks| contents(&keys, &blocks));
        for pack in &packs {
            index.apply(pack).unwrap();
        }
        let map = index.map.snapshot().unwrap();
        let unused = index.packs.forget_unused(&map);
        assert!(unused.iter().map(|pack| pack.id).eq([packs[1].pack.id]));
        assert!(index.packs.forget_unused(&map).is_empty());
        let id = SystemEntropy.object_id();
        let sealed = seal(&map, &index.packs, id, &keys).unwrap();
        let mut opened = open(&id, sealed, &keys).unwrap();
        for index in [&mut index, &mut opened] {
            let left: Vec<_> = index.packs.all().map(|pack| pack.id).collect();
            assert_eq!(left, [packs[0].pack.id, packs[2].pack.id]);
            index.apply(&contents(&keys, &[5])).unwrap();
            let place = |block| index.place(block).unwrap();
            assert_eq!(place(5), Place::Stored { pack: 1, slot: 0 });
            assert_eq!(place(3), Place::Stored { pack: 2, slot: 1 });
        }
    }

    #[test]
    fn an_index_that_points_nowhere_is_refused() {
        let keys = keys();
        let mut index = Index::empty(2000);
        index.apply(&contents(&keys, &[0])).unwrap();
        index.map.set(1, 1024 + 1).unwrap();
        let id = SystemEntropy.object_id();
        let sealed = seal(&index.map.snapshot().unwrap(), &index.packs, id, &keys).unwrap();
        assert!(matches!(
            open(&id, sealed, &keys),
            Err(StorageError::Damaged { .. })
        ));
    }
}
