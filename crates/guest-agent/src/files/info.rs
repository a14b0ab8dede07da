//! What a file is, as the protocol tells it.

use std::fs::{FileType as SystemType, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use guest_protocol::frames::{FileInfo, FileType};

use super::attempt;
use crate::session::{CallError, During};
use crate::user::User;

/// Information on a path. A link that leads nowhere is described itself.
pub fn of(user: &User, path: &Path, no_follow: bool) -> Result<FileInfo, CallError> {
    let own = std::fs::symlink_metadata(path).during(attempt("looking at", path))?;
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    Ok(describe(
        user,
        path,
        &own,
        no_follow,
        name.unwrap_or_default(),
    ))
}

/// Information on everything in a folder, in the order of the names.
pub fn of_entries(user: &User, folder: &Path) -> Result<Vec<FileInfo>, CallError> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).during(attempt("listing", folder))? {
        let entry = entry.during(attempt("listing", folder))?;
        // One that vanished meanwhile is not there.
        let Ok(own) = entry.metadata() else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push(describe(user, &entry.path(), &own, false, name));
    }
    entries.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(entries)
}

/// Information on an open or closed file whose metadata is known.
pub fn describe(
    user: &User,
    path: &Path,
    own: &Metadata,
    no_follow: bool,
    name: String,
) -> FileInfo {
    let symlink = own.file_type().is_symlink();
    let target = if symlink && !no_follow {
        std::fs::metadata(path).ok()
    } else {
        None
    };
    let link_target = match symlink.then(|| std::fs::read_link(path)) {
        Some(Ok(target)) => target.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    let metadata = target.as_ref().unwrap_or(own);
    FileInfo {
        r#type: kind(metadata.file_type()).into(),
        symlink,
        size: metadata.len(),
        modified_ms: milliseconds(metadata.modified()),
        created_ms: milliseconds(metadata.created()),
        mode: metadata.mode() & 0o7777,
        version: version(metadata),
        name,
        writable: writable(user, metadata),
        link_target,
    }
}

/// Changes whenever the content may have.
pub fn version(metadata: &Metadata) -> String {
    let (inode, size) = (metadata.ino(), metadata.size());
    format!(
        "{inode:x}.{size:x}.{:x}.{:x}",
        metadata.mtime(),
        metadata.mtime_nsec()
    )
}

fn kind(system: SystemType) -> FileType {
    if system.is_dir() {
        FileType::Directory
    } else if system.is_file() {
        FileType::File
    } else if system.is_symlink() {
        FileType::Symlink
    } else {
        FileType::Other
    }
}

fn milliseconds(time: std::io::Result<SystemTime>) -> i64 {
    let Ok(time) = time else { return 0 };
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}

/// From the permission bits: asking the kernel would cost a call per file, and ask for the wrong user.
fn writable(user: &User, metadata: &Metadata) -> bool {
    let bit = if user.uid == 0 {
        return true;
    } else if metadata.uid() == user.uid {
        0o200
    } else if metadata.gid() == user.gid || user.groups.contains(&metadata.gid()) {
        0o020
    } else {
        0o002
    };
    metadata.mode() & bit != 0
}
