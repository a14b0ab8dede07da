//! From a block's number to where it is: one word for each block, mapped from a file and not parsed.
//!
//! A file of maps is written once, whole, and replaced by the next. Its layout, integers little-endian:
//!
//! ```text
//!       0   8  "RoostMp1"
//!       8   4  blocks that each map has
//!      12   4  number of maps
//!      16   8  where the tail begins
//!      24   4  bytes of the tail
//!      28   4  CRC-32C of the tail
//!      32   4  CRC-32C of bytes 0..32
//!    4096      the maps one after the other, each a whole number of pages of 1024 words; pages of zeros
//!              are holes
//!    tail      CRC-32C of every page, in order; then what the owner of the file keeps there
//! ```
//!
//! A page is checked when it is first looked at.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::block::{BLOCK, BlockNumber, MAX_BLOCKS};
use crate::error::{During, Result, StorageError};
use crate::files::{FileHandle, Files, Words};
use crate::sys::Region;

/// Words of a page: a page stands for 4 MiB of disk.
pub const PAGE_WORDS: usize = BLOCK / 4;
const MAGIC: &[u8; 8] = b"RoostMp1";
const HEADER: usize = 36;

/// One bit for each page of a map.
#[derive(Debug, Default)]
struct Bits(Vec<AtomicU64>);

impl Bits {
    fn new(pages: usize) -> Self {
        Self((0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    fn get(&self, page: usize) -> bool {
        self.0
            .get(page / 64)
            .is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (page % 64)) != 0)
    }

    /// A page beyond what there is room for stays unset.
    fn set(&self, page: usize) {
        if let Some(word) = self.0.get(page / 64) {
            word.fetch_or(1 << (page % 64), Ordering::Relaxed);
        }
    }

    fn clear(&self) {
        for word in &self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }

    fn grow(&mut self, pages: usize) {
        self.0.resize_with(pages.div_ceil(64), || AtomicU64::new(0));
    }
}

/// A word for each block of a disk.
pub struct BlockMap {
    words: Words,
    blocks: u32,
    /// Of the pages that came from a file.
    sums: Vec<u32>,
    checked: Bits,
    /// Pages that are not as the file has them.
    changed: Bits,
    /// Pages that changed since the last snapshot.
    since: Bits,
}

impl BlockMap {
    /// All zeros.
    pub fn empty(blocks: u32) -> Self {
        Self {
            words: Words::Mapped(Region::zeros(MAX_BLOCKS as usize)),
            blocks,
            sums: Vec::new(),
            checked: Bits::default(),
            changed: Bits::default(),
            since: Bits::default(),
        }
    }

    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    fn pages(&self) -> usize {
        pages_of(self.blocks)
    }

    /// More blocks, all zeros. The map never shrinks.
    pub fn grow(&mut self, blocks: u32) {
        self.blocks = self.blocks.max(blocks);
        self.ensure_room();
    }

    fn check(&self, page: usize) -> Result<()> {
        let Some(sum) = self.sums.get(page) else {
            return Ok(());
        };
        if self.checked.get(page) {
            return Ok(());
        }
        let words = &self.words.as_slice()[page * PAGE_WORDS..][..PAGE_WORDS];
        if sum_of(words) != *sum {
            let what = format!("page {page} of a block map");
            return Err(StorageError::damaged(what, "it is not what was written"));
        }
        self.checked.set(page);
        Ok(())
    }

    /// The word of `block`; a block beyond the map has none.
    pub fn get(&self, block: BlockNumber) -> Result<u32> {
        if block >= self.blocks {
            return Ok(0);
        }
        self.check(block as usize / PAGE_WORDS)?;
        Ok(self
            .words
            .as_slice()
            .get(block as usize)
            .copied()
            .unwrap_or(0))
    }

    /// The block is within the map.
    pub fn set(&mut self, block: BlockNumber, word: u32) -> Result<()> {
        self.set_each(block..block + 1, |_| word)
    }

