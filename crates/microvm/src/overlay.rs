//! The copy-on-write disk of a VM: an empty qcow2 image over an immutable raw one.
//!
//! Written here and not by `qemu-img`: it is four clusters, takes no process, and does not depend on which
//! version of the tools a host has. The format is QEMU's `docs/interop/qcow2.txt`, version 3.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAGIC: &[u8; 4] = b"QFI\xfb";
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Bytes of disk that one entry of the first-level table stands for: a table of 8-byte entries in a cluster.
const BYTES_PER_ENTRY: u64 = CLUSTER / 8 * CLUSTER;
/// The first-level table has one cluster, which is enough for 4 TiB.
const MAX_SIZE: u64 = CLUSTER / 8 * BYTES_PER_ENTRY;
const REFCOUNT_TABLE: u64 = CLUSTER;
const REFCOUNT_BLOCK: u64 = 2 * CLUSTER;
const FIRST_LEVEL_TABLE: u64 = 3 * CLUSTER;
const HEADER: u32 = 104;
/// Where the header has the disk's size, and the number of entries of the first-level table.
const SIZE_AT: u64 = 24;
const ENTRIES_AT: u64 = 36;

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    #[error(
        "a disk of {size} bytes cannot lie over a base of {base}: it must not be smaller, and at most 4 TiB"
    )]
    Size { size: u64, base: u64 },
    #[error("not a copy-on-write disk that Roost made")]
    Foreign,
    #[error("the disk cannot be read or written")]
    Io(#[from] io::Error),
}

/// Makes a new disk of `size` bytes at `path` that shows `base` until it is written to. Durable when it
/// returns, but for the name in its folder.
pub fn create(path: &Path, base: &Path, size: u64) -> Result<(), OverlayError> {
    let base_size = std::fs::metadata(base)?.len();
    let size = size.next_multiple_of(512);
    if size < base_size || size > MAX_SIZE {
        return Err(OverlayError::Size {
            size,
            base: base_size,
        });
    }
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(&header(size, base.as_os_str().as_bytes()))?;
    file.seek(SeekFrom::Start(REFCOUNT_TABLE))?;
    file.write_all(&REFCOUNT_BLOCK.to_be_bytes())?;
    file.seek(SeekFrom::Start(REFCOUNT_BLOCK))?;
    for _cluster_in_use in 0..4 {
        file.write_all(&1u16.to_be_bytes())?;
    }
    file.set_len(FIRST_LEVEL_TABLE + CLUSTER)?;
    file.sync_all()?;
    Ok(())
}

/// Makes the disk of a VM that does not run larger. A smaller size changes nothing.
pub fn grow(path: &Path, size: u64) -> Result<(), OverlayError> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let mut start = [0; 48];
    file.read_exact(&mut start)?;
    let field =
        |at: u64| u64::from_be_bytes(start[at as usize..][..8].try_into().expect("8 bytes"));
    let ours = &start[..4] == MAGIC && field(40) == FIRST_LEVEL_TABLE;
    if !ours {
        return Err(OverlayError::Foreign);
    }
    let size = size.next_multiple_of(512);
    if size <= field(SIZE_AT) {
        return Ok(());
    }
    if size > MAX_SIZE {
        return Err(OverlayError::Size { size, base: 0 });
    }
    // The entries that come into use are zero: the table has its whole cluster from the start. More
    // entries than the size needs are allowed, so they are written first.
    for (at, bytes) in [
        (ENTRIES_AT, entries(size).to_be_bytes().to_vec()),
        (SIZE_AT, size.to_be_bytes().to_vec()),
    ] {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&bytes)?;
        file.sync_all()?;
    }
    Ok(())
}

fn entries(size: u64) -> u32 {
    size.div_ceil(BYTES_PER_ENTRY) as u32
}

fn header(size: u64, base: &[u8]) -> Vec<u8> {
    const BASE_FORMAT: u32 = 0xe279_2aca;
    let extensions = [
        &BASE_FORMAT.to_be_bytes()[..],
        &3u32.to_be_bytes(),
        b"raw\0\0\0\0\0",
        &[0; 8],
    ]
    .concat();
    let base_at = u64::from(HEADER) + extensions.len() as u64;
    [
        &MAGIC[..],
        &3u32.to_be_bytes(),
        &base_at.to_be_bytes(),
        &(base.len() as u32).to_be_bytes(),
        &CLUSTER_BITS.to_be_bytes(),
        &size.to_be_bytes(),
        &0u32.to_be_bytes(), // not encrypted
        &entries(size).to_be_bytes(),
        &FIRST_LEVEL_TABLE.to_be_bytes(),
        &REFCOUNT_TABLE.to_be_bytes(),
        &1u32.to_be_bytes(), // clusters of the refcount table
        &[0; 4 + 8],         // no internal snapshots
        &[0; 3 * 8],         // no feature bits
        &4u32.to_be_bytes(), // refcounts of 2^4 bits
        &HEADER.to_be_bytes(),
        &extensions,
        base,
    ]
    .concat()
}
