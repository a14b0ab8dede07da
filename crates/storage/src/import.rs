//! Storing a file as the first version of a disk: what equals the image below it is left out.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::base::{Origin, each_piece};
use crate::block::{BLOCK, BlockNumber, MAX_BLOCKS, blocks_of, is_zero};
use crate::disk::Below;
use crate::error::{During, Result, StorageError};
use crate::index::Index;
use crate::keys::{Entropy, Identities};
use crate::manifest::{Manifest, Version};
use crate::pack::{DISK_FRAME, PACK_BLOCKS, PackContents, PackWriter};
use crate::parallel;
use crate::qcow2::{Cluster, Qcow2};

/// A file that has a disk in it.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Raw(File),
    Qcow2(Qcow2),
}

/// What parts of a disk are that a qcow2 file has nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncovered {
    /// What the image below shows.
    Base,
    Zero,
}

/// Something that is not as in the image below.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference<'a> {
    Block(BlockNumber, &'a [u8]),
    Zero(Range<BlockNumber>),
}

impl Source {
    /// Opens a file that stands alone; one that is no qcow2 is the plain bytes of a disk.
    pub fn open(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        let file = File::open(path).during(name)?;
        if !Qcow2::is_one(&file).during(name)? {
            let source = Self {
                path: path.to_owned(),
                content: Content::Raw(file),
            };
            return match source.bytes()?.div_ceil(BLOCK as u64) {
                blocks if blocks > u64::from(MAX_BLOCKS) => {
                    let text = format!("{} is larger than any disk can be", path.display());
                    Err(StorageError::Invalid(text))
                }
                _ => Ok(source),
            };
        }
        let layer = Self::layer(path)?;
        match &layer.content {
            Content::Qcow2(qcow2) if qcow2.has_backing() => Err(StorageError::Invalid(format!(
                "{} is one layer of several: make one file of them with qemu-img convert -O qcow2",
                path.display()
            ))),
            _ => Ok(layer),
        }
    }

    /// Opens a qcow2 file that may be a layer over something else.
    pub fn layer(path: &Path) -> Result<Self> {
        let qcow2 = Qcow2::open(path).during(|| path.display().to_string())?;
        Ok(Self {
            path: path.to_owned(),
            content: Content::Qcow2(qcow2),
        })
    }

    /// Size of the disk.
    pub fn bytes(&self) -> Result<u64> {
        match &self.content {
            Content::Raw(file) => {
                let metadata = file.metadata().during(|| self.path.display().to_string())?;
                Ok(metadata.len())
            }
            Content::Qcow2(qcow2) => Ok(qcow2.size),
        }
    }

