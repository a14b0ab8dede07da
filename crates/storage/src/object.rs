//! The one container that everything in the store is kept in: sealed frames, then a sealed directory.
//!
//! ```text
//!  0   8  "RoostOb1"
//!  8   1  kind
//!  9   3  zero
//! 12   4  id of the master key                              integers are little-endian
//! 16  16  id of the object, random
//! 32      frames, each an LZ4 block (or the plain bytes, if that is not larger), sealed
//!         the directory, sealed:
//!           4  number of frames
//!           8  for each: stored bytes with the tag, top bit: not compressed (4); bytes when opened (4)
//!              what this kind of object adds
//!  end-16  4  stored bytes of the directory, with the tag
//!  end-12  4  CRC-32C of those four bytes
//!  end-8   8  "RoostEnd"
//! ```
//!
//! Sealed is AES-256-GCM under the object's own key ([`crate::keys`]); the nonce is four zero bytes and the
//! frame's number (the directory's is 2^64-1), the header is authenticated with every part. So a flipped
//! bit anywhere, a cut end, and an object in another's place are all found before a byte is used.

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use crate::error::{Result, StorageError};
use crate::keys::{ObjectId, ObjectKey, TAG, TenantKeys};

const MAGIC: &[u8; 8] = b"RoostOb1";
const END: &[u8; 8] = b"RoostEnd";
/// Bytes before the first frame.
pub const HEADER: usize = 32;
/// Bytes after the directory.
pub const FOOTER: usize = 16;
const DIRECTORY_PART: u64 = u64::MAX;
const PLAIN: u32 = 1 << 31;
/// A frame is tried out at so many places, with so many bytes each.
const SAMPLES: usize = 4;
const SAMPLE: usize = 3072;
/// No directory is larger; a longer one is damage, and is not allocated for.
const MAX_DIRECTORY: usize = 64 << 20;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Blocks of an image, see [`crate::pack`].
    Pack,
    /// Where the blocks of an image are, see [`crate::index`].
    Index,
    /// One version of an image, see [`crate::manifest`].
    Manifest,
    /// What collecting needs to know, see [`crate::collect`].
    Note,
    /// A file beside a disk, see [`crate::store::Attachment`].
    Attachment,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Pack => 1,
            Self::Index => 2,
            Self::Manifest => 3,
            Self::Note => 4,
            Self::Attachment => 5,
        }
    }
}

fn header(kind: Kind, key: u32, id: &ObjectId) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8] = kind.code();
    header[12..16].copy_from_slice(&key.to_le_bytes());
    header[16..].copy_from_slice(&id.0);
    header
}

/// How a frame is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes in the object, with the tag.
    pub stored: u32,
    pub compressed: bool,
}

impl Frame {
    /// The four bytes that say so, as they also stand in an index.
    pub fn code(self) -> u32 {
        self.stored | if self.compressed { 0 } else { PLAIN }
    }

    pub fn from_code(code: u32) -> Self {
        Self {
            stored: code & !PLAIN,
            compressed: code & PLAIN == 0,
        }
    }
}

/// Builds one object in memory.
pub struct ObjectWriter {
    bytes: Vec<u8>,
    header: [u8; HEADER],
    key: ObjectKey,
    id: ObjectId,
    frames: Vec<(Frame, u32)>,
    table: CompressTable,
}

impl ObjectWriter {
    /// `id` is new: it has never been used for an object of this tenant.
    pub fn new(kind: Kind, id: ObjectId, keys: &TenantKeys) -> Result<Self> {
        Self::with_room(kind, id, keys, 0)
    }

    /// The same with room for so many bytes in frames, which need not be made bit by bit.
    pub fn with_room(kind: Kind, id: ObjectId, keys: &TenantKeys, room: usize) -> Result<Self> {
        let header = header(kind, keys.current(), &id);
        let mut bytes = Vec::with_capacity(HEADER + room);
        bytes.extend_from_slice(&header);
        Ok(Self {
            bytes,
            header,
            key: keys.object(keys.current(), &id)?,
            id,
            frames: Vec::new(),
            table: CompressTable::large(),
        })
    }

    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// Appends a frame and tells how it is stored.
    pub fn frame(&mut self, raw: &[u8]) -> Frame {
        let start = self.bytes.len();
        self.bytes
            .resize(start + get_maximum_output_size(raw.len()), 0);
        let packed = self.seems_to_compress(raw, start).then(|| {
            let room = &mut self.bytes[start..];
            compress_into_with_table(raw, room, &mut self.table)
        });
        let compressed = match packed {
            Some(Ok(length)) if length < raw.len() => {
                self.bytes.truncate(start + length);
                true
            }
            _ => {
                self.bytes.truncate(start);
                self.bytes.extend_from_slice(raw);
                false
            }
        };
        let part = self.frames.len() as u64;
        self.key.seal(part, &self.header, &mut self.bytes, start);
        let frame = Frame {
            stored: (self.bytes.len() - start) as u32,
            compressed,
        };
        self.frames.push((frame, raw.len() as u32));
        frame
    }

