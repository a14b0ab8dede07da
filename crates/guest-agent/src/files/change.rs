//! Making folders and links, renaming, removing.

use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::{attempt, copying, writing};
use crate::session::{CallError, During};

pub fn make_directory(path: &Path, parents: bool) -> Result<(), CallError> {
    let made = if parents {
        std::fs::create_dir_all(path)
    } else {
        std::fs::create_dir(path)
    };
    made.during(attempt("making the folder", path))
}

/// With `overwrite` a file or a link gives its place up at once; a folder does not.
pub fn link(path: &Path, target: &str, overwrite: bool) -> Result<(), CallError> {
    let linking = || attempt("linking", path);
    match std::os::unix::fs::symlink(target, path) {
        Err(error) if overwrite && error.kind() == std::io::ErrorKind::AlreadyExists => {
            let temporary = writing::temporary(path);
            std::os::unix::fs::symlink(target, &temporary).during(linking())?;
            std::fs::rename(&temporary, path)
                .during(linking())
                .inspect_err(|_| {
                    // What could not take the place is in nobody's way for long.
                    let _ = std::fs::remove_file(&temporary);
                })
        }
        made => made.during(linking()),
    }
}

/// Without `overwrite` nothing is replaced. Across file systems it copies and removes.
pub fn rename(from: &Path, to: &Path, overwrite: bool) -> Result<(), CallError> {
    let flags = if overwrite {
        RenameFlags::empty()
    } else {
        RenameFlags::NOREPLACE
    };
    match rustix::fs::renameat_with(CWD, from, CWD, to, flags) {
        Ok(()) => Ok(()),
        Err(Errno::XDEV) => {
            copying::copy(from, to, overwrite)?;
            remove(from, true)
        }
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR)
            if overwrite && to.symlink_metadata().is_ok() =>
        {
            replace(from, to)
        }
        Err(error) => Err(CallError::system(
            attempt("renaming", from)(),
            &error.into(),
        )),
    }
}

/// The kernel replaces files by files, and empty folders; an editor means anything.
fn replace(from: &Path, to: &Path) -> Result<(), CallError> {
    if from.starts_with(to) || to.starts_with(from) {
        let reason = format!("{} and {} lie in each other", from.display(), to.display());
        return Err(CallError::invalid(reason));
    }
    remove(to, true)?;
    std::fs::rename(from, to).during(attempt("renaming", from))
}

/// A link is removed itself, never what it leads to.
pub fn remove(path: &Path, recursive: bool) -> Result<(), CallError> {
    let removing = attempt("removing", path);
    let own = std::fs::symlink_metadata(path).during(attempt("removing", path))?;
    let removed = match (own.is_dir(), recursive) {
        (true, true) => std::fs::remove_dir_all(path),
        (true, false) => std::fs::remove_dir(path),
        (false, _) => std::fs::remove_file(path),
    };
    removed.during(removing)
}
