//! An image that never changes, shared by all disks of a host over it: a plain file that is filled from the
//! store as it is read, or that was whole from the start.
//!
//! Beside the file `NAME` lies `NAME.sums`: 4096 bytes of head, then a word for each block:
//! 0: not here; 1: zero; else the CRC-32C of its content (2 where that is 0 or 1). Several processes fill
//! one cache at once: all of them write the same, and a word that does not fit its block, for whatever
//! reason, only means that the block is fetched again.
//!
//! ```text
//! 0  8  "RoostSu1"
//! 8  4  blocks            integers are little-endian
//! 12 4  1: the file has everything, and what has no word is zero
//! 16 4  CRC-32C of bytes 0..16
//! ```

mod fetch;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use self::fetch::{Ahead, Fetching};

use crate::block::{BLOCK, BlockNumber, blocks_of, is_zero};
use crate::disk::Below;
use crate::error::{During, Result, StorageError};
use crate::index::{Index, Place};
use crate::keys::TenantKeys;
use crate::manifest::Version;
use crate::store::Store;
use crate::sys::SharedWords;

const MAGIC: &[u8; 8] = b"RoostSu1";
const HEAD: usize = 20;
const ABSENT: u32 = 0;
const ZERO: u32 = 1;
/// Bytes that are read from a file at once.
const READ: usize = 1 << 20;

/// Where an image can be fetched from.
#[derive(Clone)]
pub struct Origin {
    pub store: Store,
    pub keys: TenantKeys,
    pub version: Version,
}

impl Origin {
    pub fn new(store: &Store, keys: &TenantKeys, version: Version) -> Self {
        Self {
            store: store.clone(),
            keys: keys.clone(),
            version,
        }
    }
}

/// One image on this host.
pub struct BaseCache {
    image: Arc<Image>,
    ahead: Ahead,
}

struct Image {
    data: File,
    path: PathBuf,
    sums: SharedWords,
    blocks: u32,
    complete: bool,
    origin: Option<Origin>,
    /// Read from the store when something is missing for the first time.
    index: OnceLock<Index>,
    fetching: Fetching,
}

fn sums_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sums");
    name.into()
}

fn head(blocks: u32, complete: bool) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&blocks.to_le_bytes());
    head[12..16].copy_from_slice(&u32::from(complete).to_le_bytes());
    let sum = crc32c::crc32c(&head[..16]);
    head[16..].copy_from_slice(&sum.to_le_bytes());
    head
}

fn sum_of(block: &[u8]) -> u32 {
    crc32c::crc32c(block).max(2)
}

/// Parts of a file that are not holes, bytes.
fn data_ranges(file: &File, length: u64) -> std::io::Result<Vec<Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < length {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?;
        let aligned = start / BLOCK as u64 * BLOCK as u64;
        ranges.push(aligned..end.next_multiple_of(BLOCK as u64).min(length));
        at = end;
    }
    Ok(ranges)
}

/// Reads a raw image in pieces of up to a MiB, but for its holes: offset and content, whole blocks.
pub(crate) fn each_piece(
    file: &File,
    path: &Path,
    mut act: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let name = || path.display().to_string();
    let length = file.metadata().during(name)?.len();
    let mut buffer = vec![0; READ];
    for range in data_ranges(file, length).during(name)? {
        let mut at = range.start;
        while at < range.end {
            let size = (range.end - at).min(READ as u64) as usize;
            let piece = &mut buffer[..size.next_multiple_of(BLOCK)];
            piece[size..].fill(0);
            file.read_exact_at(&mut piece[..size], at).during(name)?;
            act(at, piece)?;
            at += size as u64;
        }
    }
    Ok(())
}

impl BaseCache {
    /// Takes a raw image that is whole for a cache: computes its sums. The file must not change any more.
    pub fn adopt(path: &Path) -> Result<()> {
        let name = || path.display().to_string();
        let file = File::open(path).during(name)?;
        let blocks = blocks_of(file.metadata().during(name)?.len());
        let (sums_file, sums) = new_sums(path, blocks)?;
        each_piece(&file, path, |offset, piece| {
            for (number, block) in piece.chunks(BLOCK).enumerate() {
                if !is_zero(block) {
                    let at = (offset / BLOCK as u64) as usize + number;
                    sums.as_slice()[at].store(sum_of(block), Ordering::Relaxed);
                }
            }
            Ok(())
        })?;
        finish_sums(path, &sums_file, &sums, &head(blocks, true))
    }