    /// Blocks that follow each other, all within the map, get the words that `word` has for them. An error: those on
    /// pages before the damaged one have them.
    pub fn set_each(
        &mut self,
        blocks: Range<BlockNumber>,
        word: impl Fn(BlockNumber) -> u32,
    ) -> Result<()> {
        self.ensure_room();
        let mut first = blocks.start;
        while first < blocks.end {
            let page = first as usize / PAGE_WORDS;
            self.check(page)?;
            let end = blocks.end.min(((page + 1) * PAGE_WORDS) as u32);
            let words = &mut self.words.as_mut_slice()[first as usize..end as usize];
            for (place, block) in words.iter_mut().zip(first..) {
                *place = word(block);
            }
            self.changed.set(page);
            self.since.set(page);
            first = end;
        }
        Ok(())
    }

    /// Forgets everything that a damaged page said: all its blocks have no word.
    pub fn clear_page(&mut self, page: usize) {
        self.ensure_room();
        self.words.as_mut_slice()[page * PAGE_WORDS..][..PAGE_WORDS].fill(0);
        self.checked.set(page);
        self.changed.set(page);
        self.since.set(page);
    }

    fn ensure_room(&mut self) {
        let pages = self.pages();
        self.changed.grow(pages);
        self.since.grow(pages);
        if let Words::Owned(words) = &mut self.words {
            words.resize(pages * PAGE_WORDS, 0);
        }
    }

    /// Pages that have a word in them, checked: page number and words. Damaged ones are given too, as errors.
    pub fn used_pages(&self) -> impl Iterator<Item = (usize, Result<&[u32]>)> {
        let words = self.words.as_slice();
        (0..self.pages().min(words.len() / PAGE_WORDS)).filter_map(move |page| {
            // Looking at it would cost more than the answer.
            let was_hole = self.sums.get(page).is_none_or(|sum| *sum == hole_sum());
            if was_hole && !self.changed.get(page) {
                return None;
            }
            let content = &words[page * PAGE_WORDS..][..PAGE_WORDS];
            match self.check(page) {
                Ok(()) if content.iter().all(|word| *word == 0) => None,
                Ok(()) => Some((page, Ok(content))),
                Err(error) => Some((page, Err(error))),
            }
        })
    }

    /// A copy of what has a word, to be written while the map goes on changing. An error: a page is damaged, and what it
    /// said would be missing.
    pub fn snapshot(&self) -> Result<MapSnapshot> {
        let pages: Result<_> = self
            .used_pages()
            .map(|(page, words)| Ok((page, words?.to_vec())))
            .collect();
        let pages = pages?;
        self.since.clear();
        Ok(MapSnapshot {
            blocks: self.blocks,
            pages,
        })
    }

    /// Pages that are not what was written.
    pub fn damaged_pages(&self) -> Vec<usize> {
        let damaged = self.used_pages().filter(|(_, words)| words.is_err());
        damaged.map(|(page, _)| page).collect()
    }
}

impl BlockMap {
    /// Goes on with `other`, which was opened from a file with the last snapshot: what changed since then is
    /// taken along. Gives what it was before, which takes time to drop: the memory that the older changes took is given
    /// back, and the file that it was opened from is deleted.
    #[must_use]
    pub fn go_on_with(&mut self, mut other: Self) -> Self {
        other.grow(self.blocks);
        let pages = (0..self.pages()).filter(|page| self.since.get(*page));
        for page in pages {
            let range = page * PAGE_WORDS..(page + 1) * PAGE_WORDS;
            let words = &self.words.as_slice()[range.clone()];
            other.words.as_mut_slice()[range].copy_from_slice(words);
            other.checked.set(page);
            other.changed.set(page);
            other.since.set(page);
        }
        std::mem::replace(self, other)
    }
}

/// The words of a map at one moment.
pub struct MapSnapshot {
    pub blocks: u32,
    pub pages: Vec<(usize, Vec<u32>)>,
}

fn pages_of(blocks: u32) -> usize {
    (blocks as usize).div_ceil(PAGE_WORDS)
}

fn to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn sum_of(words: &[u32]) -> u32 {
    let mut page = [0; BLOCK];
    for (bytes, word) in page.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    crc32c::crc32c(&page)
}

fn hole_sum() -> u32 {
    static SUM: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| sum_of(&[0; PAGE_WORDS]));
    *SUM
}

