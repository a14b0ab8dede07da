//! One process has a disk's folder open at a time.

use std::fs::File;
use std::io;
use std::path::Path;

/// Waits until nobody else has the disk in `folder`, and takes it. Free again when the file is dropped, however
/// that comes.
pub fn take(folder: &Path) -> io::Result<File> {
    std::fs::create_dir_all(folder)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))?;
    file.lock()?;
    Ok(file)
}