    /// Makes an empty cache for an image of so many blocks.
    pub fn create(path: &Path, blocks: u32) -> Result<()> {
        let name = || path.display().to_string();
        let file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(path)
            .during(name)?;
        file.set_len(u64::from(blocks) * BLOCK as u64)
            .during(name)?;
        let (sums_file, sums) = new_sums(path, blocks)?;
        finish_sums(path, &sums_file, &sums, &head(blocks, false))
    }

    /// Whether `path` has been made a cache.
    pub fn exists(path: &Path) -> bool {
        path.exists() && sums_path(path).exists()
    }

    /// Opens a cache. Without an origin it has to be whole.
    pub fn open(path: &Path, origin: Option<Origin>) -> Result<Self> {
        let name = || path.display().to_string();
        let file = File::options()
            .read(true)
            .write(true)
            .open(sums_path(path))
            .during(name)?;
        let mut found = [0; HEAD];
        file.read_exact_at(&mut found, 0).during(name)?;
        let word = |at: usize| {
            u32::from_le_bytes([found[at], found[at + 1], found[at + 2], found[at + 3]])
        };
        let (blocks, complete) = (word(8), word(12) == 1);
        let length = file.metadata().during(name)?.len();
        if found != head(blocks, complete) || length < (BLOCK + blocks as usize * 4) as u64 {
            return Err(StorageError::damaged(
                sums_path(path).display().to_string(),
                "it is not what was written",
            ));
        }
        let sums = SharedWords::map(&file, BLOCK as u64, blocks as usize).during(name)?;
        let open = |writable| File::options().read(true).write(writable).open(path);
        let data = match open(origin.is_some()) {
            // One that is whole may be somebody else's.
            Err(error) if complete && error.kind() == std::io::ErrorKind::PermissionDenied => {
                open(false)
            }
            other => other,
        };
        let data = data.during(name)?;
        let image = Image {
            data,
            path: path.to_owned(),
            sums,
            blocks,
            complete,
            origin,
            index: OnceLock::new(),
            fetching: Fetching::default(),
        };
        Ok(Self {
            image: Arc::new(image),
            ahead: Ahead::new(),
        })
    }

    /// Fetches what is not here, and reads what is: when it returns, all of the image is here and sound. `goes_on` is
    /// asked from time to time; false: it was stopped.
    pub fn fill(&self, goes_on: &dyn Fn() -> bool) -> Result<bool> {
        let mut buffer = vec![0; READ];
        let mut first = 0;
        while first < self.image.blocks {
            if !goes_on() {
                return Ok(false);
            }
            let count = (self.image.blocks - first).min((READ / BLOCK) as u32);
            let piece = &mut buffer[..count as usize * BLOCK];
            self.image.read(first, fetch::MOST_FRAMES, piece)?;
            first += count;
        }
        Ok(true)
    }

    /// Blocks that lie in the file, and so on this host's disk.
    pub fn local_blocks(&self) -> u32 {
        let here = |word: &&AtomicU32| word.load(Ordering::Relaxed) > ZERO;
        self.image.sums.as_slice().iter().filter(here).count() as u32
    }
}

impl Image {
    fn word(&self, block: BlockNumber) -> &AtomicU32 {
        &self.sums.as_slice()[block as usize]
    }

    fn origin(&self) -> Result<&Origin> {
        self.origin.as_ref().ok_or_else(|| {
            StorageError::damaged(
                format!("the image {}", self.path.display()),
                "it is not whole, and it can be fetched from nowhere",
            )
        })
    }

    fn index(&self) -> Result<&Index> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let origin = self.origin()?;
        let (_, manifest) = origin.store.manifest(&origin.keys, &origin.version)?;
        let index = origin.store.whole_index(&origin.keys, &manifest)?;
        Ok(self.index.get_or_init(|| index))
    }

    /// Reads blocks that have words, as many as there are in a row; `None` when the first has not what its
    /// word says.
    fn read_here(&self, first: BlockNumber, buffer: &mut [u8]) -> Result<Option<u32>> {
        let most = (buffer.len() / BLOCK) as u32;
        let run = (first..first + most)
            .take_while(|block| self.word(*block).load(Ordering::Acquire) > ZERO)
            .count();
        let content = &mut buffer[..run * BLOCK];
        self.data
            .read_exact_at(content, u64::from(first) * BLOCK as u64)
            .during(|| self.path.display().to_string())?;
        let sound = content
            .chunks(BLOCK)
            .zip(first..)
            .take_while(|(block, number)| {
                sum_of(block) == self.word(*number).load(Ordering::Acquire)
            })
            .count();
        Ok((sound > 0).then_some(sound as u32))
    }

    /// Keeps blocks that follow each other, unless all of them are here.
    fn keep(&self, first: BlockNumber, content: &[u8]) {
        let sums: Vec<u32> = content.chunks(BLOCK).map(sum_of).collect();
        let words = &self.sums.as_slice()[first as usize..][..sums.len()];
        let mut both = words.iter().zip(&sums);
        if !both.all(|(word, sum)| word.load(Ordering::Acquire) == *sum) {
            self.put(first, content, &sums);
        }
    }

    fn put(&self, first: BlockNumber, content: &[u8], sums: &[u32]) {
        let at = u64::from(first) * BLOCK as u64;
        match self.data.write_all_at(content, at) {
            Ok(()) => {
                let words = &self.sums.as_slice()[first as usize..];
                for (word, sum) in words.iter().zip(sums) {
                    word.store(*sum, Ordering::Release);
                }
            }
            // It was read all the same; that it is not kept costs another fetch.
            Err(error) => tracing::warn!(%error, "fetched blocks are not kept"),
        }
    }
}