/// Writes a file of maps in the place of the one at `path`, durably. All maps have as many blocks.
pub fn write(files: &dyn Files, path: &Path, maps: &[&MapSnapshot], owned: &[u8]) -> Result<()> {
    let blocks = maps.iter().map(|map| map.blocks).max().unwrap_or(0);
    let pages = pages_of(blocks);
    let unfinished = path.with_extension("unfinished");
    let what = || format!("the map {}", path.display());
    let attempt = || -> io::Result<()> {
        files.remove(&unfinished)?;
        let file = files.open(&unfinished, true)?;
        let mut sums = vec![hole_sum(); pages * maps.len()];
        for (number, map) in maps.iter().enumerate() {
            for (page, words) in &map.pages {
                let at = number * pages + page;
                sums[at] = sum_of(words);
                file.write_at(&to_bytes(words), ((at + 1) * BLOCK) as u64)?;
            }
        }
        let mut tail = to_bytes(&sums);
        tail.extend_from_slice(owned);
        let tail_at = ((maps.len() * pages + 1) * BLOCK) as u64;
        file.write_at(&tail, tail_at)?;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&blocks.to_le_bytes());
        header.extend_from_slice(&(maps.len() as u32).to_le_bytes());
        header.extend_from_slice(&tail_at.to_le_bytes());
        header.extend_from_slice(&(tail.len() as u32).to_le_bytes());
        header.extend_from_slice(&crc32c::crc32c(&tail).to_le_bytes());
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        file.write_at(&header, 0)?;
        file.sync()?;
        files.replace(&unfinished, path)
    };
    attempt().during(what)
}

/// Opens a file of `count` maps. Gives the maps and what their owner keeps beside them; `None` when there
/// is no such file.
pub fn open(
    files: &dyn Files,
    path: &Path,
    count: usize,
) -> Result<Option<(Vec<BlockMap>, Vec<u8>)>> {
    let name = || format!("the map {}", path.display());
    let file = match files.open(path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.during(name)?,
    };
    let damaged = |detail: &str| StorageError::damaged(name(), detail);
    let length = file.length().during(name)?;
    if length < BLOCK as u64 {
        return Err(damaged("it is too short"));
    }
    let mut header = [0; HEADER];
    file.read_at(&mut header, 0).during(name)?;
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let sound = &header[..8] == MAGIC && word(32) == crc32c::crc32c(&header[..32]);
    if !sound {
        return Err(damaged("its header is not what was written"));
    }
    let (blocks, maps, tail_length) = (word(8), word(12) as usize, word(24) as usize);
    let tail_at = u64::from(word(16)) | (u64::from(word(20)) << 32);
    let pages = pages_of(blocks);
    let fits = blocks <= MAX_BLOCKS
        && maps == count
        && tail_at == ((maps * pages + 1) * BLOCK) as u64
        && tail_length >= maps * pages * 4
        && tail_at + tail_length as u64 <= length;
    if !fits {
        return Err(damaged("its header makes no sense"));
    }
    let mut tail = vec![0; tail_length];
    file.read_at(&mut tail, tail_at).during(name)?;
    if crc32c::crc32c(&tail) != word(28) {
        return Err(damaged("its tail is not what was written"));
    }
    let owned = tail.split_off(maps * pages * 4);
    let sums: Vec<u32> = tail
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .collect();
    let opened = (0..maps)
        .map(|number| {
            let offset = ((number * pages + 1) * BLOCK) as u64;
            mapped(&file, offset, blocks, &sums[number * pages..][..pages])
        })
        .collect::<io::Result<_>>()
        .during(name)?;
    Ok(Some((opened, owned)))
}

