//! Copying files and whole folders, links as links.

use std::fs::Metadata;
use std::io;
use std::path::Path;

use super::{attempt, change, metadata};
use crate::session::{CallError, During};

/// Copies to a name that is not there yet, unless told to overwrite. A link named itself is followed.
pub fn copy(from: &Path, to: &Path, overwrite: bool) -> Result<(), CallError> {
    let source = metadata(from)?;
    if to.starts_with(from) {
        return Err(CallError::invalid(format!(
            "{} cannot be copied into itself",
            from.display()
        )));
    }
    match std::fs::symlink_metadata(to) {
        Ok(_) if !overwrite => {
            let error = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(CallError::system(attempt("copying to", to)(), &error));
        }
        Ok(existing) if existing.is_dir() || source.is_dir() => {
            if from.starts_with(to) {
                let reason = format!("{} lies in what it would replace", from.display());
                return Err(CallError::invalid(reason));
            }
            change::remove(to, true)?;
        }
        _ => {}
    }
    copy_any(from, to, &source)
}

fn copy_any(from: &Path, to: &Path, source: &Metadata) -> Result<(), CallError> {
    if source.is_dir() {
        std::fs::create_dir(to).during(attempt("making the folder", to))?;
        for entry in std::fs::read_dir(from).during(attempt("listing", from))? {
            let entry = entry.during(attempt("listing", from))?;
            let own = entry
                .metadata()
                .during(attempt("looking at", &entry.path()))?;
            copy_any(&entry.path(), &to.join(entry.file_name()), &own)?;
        }
        std::fs::set_permissions(to, source.permissions()).during(attempt("copying to", to))
    } else if source.is_symlink() {
        let target = std::fs::read_link(from).during(attempt("copying", from))?;
        std::os::unix::fs::symlink(target, to).during(attempt("copying to", to))
    } else if source.is_file() {
        std::fs::copy(from, to)
            .map(drop)
            .during(attempt("copying", from))
    } else {
        // Sockets and pipes mean something only where they are.
        Ok(())
    }
}