impl Image {
    fn zeros(&self, first: BlockNumber, most: u32) -> Result<u32> {
        let within = self.blocks.saturating_sub(first).min(most);
        for number in 0..within {
            let block = first + number;
            let is_zero = match self.word(block).load(Ordering::Acquire) {
                ZERO => true,
                ABSENT if self.complete => true,
                ABSENT => !matches!(self.index()?.place(block)?, Place::Stored { .. }),
                _ => false,
            };
            if !is_zero {
                return Ok(number);
            }
        }
        Ok(most)
    }

    /// Reads blocks; of what is not here, `window` frames at once are fetched.
    fn read(&self, first: BlockNumber, window: u32, buffer: &mut [u8]) -> Result<()> {
        let end = first + (buffer.len() / BLOCK) as u32;
        let mut block = first;
        while block < end {
            let rest = &mut buffer[(block - first) as usize * BLOCK..];
            if block >= self.blocks {
                rest.fill(0);
                return Ok(());
            }
            let within = (self.blocks - block).min(end - block) as usize * BLOCK;
            let rest = &mut rest[..within];
            let word = self.word(block).load(Ordering::Acquire);
            if word == ZERO || word == ABSENT && self.complete {
                rest[..BLOCK].fill(0);
                block += 1;
                continue;
            }
            if word != ABSENT {
                if let Some(count) = self.read_here(block, rest)? {
                    block += count;
                    continue;
                }
                tracing::error!(block, image = %self.path.display(), "a block of an image is damaged");
                // Of one that is whole, no word means zero: there it is found again at every read.
                if !self.complete {
                    self.word(block).store(ABSENT, Ordering::Release);
                }
            }
            let fetched = self.fetch(block, window, rest)?;
            if word != ABSENT && self.complete && fetched > 0 {
                self.put(block, &rest[..BLOCK], &[sum_of(&rest[..BLOCK])]);
            }
            block += fetched;
        }
        Ok(())
    }
}

impl Below for BaseCache {
    fn blocks(&self) -> u32 {
        self.image.blocks
    }

    fn zeros(&self, first: BlockNumber, most: u32) -> Result<u32> {
        self.image.zeros(first, most)
    }

    fn read(&self, first: BlockNumber, buffer: &mut [u8]) -> Result<()> {
        let end = first.saturating_add((buffer.len() / BLOCK) as u32);
        // Of one that is whole, nothing is ever fetched but what is damaged.
        let window = if self.image.complete {
            1
        } else {
            self.ahead.read(&self.image, first..end)
        };
        self.image.read(first, window, buffer)
    }
}

fn new_sums(path: &Path, blocks: u32) -> Result<(File, SharedWords)> {
    let unfinished = unfinished(path);
    let name = || unfinished.display().to_string();
    let file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&unfinished)
        .during(name)?;
    let length = (BLOCK + blocks as usize * 4) as u64;
    file.set_len(length).during(name)?;
    // Room for every word: a mapping cannot say that there is none.
    let flags = rustix::fs::FallocateFlags::empty();
    match rustix::fs::fallocate(&file, flags, 0, length) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(error) => return Err(std::io::Error::from(error)).during(name),
    }
    let sums = SharedWords::map(&file, BLOCK as u64, blocks as usize).during(name)?;
    Ok((file, sums))
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = sums_path(path).into_os_string();
    name.push(format!(".{}", std::process::id()));
    name.into()
}

fn finish_sums(path: &Path, file: &File, sums: &SharedWords, head: &[u8]) -> Result<()> {
    let name = || sums_path(path).display().to_string();
    file.write_all_at(head, 0).during(name)?;
    sums.sync().during(name)?;
    file.sync_all().during(name)?;
    std::fs::rename(unfinished(path), sums_path(path)).during(name)
}