    /// Whether it is worth while to compress `raw`: of a long one, samples tell. What is packed already, or random,
    /// takes the compressor longest and gains nothing. The bytes from `start` on are room to try it in.
    fn seems_to_compress(&mut self, raw: &[u8], start: usize) -> bool {
        if raw.len() < SAMPLES * 4 * SAMPLE {
            return true;
        }
        (0..SAMPLES).any(|number| {
            let sample = &raw[number * (raw.len() / SAMPLES)..][..SAMPLE];
            let room = &mut self.bytes[start..];
            let packed = compress_into_with_table(sample, room, &mut self.table);
            packed.is_ok_and(|length| length < SAMPLE - SAMPLE / 64)
        })
    }

    /// Closes the object; `extra` is what its kind adds to the directory.
    pub fn finish(mut self, extra: &[u8]) -> Vec<u8> {
        let start = self.bytes.len();
        let out = &mut self.bytes;
        out.extend_from_slice(&(self.frames.len() as u32).to_le_bytes());
        for (frame, raw) in &self.frames {
            out.extend_from_slice(&frame.code().to_le_bytes());
            out.extend_from_slice(&raw.to_le_bytes());
        }
        out.extend_from_slice(extra);
        self.key.seal(DIRECTORY_PART, &self.header, out, start);
        let length = ((out.len() - start) as u32).to_le_bytes();
        out.extend_from_slice(&length);
        out.extend_from_slice(&crc32c::crc32c(&length).to_le_bytes());
        out.extend_from_slice(END);
        self.bytes
    }
}

/// What is known of an object whose key is known: enough to open any of its frames.
#[derive(Debug)]
pub struct Opener {
    header: [u8; HEADER],
    key: ObjectKey,
    name: String,
}

impl Opener {
    pub fn new(kind: Kind, id: &ObjectId, key: u32, keys: &TenantKeys) -> Result<Self> {
        Ok(Self {
            header: header(kind, key, id),
            key: keys.object(key, id)?,
            name: format!("the object {id}"),
        })
    }

    /// From the object's first bytes, which say which key it is sealed with.
    pub fn from_start(kind: Kind, id: &ObjectId, start: &[u8], keys: &TenantKeys) -> Result<Self> {
        let Some(found) = start.first_chunk::<HEADER>() else {
            return Err(StorageError::damaged(
                format!("the object {id}"),
                "it is too short",
            ));
        };
        let key = u32::from_le_bytes([found[12], found[13], found[14], found[15]]);
        if *found != header(kind, key, id) {
            let detail = "its header is not the one that was written";
            return Err(StorageError::damaged(format!("the object {id}"), detail));
        }
        Self::new(kind, id, key, keys)
    }

    pub(crate) fn damaged(&self, detail: impl Into<String>) -> StorageError {
        StorageError::damaged(&self.name, detail)
    }

    /// Opens frame `number`, whose stored bytes are `stored` (and are used up), into `raw`, which has the
    /// length that the frame had.
    pub fn frame(
        &self,
        number: u32,
        compressed: bool,
        stored: &mut [u8],
        raw: &mut [u8],
    ) -> Result<()> {
        let opened = self.key.open(u64::from(number), &self.header, stored);
        let Some(opened) = opened else {
            return Err(self.damaged(format!("frame {number} is not what was written")));
        };
        let length = if compressed {
            decompress_into(opened, raw).ok()
        } else if opened.len() == raw.len() {
            raw.copy_from_slice(opened);
            Some(raw.len())
        } else {
            None
        };
        if length == Some(raw.len()) {
            Ok(())
        } else {
            Err(self.damaged(format!("frame {number} has another length")))
        }
    }

    /// Opens the directory from the last bytes of an object of `length` bytes, or says how many of its last
    /// bytes are needed.
    pub fn directory(
        &self,
        length: u64,
        tail: &mut [u8],
    ) -> Result<std::result::Result<Directory, usize>> {
        let Some((before, footer)) = tail.split_last_chunk_mut::<FOOTER>() else {
            return Err(self.damaged("it is too short"));
        };
        let (size, rest) = footer.split_first_chunk::<4>().expect("16 bytes");
        let (check, end) = rest.split_first_chunk::<4>().expect("12 bytes");
        let stored = u32::from_le_bytes(*size) as usize;
        let sound = end == END && u32::from_le_bytes(*check) == crc32c::crc32c(size);
        let room = length.saturating_sub((HEADER + FOOTER) as u64);
        if !sound || !(TAG..=MAX_DIRECTORY).contains(&stored) || stored as u64 > room {
            return Err(self.damaged("its end is not what was written"));
        }
        let Some(start) = before.len().checked_sub(stored) else {
            return Ok(Err(stored + FOOTER));
        };
        let opened = self
            .key
            .open(DIRECTORY_PART, &self.header, &mut before[start..]);
        let Some(opened) = opened else {
            return Err(self.damaged("its directory is not what was written"));
        };
        let frames_end = length - (stored + FOOTER) as u64;
        Directory::parse(opened, frames_end)
            .map(Ok)
            .ok_or_else(|| self.damaged("its directory makes no sense"))
    }
}

