//! Digests of files, hexadecimal.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ring::digest::{Context, SHA256};
use rustix::fs::SeekFrom;

/// Of a sparse image, in bytes.
const BLOCK: u64 = 64 * 1024;

/// SHA-256 of the whole file.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(context.finish())),
            read => context.update(&buffer[..read]),
        }
    }
}

/// SHA-256 over the blocks of 64 KiB that are not all zero, each preceded by its offset (8 bytes,
/// little-endian): costs what is really in the image, wherever its file has holes.
pub fn blocks_sha256(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; BLOCK as usize];
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(&file, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Nothing but a hole follows.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&file, SeekFrom::Hole(start))?;
        position = position.max(start / BLOCK * BLOCK);
        while position < end {
            let length = (size - position).min(BLOCK) as usize;
            let block = &mut buffer[..length];
            file.read_exact_at(block, position)?;
            if block.iter().any(|byte| *byte != 0) {
                context.update(&position.to_le_bytes());
                context.update(block);
            }
            position += BLOCK;
        }
    }
    Ok(hex::encode(context.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(bytes: &[u8]) -> String {
        let mut context = Context::new(&SHA256);
        for (number, block) in bytes.chunks(BLOCK as usize).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                context.update(&(number as u64 * BLOCK).to_le_bytes());
                context.update(block);
            }
        }
        hex::encode(context.finish())
    }

    #[test]
    fn the_digest_of_an_image_does_not_depend_on_its_holes() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0_u8; 5 * BLOCK as usize + 1000];
        bytes[3] = 1;
        bytes[3 * BLOCK as usize + 5000] = 2;
        *bytes.last_mut().unwrap() = 3;
        let full = folder.path().join("full");
        std::fs::write(&full, &bytes).unwrap();
        let sparse = folder.path().join("sparse");
        let file = File::create(&sparse).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for at in [3, 3 * BLOCK as usize + 5000, bytes.len() - 1] {
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
        let expected = reference(&bytes);
        assert_eq!(blocks_sha256(&full).unwrap(), expected);
        assert_eq!(blocks_sha256(&sparse).unwrap(), expected);
        file.write_all_at(&[9], 2 * BLOCK).unwrap();
        assert_ne!(blocks_sha256(&sparse).unwrap(), expected);
    }

    #[test]
    fn the_digest_of_a_file_is_plain_sha256() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        assert_eq!(
            sha256(file.path()).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
