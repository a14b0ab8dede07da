//! An image as one standard file: whole, with what the base shows, so that it stands alone.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use crate::block::{BLOCK, BlockNumber, is_zero};
use crate::disk::Below;
use crate::error::{During, Result, StorageError};
use crate::qcow2::{CLUSTER, Layout};
use crate::ranges::BlockRanges;

/// Blocks that are read at once.
const READ: u32 = 256;
const CLUSTER_BLOCKS: u32 = (CLUSTER / BLOCK as u64) as u32;

/// What to do about blocks that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDamage {
    /// Nothing is given that is not whole.
    Refuse,
    /// They become zeros, and are listed.
    GoOn,
}

/// An image that is about to become a qcow2 file, which is written from front to back: what it will have is known
/// before anything is read.
pub struct Qcow2Export<'a> {
    image: &'a dyn Below,
    layout: Layout,
}

impl<'a> Qcow2Export<'a> {
    pub fn new(image: &'a dyn Below) -> Result<Self> {
        let blocks = image.blocks();
        let mut clusters = Vec::new();
        let mut block = 0;
        while block < blocks {
            match image.zeros(block, blocks - block)? {
                0 => {
                    clusters.push(block / CLUSTER_BLOCKS);
                    block = (block / CLUSTER_BLOCKS + 1) * CLUSTER_BLOCKS;
                }
                zeros => block += zeros,
            }
        }
        let layout = Layout::new(u64::from(blocks) * BLOCK as u64, clusters);
        Ok(Self { image, layout })
    }

    /// Of the file, bytes.
    pub fn length(&self) -> u64 {
        self.layout.length()
    }

    /// Writes the file. Says which blocks are zeros in it because they could not be read. `progress` is told how
    /// many bytes of how many are done.
    pub fn write(
        &self,
        out: &mut dyn Write,
        on_damage: OnDamage,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BlockRanges> {
        let name = || "the exported file".to_owned();
        let mut reader = Reader::new(self.image, on_damage);
        self.layout.write_tables(out).during(name)?;
        let mut done = self.layout.length() - self.layout.clusters().len() as u64 * CLUSTER;
        let mut rest = self.layout.clusters();
        while let Some(first) = rest.first() {
            let follow = rest.iter().zip(*first..);
            let most = (READ / CLUSTER_BLOCKS) as usize;
            let run = follow
                .take(most)
                .take_while(|(cluster, expected)| *cluster == expected)
                .count();
            let blocks = run as u32 * CLUSTER_BLOCKS;
            // The last cluster may be longer than the image.
            let content = reader.read(first * CLUSTER_BLOCKS, blocks)?;
            out.write_all(content).during(name)?;
            done += content.len() as u64;
            progress(done, self.layout.length());
            rest = &rest[run..];
        }
        out.flush().during(name)?;
        Ok(reader.damaged)
    }
}

/// Writes an image into an empty file, with holes where it is zero. Says which blocks could not be read.
pub fn raw(
    image: &dyn Below,
    file: &File,
    on_damage: OnDamage,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BlockRanges> {
    let name = || "the exported file".to_owned();
    let blocks = image.blocks();
    let bytes = |blocks: u32| u64::from(blocks) * BLOCK as u64;
    file.set_len(bytes(blocks)).during(name)?;
    let mut reader = Reader::new(image, on_damage);
    let mut block = 0;
    while block < blocks {
        let zeros = image.zeros(block, blocks - block)?;
        if zeros > 0 {
            block += zeros;
            continue;
        }
        let count = READ.min(blocks - block);
        let content = reader.read(block, count)?;
        for (number, content) in (block..).zip(content.chunks(BLOCK)) {
            if !is_zero(content) {
                file.write_all_at(content, bytes(number)).during(name)?;
            }
        }
        block += count;
        progress(bytes(block), bytes(blocks));
    }
    Ok(reader.damaged)
}

struct Reader<'a> {
    image: &'a dyn Below,
    on_damage: OnDamage,
    damaged: BlockRanges,
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(image: &'a dyn Below, on_damage: OnDamage) -> Self {
        Self {
            image,
            on_damage,
            damaged: BlockRanges::default(),
            buffer: vec![0; READ as usize * BLOCK],
        }
    }

    /// Blocks beyond the image's end are zeros.
    fn read(&mut self, first: BlockNumber, blocks: u32) -> Result<&[u8]> {
        let length = blocks as usize * BLOCK;
        let within = self.image.blocks().saturating_sub(first).min(blocks) as usize * BLOCK;
        self.buffer[within..length].fill(0);
        match self.image.read(first, &mut self.buffer[..within]) {
            Ok(()) => {}
            Err(error) if error.is_damage() => self.read_each(first, within)?,
            Err(error) => return Err(error),
        }
        Ok(&self.buffer[..length])
    }

    fn read_each(&mut self, first: BlockNumber, within: usize) -> Result<()> {
        for (block, content) in (first..).zip(self.buffer[..within].chunks_mut(BLOCK)) {
            match self.image.read(block, content) {
                Ok(()) => {}
                Err(error) if error.is_damage() && self.on_damage == OnDamage::GoOn => {
                    content.fill(0);
                    self.damaged.insert(block..block + 1);
                }
                Err(error) if error.is_damage() => {
                    return Err(StorageError::damaged(
                        format!("block {block}"),
                        error.to_string(),
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
