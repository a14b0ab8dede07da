//! Folders as archives: out as tar.gz or zip, in as tar. Both stream; neither is ever whole in memory or on
//! the disk.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use guest_protocol::frames::{FileArchive, FileExtract, data};
use tokio::sync::mpsc;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{attempt, checked_path, metadata};
use crate::machine::Machine;
use crate::session::{Call, CallError, During, Outcome};

/// Pieces between the archiver's thread and the call.
const QUEUE: usize = 2;

/// Sends a folder, or a file, as an archive. Names in it begin with the folder's own.
pub async fn archive(machine: &'static Machine, call: Call, request: FileArchive) -> Outcome {
    let path = checked_path(&request.path)?;
    let (pieces, made) = mpsc::channel(QUEUE);
    let piece = call.output.largest_data();
    let work = machine.threads.run_slowly(move || {
        metadata(&path)?;
        let sink = Pieces {
            pieces,
            piece: BytesMut::new(),
            size: piece,
        };
        let written = if request.zip {
            write_zip(&path, sink)
        } else {
            write_tar(&path, sink)
        };
        written.during(attempt("archiving", &path))
    });
    let sending = async {
        // Gone with this block, so that the archiver ends when the client is gone.
        let mut made = made;
        let mut offset = 0;
        while let Some(bytes) = made.recv().await {
            let size = bytes.len() as u64;
            call.output
                .data(data::Channel::Main, offset, bytes, false)
                .await?;
            offset += size;
        }
        Ok::<_, CallError>(offset)
    };
    let (written, sent) = tokio::join!(work, sending);
    written?;
    call.output
        .data(data::Channel::Main, sent?, Bytes::new(), true)
        .await
}

/// Where an archiver writes to. Its pieces wait until the client takes them; when it is gone, so is the rest.
struct Pieces {
    pieces: mpsc::Sender<Bytes>,
    piece: BytesMut,
    size: usize,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.size - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == self.size {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.pieces
            .blocking_send(piece)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn write_tar(path: &Path, sink: Pieces) -> io::Result<()> {
    let mut builder = tar::Builder::new(GzEncoder::new(sink, Compression::fast()));
    builder.follow_symlinks(false);
    builder.mode(tar::HeaderMode::Complete);
    walk(path, &mut |file, name, own| {
        if own.is_file() {
            // Opened here, so that one that cannot be read is left out rather than ending the archive.
            let Ok(mut file) = File::open(file) else {
                return Ok(());
            };
            builder.append_file(name, &mut file)
        } else if own.is_dir() || own.is_symlink() {
            builder.append_path_with_name(file, name)
        } else {
            Ok(())
        }
    })?;
    builder.into_inner()?.finish()?.flush()
}

fn write_zip(path: &Path, sink: Pieces) -> io::Result<()> {
    let mut archive = ZipWriter::new_stream(sink);
    walk(path, &mut |file, name, own| {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .large_file(own.len() > u32::MAX.into())
            .unix_permissions(own.mode() & 0o777);
        let name = name.to_string_lossy();
        if own.is_dir() {
            archive.add_directory(name, options)?;
        } else if own.is_symlink() {
            archive.add_symlink(name, std::fs::read_link(file)?.to_string_lossy(), options)?;
        } else if own.is_file() {
            let Ok(mut file) = File::open(file) else {
                return Ok(());
            };
            archive.start_file(name, options)?;
            io::copy(&mut file, &mut archive)?;
        }
        Ok(())
    })?;
    archive.finish()?.into_inner().flush()
}

type Visit<'a> = &'a mut dyn FnMut(&Path, &Path, &std::fs::Metadata) -> io::Result<()>;

/// Visits a folder and everything in it, in the order of the names; what cannot be read is left out.
fn walk(path: &Path, visit: Visit<'_>) -> io::Result<()> {
    let name = path
        .file_name()
        .map_or_else(|| PathBuf::from("root"), PathBuf::from);
    walk_any(path, &name, visit)
}

fn walk_any(path: &Path, name: &Path, visit: Visit<'_>) -> io::Result<()> {
    let Ok(own) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    visit(path, name, &own)?;
    if own.is_dir() {
        let Ok(entries) = std::fs::read_dir(path) else {
            return Ok(());
        };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort_unstable();
        for inner in names {
            walk_any(&path.join(&inner), &name.join(&inner), visit)?;
        }
    }
    Ok(())
}

/// Unpacks what the client sends.
pub async fn extract(machine: &'static Machine, mut call: Call, request: FileExtract) -> Outcome {
    let path = checked_path(&request.path)?;
    let (pieces, received) = mpsc::channel::<Bytes>(QUEUE);
    let folder = path.clone();
    let unpacking = machine.threads.run_slowly(move || {
        std::fs::create_dir_all(&folder).during(attempt("making", &folder))?;
        let mut source = Received {
            pieces: received,
            piece: Bytes::new(),
        };
        let mut archive = tar::Archive::new(&mut source);
        archive.set_preserve_permissions(true);
        archive.set_preserve_mtime(true);
        // What leads out of the folder is skipped by the library.
        archive
            .unpack(&folder)
            .during(attempt("unpacking into", &folder))?;
        // Padding after the archive's own end.
        io::copy(&mut source, &mut io::sink())
            .map(drop)
            .during(attempt("unpacking into", &folder))
    });
    let receiving = async {
        while let Some(piece) = call.input.next().await {
            // When the archive is wrong nobody takes pieces any more; the thread says why.
            if (!piece.bytes.is_empty() && pieces.send(piece.bytes).await.is_err()) || piece.end {
                break;
            }
        }
        drop(pieces);
    };
    let (unpacked, ()) = tokio::join!(unpacking, receiving);
    unpacked?;
    call.done().await
}

struct Received {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