/// Where the frames of an object are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub frames: Vec<DirectoryFrame>,
    pub extra: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryFrame {
    /// From the object's start.
    pub offset: u64,
    pub frame: Frame,
    /// Bytes when opened.
    pub raw: u32,
}

impl Directory {
    pub(crate) fn parse(bytes: &[u8], frames_end: u64) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let (entries, extra) = rest.split_at_checked(count.checked_mul(8)?)?;
        let mut offset = HEADER as u64;
        let mut frames = Vec::with_capacity(count);
        for entry in entries.as_chunks::<8>().0 {
            let word = |at: usize| {
                u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
            };
            let frame = Frame::from_code(word(0));
            frames.push(DirectoryFrame {
                offset,
                frame,
                raw: word(4),
            });
            offset += u64::from(frame.stored);
        }
        (offset == frames_end).then(|| Self {
            frames,
            extra: extra.to_vec(),
        })
    }
}

/// Opens a whole object: its frames one after the other, and what its kind adds.
pub fn open_whole(
    kind: Kind,
    id: &ObjectId,
    mut bytes: Vec<u8>,
    keys: &TenantKeys,
) -> Result<(Vec<u8>, Directory)> {
    let opener = Opener::from_start(kind, id, &bytes, keys)?;
    let length = bytes.len() as u64;
    let directory = opener
        .directory(length, &mut bytes)?
        .map_err(|_| opener.damaged("it is too short"))?;
    let total = directory
        .frames
        .iter()
        .map(|frame| frame.raw as usize)
        .sum();
    if total > MAX_WHOLE {
        return Err(opener.damaged("it is larger than any that was ever written"));
    }
    let mut raw = vec![0; total];
    let mut at = 0;
    for (number, frame) in directory.frames.iter().enumerate() {
        let stored = &mut bytes[frame.offset as usize..][..frame.frame.stored as usize];
        let end = at + frame.raw as usize;
        opener.frame(
            number as u32,
            frame.frame.compressed,
            stored,
            &mut raw[at..end],
        )?;
        at = end;
    }
    Ok((raw, directory))
}

/// An index of the largest disk, with room to spare.
const MAX_WHOLE: usize = 8 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Entropy, KeyRing, SystemEntropy, Tenant};

    fn keys() -> TenantKeys {
        let ring = KeyRing::generate(&SystemEntropy);
        ring.tenant(&Tenant::new("t").unwrap()).unwrap()
    }

    fn object(keys: &TenantKeys) -> (ObjectId, Vec<u8>, Vec<u8>) {
        let id = SystemEntropy.object_id();
        let mut writer = ObjectWriter::new(Kind::Pack, id, keys).unwrap();
        let soft = vec![b'a'; 70_000];
        let mut hard = vec![0; 5_000];
        SystemEntropy.fill(&mut hard);
        assert!(writer.frame(&soft).compressed);
        assert!(!writer.frame(&hard).compressed);
        writer.frame(&[]);
        (id, writer.finish(b"more"), [soft, hard].concat())
    }

    #[test]
    fn an_object_opens_to_what_was_written() {
        let keys = keys();
        let (id, bytes, raw) = object(&keys);
        let (opened, directory) = open_whole(Kind::Pack, &id, bytes, &keys).unwrap();
        assert!(opened == raw);
        assert_eq!(directory.extra, b"more");
        assert_eq!(directory.frames.len(), 3);
    }

    #[test]
    fn every_flip_every_cut_and_every_exchange_is_found() {
        let keys = keys();
        let (id, bytes, _) = object(&keys);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let found = open_whole(Kind::Pack, &id, flipped, &keys).unwrap_err();
            let fine = matches!(found, StorageError::Damaged { .. } | StorageError::NoKey(_));
            assert!(fine, "byte {at}: {found}");
        }
        for length in 0..bytes.len() {
            assert!(open_whole(Kind::Pack, &id, bytes[..length].to_vec(), &keys).is_err());
        }
        let (other, ..) = object(&keys);
        assert!(open_whole(Kind::Pack, &other, bytes.clone(), &keys).is_err());
        assert!(open_whole(Kind::Index, &id, bytes, &keys).is_err());
    }

    #[test]
    fn a_directory_says_how_much_of_the_end_it_needs() {
        let keys = keys();
        let (id, bytes, _) = object(&keys);
        let opener = Opener::from_start(Kind::Pack, &id, &bytes, &keys).unwrap();
        let length = bytes.len() as u64;
        let mut short = bytes[bytes.len() - FOOTER..].to_vec();
        let needed = opener.directory(length, &mut short).unwrap().unwrap_err();
        let mut tail = bytes[bytes.len() - needed..].to_vec();
        let directory = opener.directory(length, &mut tail).unwrap().unwrap();
        assert_eq!(directory.extra, b"more");
    }
}