fn mapped(
    file: &Arc<dyn FileHandle>,
    offset: u64,
    blocks: u32,
    sums: &[u32],
) -> io::Result<BlockMap> {
    let pages = sums.len();
    let words = file.words(offset, pages * PAGE_WORDS, MAX_BLOCKS as usize)?;
    Ok(BlockMap {
        words,
        blocks,
        sums: sums.to_vec(),
        checked: Bits::new(pages),
        changed: Bits::new(pages),
        since: Bits::new(pages),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::HostFiles;

    fn sample() -> BlockMap {
        let mut map = BlockMap::empty(5000);
        for (block, word) in [(0, 1), (1023, 2), (4096, 3), (4999, u32::MAX)] {
            map.set(block, word).unwrap();
        }
        map
    }

    #[test]
    fn a_map_is_what_was_written_and_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        assert!(open(&HostFiles, &path, 2).unwrap().is_none());
        let (first, second) = (sample(), BlockMap::empty(5000));
        let snapshots = [first.snapshot().unwrap(), second.snapshot().unwrap()];
        write(&HostFiles, &path, &[&snapshots[0], &snapshots[1]], b"kept").unwrap();
        let (mut maps, owned) = open(&HostFiles, &path, 2).unwrap().unwrap();
        assert_eq!(owned, b"kept");
        let map = &mut maps[0];
        assert_eq!(map.get(1023).unwrap(), 2);
        assert_eq!(map.get(4999).unwrap(), u32::MAX);
        assert_eq!(map.get(7).unwrap(), 0);
        assert_eq!(map.get(5000).unwrap(), 0);
        map.grow(1 << 20);
        map.set(1 << 19, 9).unwrap();
        assert_eq!(map.get(1 << 19).unwrap(), 9);
        let used: Vec<usize> = map.used_pages().map(|(page, _)| page).collect();
        assert_eq!(used, [0, 4, 512]);
        assert_eq!(maps[1].used_pages().count(), 0);
    }

    #[test]
    fn what_changed_since_a_snapshot_is_taken_along() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        let mut map = sample();
        write(&HostFiles, &path, &[&map.snapshot().unwrap()], b"").unwrap();
        map.grow(9000);
        map.set(2, 7).unwrap();
        map.set(8999, 8).unwrap();
        let (mut maps, _) = open(&HostFiles, &path, 1).unwrap().unwrap();
        drop(map.go_on_with(maps.remove(0)));
        for (block, word) in [
            (0, 1),
            (2, 7),
            (1023, 2),
            (4096, 3),
            (4999, u32::MAX),
            (8999, 8),
        ] {
            assert_eq!(map.get(block).unwrap(), word);
        }
        assert_eq!(map.snapshot().unwrap().pages.len(), 3);
    }

    #[test]
    fn every_flip_in_the_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        write(&HostFiles, &path, &[&sample().snapshot().unwrap()], b"kept").unwrap();
        let good = std::fs::read(&path).unwrap();
        // The rest of the first page is never read.
        for at in (0..HEADER).chain(BLOCK..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bad).unwrap();
            let found = match open(&HostFiles, &path, 1) {
                Err(error) => matches!(error, StorageError::Damaged { .. }),
                Ok(opened) => {
                    let (maps, _) = opened.unwrap();
                    (0..5000).any(|block| maps[0].get(block).is_err())
                }
            };
            assert!(found, "byte {at}");
        }
    }

    #[test]
    fn a_page_that_is_damaged_can_be_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        write(&HostFiles, &path, &[&sample().snapshot().unwrap()], b"").unwrap();
        let mut bad = std::fs::read(&path).unwrap();
        bad[BLOCK + 5] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let (mut maps, _) = open(&HostFiles, &path, 1).unwrap().unwrap();
        assert!(maps[0].get(0).is_err());
        assert_eq!(maps[0].get(4096).unwrap(), 3);
        maps[0].clear_page(0);
        assert_eq!(maps[0].get(0).unwrap(), 0);
    }
}
