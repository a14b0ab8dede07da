//! A folder of a disk that no machine has open, as a tar archive: read by its ext4 structures, mounted by nobody.
//!
//! What cannot be read costs no more than itself: it is left out, or zeros from there on, and listed in
//! [`LEFT_OUT`] at the archive's end.

use std::io::{self, Read, Write};
use std::sync::Arc;

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType, Metadata};
use storage::block::BLOCK;
use storage::disk::Below;

/// Name of the list.
pub const LEFT_OUT: &str = "NOT-READABLE.txt";
/// Bytes of a file that are read at once.
const PIECE: usize = 256 * 1024;

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the disk's file system cannot be read")]
    FileSystem(#[source] Ext4Error),
    #[error("there is no folder {0} on the disk")]
    NoFolder(String),
    /// Whoever reads it has gone.
    #[error("the archive cannot be written")]
    Write(#[from] io::Error),
}

/// Writes what is below `folder`, an absolute path on the disk. Names in the archive begin with the folder's own.
/// Blocks.
pub fn archive<I: Below + 'static>(
    image: Arc<I>,
    folder: &str,
    into: &mut dyn Write,
) -> Result<(), ArchiveError> {
    let disk = Ext4::load(Box::new(Device(image))).map_err(ArchiveError::FileSystem)?;
    let is_folder = disk.metadata(folder).is_ok_and(|found| found.is_dir());
    if !is_folder {
        return Err(ArchiveError::NoFolder(folder.to_owned()));
    }
    let mut walk = Walk {
        disk,
        archive: tar::Builder::new(into),
        left_out: String::new(),
    };
    let name = folder.rsplit('/').find(|part| !part.is_empty());
    walk.folder(folder, name.unwrap_or("disk"))?;
    walk.end()
}

struct Walk<'a> {
    disk: Ext4,
    archive: tar::Builder<&'a mut dyn Write>,
    left_out: String,
}

impl Walk<'_> {
    fn folder(&mut self, path: &str, name: &str) -> Result<(), ArchiveError> {
        match self.disk.symlink_metadata(path) {
            Ok(metadata) => {
                let mut header = header(&metadata, tar::EntryType::Directory, 0);
                self.archive
                    .append_data(&mut header, format!("{name}/"), io::empty())?;
            }
            Err(error) => return self.leave_out(path, &error),
        }
        let entries = match self.disk.read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.leave_out(path, &error),
        };
        let mut names = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => match entry.file_name().as_str() {
                    Ok("." | "..") => {}
                    Ok(name) => names.push(name.to_owned()),
                    Err(_) => {
                        let shown = entry.file_name().display().to_string();
                        self.leave_out(&format!("{path}/{shown}"), &"its name is no UTF-8")?;
                    }
                },
                Err(error) => {
                    self.leave_out(path, &error)?;
                    break;
                }
            }
        }
        names.sort();
        for below in names {
            self.entry(&format!("{path}/{below}"), &format!("{name}/{below}"))?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, name: &str) -> Result<(), ArchiveError> {
        let metadata = match self.disk.symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.leave_out(path, &error),
        };
        match metadata.file_type() {
            FileType::Directory => self.folder(path, name),
            FileType::Regular => self.file(path, name, &metadata),
            FileType::Symlink => match self.disk.read_link(path) {
                Ok(target) => {
                    let target = target.display().to_string();
                    let mut header = header(&metadata, tar::EntryType::Symlink, 0);
                    Ok(self.archive.append_link(&mut header, name, target)?)
                }
                Err(error) => self.leave_out(path, &error),
            },
            // Sockets, pipes and devices are made anew by whoever needs them.
            _ => Ok(()),
        }
    }

    fn file(&mut self, path: &str, name: &str, metadata: &Metadata) -> Result<(), ArchiveError> {
        let file = match self.disk.open(path) {
            Ok(file) => file,
            Err(error) => return self.leave_out(path, &error),
        };
        let size = metadata.len();
        let mut content = Content {
            file,
            left: size,
            problem: None,
        };
        let mut header = header(metadata, tar::EntryType::Regular, size);
        let buffered = io::BufReader::with_capacity(PIECE, &mut content);
        self.archive.append_data(&mut header, name, buffered)?;
        match content.problem {
            Some(problem) => self.leave_out(path, &format_args!("{problem}; zeros from there on")),
            None => Ok(()),
        }
    }

    fn leave_out(&mut self, path: &str, why: &dyn std::fmt::Display) -> Result<(), ArchiveError> {
        use std::fmt::Write as _;
        // Writing to a text does not fail.
        let _ = writeln!(self.left_out, "{path}: {why}");
        Ok(())
    }

    fn end(mut self) -> Result<(), ArchiveError> {
        if !self.left_out.is_empty() {
            let mut header = tar::Header::new_gnu();
            header.set_size(self.left_out.len() as u64);
            header.set_mode(0o644);
            self.archive
                .append_data(&mut header, LEFT_OUT, self.left_out.as_bytes())?;
        }
        Ok(self.archive.finish()?)
    }
}

fn header(metadata: &Metadata, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(u32::from(metadata.mode()) & 0o7777);
    header.set_uid(metadata.uid().into());
    header.set_gid(metadata.gid().into());
    header.set_mtime(u64::try_from(metadata.modified().seconds()).unwrap_or(0));
    header
}

/// A file of exactly the length that was announced.
struct Content {
    file: ext4_view::File,
    left: u64,
    problem: Option<String>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let length = buffer.len().min(most);
        let piece = &mut buffer[..length];
        let read = match &self.problem {
            Some(_) => Ok(0),
            None => self.file.read_bytes(piece),
        };
        let read = match read {
            Ok(read) if read > 0 || length == 0 => read,
            ended => {
                if let Err(error) = ended {
                    self.problem.get_or_insert_with(|| error.to_string());
                }
                self.problem
                    .get_or_insert_with(|| "it is shorter than it says".to_owned());
                piece.fill(0);
                length
            }
        };
        self.left -= read as u64;
        Ok(read)
    }
}

/// An image, byte by byte.
struct Device<I>(Arc<I>);

impl<I: Below> Ext4Read for Device<I> {
    fn read(
        &mut self,
        start: u64,
        into: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        let block = BLOCK as u64;
        let end = start + into.len() as u64;
        if end > u64::from(self.0.blocks()) * block {
            return Err("it is beyond the end of the disk".into());
        }
        let (first, last) = (start / block, end.div_ceil(block));
        let mut whole = vec![0; ((last - first) * block) as usize];
        self.0.read(first as u32, &mut whole)?;
        let from = (start - first * block) as usize;
        into.copy_from_slice(&whole[from..from + into.len()]);
        Ok(())
    }
}
