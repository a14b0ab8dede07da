//! One process has a disk's folder open at a time.

use std::fs::File;
use std::io;
use std::path::Path;

/// Waits until nobody else has the disk in `folder`, and takes it. Free again when the file is dropped, however
/// that comes.
pub fn take(folder: &Path) -> io::Result<File> {
    let file = open(folder)?;
    file.lock()?;
    Ok(file)
}

/// The same without waiting; `None` when somebody has it.
pub fn try_take(folder: &Path) -> io::Result<Option<File>> {
    let file = open(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

fn open(folder: &Path) -> io::Result<File> {
    std::fs::create_dir_all(folder)?;
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
}
