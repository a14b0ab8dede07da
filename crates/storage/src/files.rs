//! The host's files as the storage uses them: an argument, so that a simulation can lose what was not synced.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustix::fs::OFlags;

use crate::sys::Region;

/// A folder's worth of files.
pub trait Files: Send + Sync + fmt::Debug {
    /// Opens a file for reading and writing; makes it when it is not there and `create` is set.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn FileHandle>>;

    /// Gives a file another name in its folder, in the place of one that has it, durably.
    fn replace(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; one that is not there is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names of a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// An open file. Offsets and lengths are bytes.
pub trait FileHandle: Send + Sync + fmt::Debug {
    /// Reads exactly `buffer`; beyond the file's end is an error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Content and length are durable when it returns. An error means that what was written since the last
    /// success may be lost, for good: it is never to be tried again on the same file.
    fn sync(&self) -> io::Result<()>;
    fn length(&self) -> io::Result<u64>;
    /// Makes sure that there is room, so that later writes there do not fail for want of it.
    fn allocate(&self, offset: u64, length: u64) -> io::Result<()>;
    /// Gives room back: reads as zeros afterwards.
    fn punch(&self, offset: u64, length: u64) -> io::Result<()>;
    /// `words` little-endian words from `offset` (a multiple of 4096) on, as they are now; what is changed
    /// stays with the caller. Beyond the file's end they are zero, up to `capacity` words.
    fn words(&self, offset: u64, words: usize, capacity: usize) -> io::Result<Words>;
}

/// Words of a file, private to whoever asked.
pub enum Words {
    Mapped(Region),
    Owned(Vec<u32>),
}

impl Words {
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::Mapped(region) => region.as_slice(),
            Self::Owned(words) => words,
        }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u32] {
        match self {
            Self::Mapped(region) => region.as_mut_slice(),
            Self::Owned(words) => words,
        }
    }
}

/// The files of this host.
#[derive(Debug, Default)]
pub struct HostFiles;

impl Files for HostFiles {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn FileHandle>> {
        let mut options = std::fs::File::options();
        options
            .read(true)
            .write(true)
            .create(create)
            .truncate(false);
        let file = match without_access_times(&mut options).open(path) {
            // It is somebody else's.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                options.custom_flags(0).open(path)?
            }
            other => other?,
        };
        Ok(Arc::new(HostFile {
            file,
            direct: OnceLock::new(),
        }))
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        self.sync_folder(to.parent().unwrap_or(Path::new(".")))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::File::open(folder)?.sync_all()
    }
}

/// Reading a file that is written all the time notes the time again and again, and that waits for whatever the file
/// system's journal waits for: a read as long as a sync of another file.
fn without_access_times(options: &mut std::fs::OpenOptions) -> &mut std::fs::OpenOptions {
    options.custom_flags(OFlags::NOATIME.bits() as i32)
}

/// Writes of so many bytes and more go past the page cache: copying them there, and from there to the disk later,
/// would take more than the disk takes.
const DIRECT: usize = 128 << 10;
/// What the addresses and lengths of such a write are multiples of.
const DIRECT_ALIGNMENT: usize = 4096;

#[derive(Debug)]
struct HostFile {
    file: std::fs::File,
    /// The same file past the page cache, once it is wanted; `None` where the file system has no such thing.
    direct: OnceLock<Option<std::fs::File>>,
}

impl HostFile {
    /// The file for writing these bytes there past the page cache, if that can be.
    fn direct(&self, bytes: &[u8], offset: u64) -> Option<&std::fs::File> {
        let is_aligned = |number: usize| number.is_multiple_of(DIRECT_ALIGNMENT);
        let fits = bytes.len() >= DIRECT
            && is_aligned(bytes.len())
            && is_aligned(bytes.as_ptr().addr())
            && offset.is_multiple_of(DIRECT_ALIGNMENT as u64);
        let open = || {
            let mut options = std::fs::File::options();
            options
                .write(true)
                .custom_flags(OFlags::DIRECT.bits() as i32);
            // Its name may be another's by now.
            let this = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            options.open(this).ok()
        };
        fits.then(|| self.direct.get_or_init(open).as_ref())?
    }
}

impl FileHandle for HostFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.direct(bytes, offset) {
            // Some file systems open a file so and then refuse.
            Some(direct) => match direct.write_all_at(bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.file.write_all_at(bytes, offset)
                }
                other => other,
            },
            None => self.file.write_all_at(bytes, offset),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        let flags = rustix::fs::FallocateFlags::empty();
        match rustix::fs::fallocate(&self.file, flags, offset, length) {
            // A file system that cannot promise room still has it, until it has not.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let end = (offset + length).max(self.length()?);
                self.file.set_len(end)
            }
            other => Ok(other?),
        }
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, length) {
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn words(&self, offset: u64, words: usize, capacity: usize) -> io::Result<Words> {
        Ok(Words::Mapped(Region::map(
            &self.file, offset, words, capacity,
        )?))
    }
}
