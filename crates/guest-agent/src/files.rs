//! Files: everything an editor does with them, with the user's rights.
//!
//! Paths are absolute. What blocks runs on the threads of `threads`; content moves in pieces as credit
//! allows, so that a large file holds no thread while its reader is slow.

use std::path::{Component, Path, PathBuf};

use guest_protocol::frames::{
    FileCopy, FileLink, FileList, FileListing, FileMakeDirectory, FileRemove, FileRename, FileStat,
};

use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, During, Outcome};

mod archives;
mod change;
mod copying;
mod info;
mod parts;
mod reading;
pub mod watch;
mod writing;

pub use archives::{archive, extract};
pub use reading::read;
pub use writing::write;

/// Entries in one frame of a listing.
const ENTRIES: usize = 500;

/// A path as it came: absolute, and without parts that lead upwards.
pub fn checked_path(path: &str) -> Result<PathBuf, CallError> {
    let path = Path::new(path);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(CallError::invalid(format!(
            "{} is not an absolute path",
            path.display()
        )));
    }
    Ok(path.to_owned())
}

pub async fn stat(machine: &'static Machine, call: Call, request: FileStat) -> Outcome {
    let path = checked_path(&request.path)?;
    let user = &machine.user;
    let work = move || info::of(user, &path, request.no_follow);
    call.answer(Answer::FileInfo(machine.threads.run(work).await?))
        .await
}

pub async fn list(machine: &'static Machine, call: Call, request: FileList) -> Outcome {
    let path = checked_path(&request.path)?;
    let user = &machine.user;
    let mut entries = machine
        .threads
        .run(move || info::of_entries(user, &path))
        .await?;
    loop {
        let rest = entries.split_off(entries.len().min(ENTRIES));
        let more = !rest.is_empty();
        call.answer(Answer::FileListing(FileListing { entries, more }))
            .await?;
        if !more {
            return Ok(());
        }
        entries = rest;
    }
}

pub async fn make_directory(
    machine: &'static Machine,
    call: Call,
    request: FileMakeDirectory,
) -> Outcome {
    let path = checked_path(&request.path)?;
    machine
        .threads
        .run(move || change::make_directory(&path, request.parents))
        .await?;
    call.done().await
}

pub async fn rename(machine: &'static Machine, call: Call, request: FileRename) -> Outcome {
    let (from, to) = (checked_path(&request.from)?, checked_path(&request.to)?);
    machine
        .threads
        .run(move || change::rename(&from, &to, request.overwrite))
        .await?;
    call.done().await
}

pub async fn copy(machine: &'static Machine, call: Call, request: FileCopy) -> Outcome {
    let (from, to) = (checked_path(&request.from)?, checked_path(&request.to)?);
    machine
        .threads
        .run_slowly(move || copying::copy(&from, &to, request.overwrite))
        .await?;
    call.done().await
}

pub async fn remove(machine: &'static Machine, call: Call, request: FileRemove) -> Outcome {
    let path = checked_path(&request.path)?;
    machine
        .threads
        .run_slowly(move || change::remove(&path, request.recursive))
        .await?;
    call.done().await
}

pub async fn link(machine: &'static Machine, call: Call, request: FileLink) -> Outcome {
    let path = checked_path(&request.path)?;
    machine
        .threads
        .run(move || change::link(&path, &request.target, request.overwrite))
        .await?;
    call.done().await
}

/// What is said to have been attempted when something fails.
fn attempt(what: &str, path: &Path) -> impl FnOnce() -> String {
    let text = format!("{what} {}", path.display());
    move || text
}

/// Metadata of a path, following links.
fn metadata(path: &Path) -> Result<std::fs::Metadata, CallError> {
    std::fs::metadata(path).during(attempt("looking at", path))
}