    /// Gives everything that the file has, in order: offset on the disk, and content.
    fn each(&self, mut act: impl FnMut(u64, Cluster<'_>) -> Result<()>) -> Result<()> {
        match &self.content {
            Content::Raw(file) => each_piece(file, &self.path, |offset, piece| {
                act(offset, Cluster::Data(piece))
            }),
            Content::Qcow2(qcow2) => {
                let read = qcow2.each(|offset, cluster| Ok(act(offset, cluster)?));
                read.map_err(|error| match error {
                    Stopped::Asked(error) => error,
                    Stopped::Reading(source) => StorageError::File {
                        what: self.path.display().to_string(),
                        source,
                    },
                })
            }
        }
    }

    /// Gives everything that is not as `base` shows it, in order. `progress` is told how many bytes of how many
    /// are done.
    pub fn differences(
        &self,
        base: &dyn Below,
        uncovered: Uncovered,
        progress: &mut dyn FnMut(u64, u64),
        act: &mut dyn FnMut(Difference<'_>) -> Result<()>,
    ) -> Result<()> {
        let bytes = self.bytes()?;
        let mut next = 0;
        let mut shown = Vec::new();
        let mut padded = Vec::new();
        self.each(|offset, cluster| {
            let first = (offset / BLOCK as u64) as BlockNumber;
            if uncovered == Uncovered::Zero {
                zeros(base, next..first, act)?;
            }
            match cluster {
                Cluster::Zero(length) => {
                    next = first + blocks_of(length);
                    zeros(base, first..next, act)?;
                }
                Cluster::Data(data) => {
                    padded.clear();
                    padded.extend_from_slice(data);
                    padded.resize(data.len().next_multiple_of(BLOCK), 0);
                    shown.resize(padded.len(), 0);
                    base.read(first, &mut shown)?;
                    let pairs = padded.chunks(BLOCK).zip(shown.chunks(BLOCK));
                    for (block, (content, shown)) in (first..).zip(pairs) {
                        if content != shown {
                            act(Difference::Block(block, content))?;
                        }
                    }
                    next = first + blocks_of(padded.len() as u64);
                }
            }
            progress((u64::from(next) * BLOCK as u64).min(bytes), bytes);
            Ok(())
        })?;
        if uncovered == Uncovered::Zero {
            zeros(base, next..blocks_of(bytes), act)?;
        }
        progress(bytes, bytes);
        Ok(())
    }
}

/// Either kind of error while a qcow2 file is read.
enum Stopped {
    Asked(StorageError),
    Reading(std::io::Error),
}

impl From<StorageError> for Stopped {
    fn from(error: StorageError) -> Self {
        Self::Asked(error)
    }
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::Reading(error)
    }
}

/// Those of some blocks that are zero, and may be something else in the image below.
fn zeros(
    base: &dyn Below,
    blocks: Range<BlockNumber>,
    act: &mut dyn FnMut(Difference<'_>) -> Result<()>,
) -> Result<()> {
    let mut next = blocks.start;
    while next < blocks.end {
        let known = base.zeros(next, blocks.end - next)?;
        let first = next + known;
        next = first;
        while next < blocks.end && !base.is_zero(next)? {
            next += 1;
        }
        if first < next {
            act(Difference::Zero(first..next))?;
        }
    }
    Ok(())
}

/// An image below that has nothing.
struct Nothing;

impl Below for Nothing {
    fn blocks(&self) -> u32 {
        0
    }

    fn read(&self, _first: BlockNumber, buffer: &mut [u8]) -> Result<()> {
        buffer.fill(0);
        Ok(())
    }

    fn zeros(&self, _first: BlockNumber, most: u32) -> Result<u32> {
        Ok(most)
    }
}

/// Stores a file as a version of a disk that there is none of yet, over `base` if it is to lie over one. `threads`:
/// packs that are made beside each other; `progress` is told how many bytes of how many are done.
pub fn import(
    source: &Source,
    origin: &Origin,
    base: Option<(Version, &dyn Below)>,
    entropy: &dyn Entropy,
    threads: usize,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Manifest> {
    let Version {
        tenant,
        disk,
        number,
    } = origin.version.clone();
    let blocks = blocks_of(source.bytes()?);
    let (version, below) = match base {
        Some((version, below)) => (Some(version), below),
        None => (None, &Nothing as &dyn Below),
    };
    let mut manifest = Manifest::unborn(tenant.clone(), disk, blocks, version);
    manifest.version.number = number;
    let mut packer = Packer {
        origin,
        entropy,
        identities: origin.keys.identities(),
        threads: threads.max(1),
        batch: Vec::new(),
        index: Index::empty(blocks),
    };
    source.differences(below, Uncovered::Zero, progress, &mut |difference| {
        packer.take(match difference {
            Difference::Block(block, content) if is_zero(content) => Taken::Zero(block..block + 1),
            Difference::Block(block, content) => Taken::Block(block, content.to_vec()),
            Difference::Zero(range) => Taken::Zero(range),
        })
    })?;
    packer.store_batch()?;
    let id = entropy.object_id();
    let index = &packer.index;
    let sealed = crate::index::seal(&index.map.snapshot()?, &index.packs, id, &origin.keys)?;
    origin.store.put_index(&tenant, &id, sealed)?;
    manifest.index = Some(id);
    let sealed = manifest.seal(&origin.keys, entropy)?;
    origin.store.commit(&origin.keys, &manifest, &sealed)?;
    Ok(manifest)
}

/// Stores a raw image as the first version of a disk that lies over nothing.
pub fn publish(
    path: &Path,
    origin: &Origin,
    entropy: &dyn Entropy,
    threads: usize,
) -> Result<Manifest> {
    import(
        &Source::open(path)?,
        origin,
        None,
        entropy,
        threads,
        &mut |_, _| {},
    )
}

/// Makes packs of what comes, some beside each other.
struct Packer<'a> {
    origin: &'a Origin,
    entropy: &'a dyn Entropy,
    identities: Identities,
    threads: usize,
    batch: Vec<Taken>,
    index: Index,
}

enum Taken {
    Block(BlockNumber, Vec<u8>),
    Zero(Range<BlockNumber>),
}

impl Packer<'_> {
    fn take(&mut self, taken: Taken) -> Result<()> {
        self.batch.push(taken);
        // A pack for each thread.
        if self.batch.len() == PACK_BLOCKS * self.threads {
            self.store_batch()?;
        }
        Ok(())
    }

    fn store_batch(&mut self) -> Result<()> {
        let parts: Vec<&[Taken]> = self.batch.chunks(PACK_BLOCKS).collect();
        let made = parallel::each(self.threads, &parts, || {}, |part| self.store_pack(part))?;
        self.batch.clear();
        for contents in made {
            self.index.apply(&contents)?;
        }
        Ok(())
    }

    fn store_pack(&self, part: &[Taken]) -> Result<PackContents> {
        let id = self.entropy.object_id();
        let keys = &self.origin.keys;
        let mut pack = PackWriter::new(id, keys, &self.identities, DISK_FRAME)?;
        for taken in part {
            match taken {
                Taken::Block(block, content) => pack.block(*block, content),
                Taken::Zero(range) => pack.zero(range.start, range.len() as u32),
            }
        }
        let pack = pack.finish();
        let contents = pack.contents.clone();
        self.origin.store.put_pack(keys.tenant(), pack)?;
        Ok(contents)
    }
}
