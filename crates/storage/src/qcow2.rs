//! qcow2 files, which other programs read and write: QEMU's `docs/interop/qcow2.txt`, version 3. Here is what reads
//! them, in [`layout`] what writes them.

mod layout;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub use self::layout::Layout;
use crate::block::{BLOCK, MAX_BLOCKS};

const MAGIC: &[u8; 4] = b"QFI\xfb";
const HEADER: usize = 104;
const CLUSTER_BITS: u32 = 16;
/// Bytes of a cluster of a file that is written here.
pub const CLUSTER: u64 = 1 << CLUSTER_BITS;
const COMPRESSED: u64 = 1 << 62;
const ALL_ZERO: u64 = 1;
/// Of an entry in either table, the place in the file.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Feature bits that change nothing about reading: the file was not closed in order, and its reference counts may
/// be wrong.
const DIRTY: u64 = 1;

/// What the file has of the disk.
#[derive(Debug, PartialEq, Eq)]
pub enum Cluster<'a> {
    Data(&'a [u8]),
    /// So many bytes.
    Zero(u64),
}

/// One image.
#[derive(Debug)]
pub struct Qcow2 {
    file: File,
    /// Of the disk, bytes.
    pub size: u64,
    cluster: u64,
    table: Vec<u64>,
    /// What is not in this file is in another one.
    has_backing: bool,
}

impl Qcow2 {
    /// Whether a file says that it is one.
    pub fn is_one(file: &File) -> io::Result<bool> {
        let mut magic = [0; 4];
        match file.read_exact_at(&mut magic, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| magic == *MAGIC),
        }
    }

    pub fn open(path: &Path) -> io::Result<Self> {
        Self::read(File::open(path)?)
    }

    pub fn read(file: File) -> io::Result<Self> {
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)?;
        let word = |at: usize| u32::from_be_bytes(*header[at..].first_chunk().expect("4 bytes"));
        let long = |at: usize| u64::from_be_bytes(*header[at..].first_chunk().expect("8 bytes"));
        let cluster_bits = word(20);
        let is_known = &header[..4] == MAGIC
            && word(4) == 3
            && (BLOCK.trailing_zeros()..=21).contains(&cluster_bits)
            && word(32) == 0
            && long(72) & !DIRTY == 0;
        if !is_known {
            return Err(invalid(
                "it is no plain qcow2 file of version 3: write it anew with qemu-img convert -O qcow2",
            ));
        }
        let size = long(24);
        let (entries, at) = (u64::from(word(36)), long(40));
        if size.div_ceil(BLOCK as u64) > u64::from(MAX_BLOCKS) || entries > 1 << 20 {
            return Err(invalid("it is larger than any disk can be"));
        }
        Ok(Self {
            has_backing: long(8) != 0,
            table: longs(&file, at, entries)?,
            file,
            size,
            cluster: 1 << cluster_bits,
        })
    }

    /// Whether it is of use only together with another file.
    pub fn has_backing(&self) -> bool {
        self.has_backing
    }

    /// Gives everything that the file has, in order: offset on the disk, and content.
    pub fn each<E: From<io::Error>>(
        &self,
        mut act: impl FnMut(u64, Cluster<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let per_table = self.cluster / 8;
        let mut buffer = vec![0; self.cluster as usize];
        for (number, entry) in (0..).zip(&self.table) {
            let at = entry & OFFSET;
            if number * per_table * self.cluster >= self.size {
                break;
            }
            if at == 0 {
                continue;
            }
            for (place, entry) in (0..).zip(longs(&self.file, at, per_table)?) {
                let offset = (number * per_table + place) * self.cluster;
                if offset >= self.size || entry & (OFFSET | ALL_ZERO) == 0 {
                    continue;
                }
                if entry & COMPRESSED != 0 {
                    return Err(invalid(
                        "it is compressed: write it anew with qemu-img convert -O qcow2",
                    )
                    .into());
                }
                let length = self.cluster.min(self.size - offset);
                if entry & ALL_ZERO != 0 {
                    act(offset, Cluster::Zero(length))?;
                    continue;
                }
                let data = &mut buffer[..length as usize];
                self.file.read_exact_at(data, entry & OFFSET)?;
                act(offset, Cluster::Data(data))?;
            }
        }
        Ok(())
    }
}

fn longs(file: &File, at: u64, count: u64) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; count as usize * 8];
    file.read_exact_at(&mut bytes, at)?;
    let longs = bytes.chunks_exact(8);
    Ok(longs
        .map(|bytes| u64::from_be_bytes(*bytes.first_chunk().expect("8 bytes")))
        .collect())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;

    use super::*;

    fn run(program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && !text.contains("failed"),
            "{program} {arguments:?}: {text}"
        );
    }

    #[test]
    fn what_qemu_wrote_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let layer = folder.path().join("disk.qcow2");
        let layer = layer.to_str().unwrap();
        run("qemu-img", &["create", "-q", "-f", "qcow2", layer, "3G"]);
        let commands = [
            "write -P 7 1M 64k",
            "write -P 8 2560M 4k",
            "write -z 2M 128k",
            "write -P 9 4M 64k",
            "discard 4M 64k",
        ];
        for command in commands {
            run(
                "qemu-io",
                &["-d", "unmap", "-f", "qcow2", "-c", command, layer],
            );
        }
        let layer = Qcow2::open(Path::new(layer)).unwrap();
        assert_eq!(layer.size, 3 << 30);
        let mut found = BTreeMap::new();
        layer
            .each(|offset, cluster| {
                let first = match cluster {
                    Cluster::Zero(_) => 0,
                    Cluster::Data(data) => data[0],
                };
                found.insert(offset, first);
                Ok::<_, io::Error>(())
            })
            .unwrap();
        let expected = BTreeMap::from([
            (1 << 20, 7),
            (2 << 20, 0),
            ((2 << 20) + (64 << 10), 0),
            (4 << 20, 0),
            (2560 << 20, 8),
        ]);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_layer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.qcow2");
        std::fs::write(&path, [7; 200]).unwrap();
        assert!(Qcow2::open(&path).is_err());
    }
}
