//! The file that a backup is: a tar archive that says first what it is, and last what it had to have.
//!
//! ```text
//! roost-backup     {"format": 1, "version": "…"}
//! PATH             a file; one with holes is PATH@OFFSET for each of its parts
//! roost-contents   [{"path": "…", "length": …, "parts": [{"offset": …, "length": …, "blake3": "…"}, …]}, …]
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{SeekFrom, seek};
use serde::{Deserialize, Serialize};

/// Format that this code writes.
pub const FORMAT: u32 = 1;
pub const HEAD: &str = "roost-backup";
pub const CONTENTS: &str = "roost-contents";
/// A smaller hole is copied as what it reads as.
const SMALLEST_HOLE: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    pub format: u32,
    /// Of the Roost that wrote it.
    pub version: String,
}

/// One file, as the list has it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub path: String,
    pub length: u64,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub offset: u64,
    pub length: u64,
    pub blake3: String,
}

/// What is to go into an archive.
#[derive(Debug, Default)]
pub struct Contents {
    files: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    name: String,
    from: PathBuf,
    length: u64,
    parts: Vec<Range<u64>>,
}

impl Contents {
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Of all files, without their holes.
    pub fn bytes(&self) -> u64 {
        let parts = self.files.iter().flat_map(|file| &file.parts);
        parts.map(|part| part.end - part.start).sum()
    }

    pub fn file(&mut self, name: &str, from: PathBuf) -> anyhow::Result<()> {
        let look = || -> io::Result<(u64, Vec<Range<u64>>)> {
            let file = File::open(&from)?;
            let length = file.metadata()?.len();
            Ok((length, parts(&file, length)?))
        };
        let (length, parts) = look().with_context(|| format!("cannot read {}", from.display()))?;
        self.files.push(Planned {
            name: name.to_owned(),
            from,
            length,
            parts,
        });
        Ok(())
    }

    /// The file `path` of `folder`, or everything in it if it is a folder itself; nothing if it is not there.
    pub fn all(&mut self, folder: &Path, path: &Path) -> anyhow::Result<()> {
        let from = folder.join(path);
        if from.is_dir() {
            for name in super::names(&from)? {
                self.all(folder, &path.join(name))?;
            }
        } else if from.is_file() {
            let name = path.to_str().context("a file's name is no text")?;
            self.file(name, from)?;
        }
        Ok(())
    }
}

/// Parts of a file between its larger holes; one that has no content has a part all the same.
fn parts(file: &File, length: u64) -> io::Result<Vec<Range<u64>>> {
    let mut parts: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while at < length {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        at = seek(file, SeekFrom::Hole(start))?;
        match parts.last_mut() {
            Some(last) if start - last.end < SMALLEST_HOLE => last.end = at,
            _ => parts.push(start..at),
        }
    }
    if parts.is_empty() {
        parts.push(0..0);
    }
    Ok(parts)
}

/// Writes an archive from front to back.
pub struct Archive<W: Write, P> {
    tar: tar::Builder<W>,
    progress: P,
    listed: Vec<Listed>,
}

impl<W: Write, P: FnMut(u64, u64)> Archive<W, P> {
    pub fn new(out: W, progress: P) -> anyhow::Result<Self> {
        let mut archive = Self {
            tar: tar::Builder::new(out),
            progress,
            listed: Vec::new(),
        };
        let head = Head {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        archive.text(HEAD, &serde_json::to_vec(&head)?)?;
        Ok(archive)
    }

    fn text(&mut self, name: &str, text: &[u8]) -> anyhow::Result<()> {
        let mut header = header(text.len() as u64);
        Ok(self.tar.append_data(&mut header, name, text)?)
    }

    pub fn write(&mut self, contents: &Contents) -> anyhow::Result<()> {
        let (mut done, all) = (0, contents.bytes());
        for planned in &contents.files {
            let listed = self
                .file(planned)
                .with_context(|| format!("cannot copy {}", planned.from.display()))?;
            done += listed.parts.iter().map(|part| part.length).sum::<u64>();
            self.listed.push(listed);
            (self.progress)(done, all);
        }
        Ok(())
    }

    fn file(&mut self, planned: &Planned) -> anyhow::Result<Listed> {
        let mut file = File::open(&planned.from)?;
        let mut parts = Vec::new();
        for part in &planned.parts {
            let length = part.end - part.start;
            file.seek(io::SeekFrom::Start(part.start))?;
            let mut hashing = Hashing::new((&mut file).take(length));
            let name = if planned.parts.len() == 1 && part.start == 0 {
                planned.name.clone()
            } else {
                format!("{}@{:016x}", planned.name, part.start)
            };
            let mut header = header(length);
            self.tar.append_data(&mut header, name, &mut hashing)?;
            anyhow::ensure!(hashing.length == length, "it became shorter meanwhile");
            parts.push(Part {
                offset: part.start,
                length,
                blake3: hashing.sum(),
            });
        }
        Ok(Listed {
            path: planned.name.clone(),
            length: planned.length,
            parts,
        })
    }

    /// Says what it had to have, and gives back what it was written to.
    pub fn finish(mut self) -> anyhow::Result<W> {
        let text = serde_json::to_vec(&self.listed)?;
        self.text(CONTENTS, &text)?;
        let mut out = self.tar.into_inner()?;
        out.flush()?;
        Ok(out)
    }
}

fn header(length: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(0o600);
    header.set_cksum();
    header
}

/// Reads, and sums up what was read.
pub struct Hashing<R> {
    from: R,
    hasher: blake3::Hasher,
    pub length: u64,
}

impl<R: Read> Hashing<R> {
    pub fn new(from: R) -> Self {
        Self {
            from,
            hasher: blake3::Hasher::new(),
            length: 0,
        }
    }

    pub fn sum(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }
}
