//! A file that keeps the end of what is written to it, so that whoever writes cannot fill the disk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Appends to a file and throws the older half away when it has grown to its limit.
#[derive(Debug)]
pub struct BoundedFile {
    path: PathBuf,
    file: File,
    limit: u64,
}

impl BoundedFile {
    /// `limit` in bytes. What the file has already stays.
    pub fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            limit,
        })
    }

    /// The last `bytes` of a file, lossily as text.
    pub fn tail(path: &Path, bytes: u64) -> io::Result<String> {
        let mut file = File::open(path)?;
        Ok(String::from_utf8_lossy(&end_of(&mut file, bytes)?).into_owned())
    }
}

impl Write for BoundedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        if self.file.metadata()?.len() > self.limit {
            let mut kept = end_of(&mut File::open(&self.path)?, self.limit / 2)?;
            // From the start of a line.
            if let Some(end) = kept.iter().position(|byte| *byte == b'\n') {
                kept.drain(..=end);
            }
            self.file.set_len(0)?;
            self.file.write_all(&kept)?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn end_of(file: &mut File, bytes: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = Vec::new();
    file.take(bytes).read_to_end(&mut end)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_stays_and_the_limit_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = BoundedFile::open(&path, 1000).unwrap();
        for line in 0..500 {
            writeln!(file, "line {line}").unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() <= 1000);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("line ") && text.ends_with("line 498\nline 499\n"),
            "{text}"
        );
        assert_eq!(BoundedFile::tail(&path, 9).unwrap(), "line 499\n");
    }
}
