//! Files that arrive in parts, for those whose way here has a limit on the size of a request.
//!
//! The parts gather in a hidden neighbour named after the upload, so that they outlive sessions, servers and
//! the agent itself. What is left of an upload that nobody finished goes with the next one in the same folder,
//! a day later.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guest_protocol::frames::{FileWrite, failure};

use super::attempt;
use super::writing::TEMPORARY;
use crate::session::{CallError, During};

/// Follows [`TEMPORARY`] in the names of such neighbours.
const PART: &str = "part-";
const LONGEST_NAME: usize = 64;
/// How long an upload may pause.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Opens what has arrived so far, at the offset where this part begins. What is there beyond it is from an
/// attempt that broke off, and is dropped.
pub fn open(request: &FileWrite, path: &Path) -> Result<(PathBuf, File), CallError> {
    let name = checked_name(&request.upload)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let gathering = folder.join(format!("{TEMPORARY}{PART}{name}"));
    let writing = || attempt("writing", path);
    if request.offset == 0 {
        forget_abandoned(folder);
    }
    let opened = OpenOptions::new()
        .write(true)
        .create(request.offset == 0)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&gathering);
    let mut file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && request.offset > 0 => {
            return Err(gap(request, 0));
        }
        opened => opened.during(writing())?,
    };
    let arrived = file.metadata().during(writing())?.len();
    if request.offset > arrived {
        return Err(gap(request, arrived));
    }
    file.set_len(request.offset).during(writing())?;
    file.seek(SeekFrom::Start(request.offset))
        .during(writing())?;
    Ok((gathering, file))
}

fn checked_name(name: &str) -> Result<&str, CallError> {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain || name.len() > LONGEST_NAME {
        let reason = format!(
            "an upload is named with letters, digits and '-', at most {LONGEST_NAME}, not {name:?}"
        );
        return Err(CallError::invalid(reason));
    }
    Ok(name)
}

fn gap(request: &FileWrite, arrived: u64) -> CallError {
    let reason = format!(
        "the upload {} has {arrived} bytes so far: go on from there, not from {}",
        request.upload, request.offset
    );
    CallError::failed(failure::Kind::Conflict, reason)
}

/// What cannot be looked at or removed is left for another time.
fn forget_abandoned(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let prefix = format!("{TEMPORARY}{PART}");
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|modified| modified.elapsed().ok());
        if age.is_some_and(|age| age > PATIENCE) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
