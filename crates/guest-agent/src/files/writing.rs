//! Writing a file so that it appears at once: into a temporary neighbour, to the disk, then renamed.
//!
//! Where a neighbour cannot take the place of the file without losing its owner, or cannot be made, the file
//! itself is written.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guest_protocol::frames::{FileInfo, FileWrite, FileWritten, failure};
use rustix::fs::RenameFlags;

use super::{attempt, checked_path, info, parts};
use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, During, Outcome};
use crate::threads::Threads;
use crate::user::User;

/// How the names of temporary neighbours begin.
pub const TEMPORARY: &str = ".roost-write-";

pub async fn write(machine: &'static Machine, mut call: Call, request: FileWrite) -> Outcome {
    let path = checked_path(&request.path)?;
    let request = Arc::new(request);
    let asked = request.clone();
    let begun = machine
        .threads
        .run(move || Target::begin(&asked, &path))
        .await?;
    // Its temporary file goes with it, on a thread with the user's rights.
    let target = Arc::new(Guarded {
        target: Some(begun),
        threads: machine.threads.clone(),
    });
    while let Some(piece) = call.input.next().await {
        if !piece.bytes.is_empty() {
            let target = target.clone();
            machine
                .threads
                .run(move || target.get()?.write(&piece.bytes))
                .await?;
        }
        if piece.end {
            let user = &machine.user;
            let info = machine
                .threads
                .run(move || match request.more {
                    true => target.get()?.leave(user),
                    false => target.get()?.finish(&request, user),
                })
                .await?;
            return call
                .answer(Answer::FileWritten(FileWritten { info: Some(info) }))
                .await;
        }
    }
    Err(CallError::Gone)
}

struct Guarded {
    target: Option<Target>,
    threads: Threads,
}

impl Guarded {
    fn get(&self) -> Result<&Target, CallError> {
        self.target.as_ref().ok_or_else(CallError::broken)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(target) = self.target.take() {
            self.threads.detach(move || drop(target));
        }
    }
}

/// A file that is being written.
struct Target {
    /// With links resolved: a link stays, and what it leads to is written.
    path: PathBuf,
    file: File,
    /// To be renamed to the path; none: the file itself is written.
    temporary: Option<PathBuf>,
    /// The temporary file stays when this write ends: further parts of the file follow.
    kept: bool,
}

impl Drop for Target {
    fn drop(&mut self) {
        if let (Some(temporary), false) = (&self.temporary, self.kept) {
            // It has been renamed, or nobody can do anything about it.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

impl Target {
    fn begin(request: &FileWrite, path: &Path) -> Result<Self, CallError> {
        if request.make_parents
            && let Some(parent) = path.parent()
        {
            std::fs::create_dir_all(parent).during(attempt("making folders for", path))?;
        }
        let path = resolve(path)?;
        let existing = check(request, &path)?;
        if existing
            .as_ref()
            .is_some_and(|existing| !existing.is_file())
        {
            return Self::in_place(request, path);
        }
        let mode = mode(request, existing.as_ref());
        let begun = match request.upload.is_empty() {
            true => Self::beside(path.clone(), existing.as_ref(), mode),
            false => return Self::part(request, path),
        };
        match begun {
            Ok(target) => Ok(target),
            Err(error) if existing.is_some() && error.kind() == io::ErrorKind::PermissionDenied => {
                Self::in_place(request, path)
            }
            Err(error) => Err(CallError::system(attempt("writing", &path)(), &error)),
        }
    }

    fn beside(path: PathBuf, existing: Option<&std::fs::Metadata>, mode: u32) -> io::Result<Self> {
        let temporary = temporary(&path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let target = Self {
            path,
            file,
            temporary: Some(temporary),
            kept: false,
        };
        target.take_over(existing, mode)?;
        Ok(target)
    }

    /// The owner of the file that it will replace, and its mode.
    fn take_over(&self, existing: Option<&std::fs::Metadata>, mode: u32) -> io::Result<()> {
        if let Some(existing) = existing {
            let made = self.file.metadata()?;
            if (made.uid(), made.gid()) != (existing.uid(), existing.gid()) {
                std::os::unix::fs::fchown(&self.file, Some(existing.uid()), Some(existing.gid()))?;
            }
        }
        self.file.set_permissions(Permissions::from_mode(mode))
    }

    /// Goes on with the file that gathers the parts.
    fn part(request: &FileWrite, path: PathBuf) -> Result<Self, CallError> {
        let (temporary, file) = parts::open(request, &path)?;
        Ok(Self {
            path,
            file,
            temporary: Some(temporary),
            // What has arrived stays when a part breaks off: it is sent again from there.
            kept: true,
        })
    }

    fn in_place(request: &FileWrite, path: PathBuf) -> Result<Self, CallError> {
        if !request.upload.is_empty() {
            let reason = format!("{} cannot be written in parts", path.display());
            return Err(CallError::invalid(reason));
        }
        let file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&path)
            .during(attempt("writing", &path))?;
        Ok(Self {
            path,
            file,
            temporary: None,
            kept: false,
        })
    }

    fn write(&self, bytes: &[u8]) -> Result<(), CallError> {
        (&self.file)
            .write_all(bytes)
            .during(attempt("writing", &self.path))
    }

    /// The end of a part that others follow; tells how many bytes are there.
    fn leave(&self, user: &User) -> Result<FileInfo, CallError> {
        let metadata = self
            .file
            .metadata()
            .during(attempt("writing", &self.path))?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        Ok(info::describe(
            user,
            &self.path,
            &metadata,
            true,
            name.into(),
        ))
    }

    fn finish(&self, request: &FileWrite, user: &User) -> Result<FileInfo, CallError> {
        let writing = || attempt("writing", &self.path);
        if let Some(temporary) = &self.temporary {
            self.file.sync_all().during(writing())?;
            let existing = check(request, &self.path)?;
            if self.kept {
                let mode = mode(request, existing.as_ref());
                self.take_over(existing.as_ref(), mode).during(writing())?;
            }
            let flags = if request.overwrite {
                RenameFlags::empty()
            } else {
                RenameFlags::NOREPLACE
            };
            rustix::fs::renameat_with(
                rustix::fs::CWD,
                temporary,
                rustix::fs::CWD,
                &self.path,
                flags,
            )
            .during(writing())?;
            if let Some(folder) = self.path.parent() {
                // The name too survives a crash from here on; a folder that may not be read cannot be synced.
                let _ = File::open(folder).and_then(|folder| folder.sync_all());
            }
        } else if self
            .file
            .metadata()
            .is_ok_and(|metadata| metadata.is_file())
        {
            self.file.sync_all().during(writing())?;
        }
        info::of(user, &self.path, false)
    }
}

/// That of the file that is replaced, or as asked for.
fn mode(request: &FileWrite, existing: Option<&std::fs::Metadata>) -> u32 {
    match (existing, request.mode) {
        (Some(existing), _) => existing.mode() & 0o7777,
        (None, 0) => 0o644,
        (None, mode) => mode & 0o7777,
    }
}

/// A name beside `path` that nobody has.
pub fn temporary(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let random = u128::from_ne_bytes(guest_protocol::link::random_nonce());
    folder.join(format!("{TEMPORARY}{random:032x}"))
}

/// Where a path leads, when it is a link to something.
fn resolve(path: &Path) -> Result<PathBuf, CallError> {
    match std::fs::symlink_metadata(path) {
        Ok(own) if own.is_symlink() => match path.canonicalize() {
            Ok(target) => Ok(target),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A link to nothing: what it leads to is made.
                let target = std::fs::read_link(path).during(attempt("looking at", path))?;
                Ok(path.parent().unwrap_or(Path::new("/")).join(target))
            }
            Err(error) => Err(CallError::system(attempt("looking at", path)(), &error)),
        },
        _ => Ok(path.to_owned()),
    }
}

/// Whether the file may be written as asked; gives what is there now.
fn check(request: &FileWrite, path: &Path) -> Result<Option<std::fs::Metadata>, CallError> {
    let existing = match std::fs::metadata(path) {
        Ok(existing) => Some(existing),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(CallError::system(attempt("writing", path)(), &error)),
    };
    let refuse = |kind: io::ErrorKind| {
        Err(CallError::system(
            attempt("writing", path)(),
            &io::Error::from(kind),
        ))
    };
    match &existing {
        Some(existing) if existing.is_dir() => refuse(io::ErrorKind::IsADirectory),
        Some(_) if !request.overwrite => refuse(io::ErrorKind::AlreadyExists),
        None if !request.create => refuse(io::ErrorKind::NotFound),
        found => {
            let version = found.as_ref().map(info::version);
            if !request.if_version.is_empty() && version.as_ref() != Some(&request.if_version) {
                let reason = format!("{} has changed meanwhile", path.display());
                return Err(CallError::failed(failure::Kind::Conflict, reason));
            }
            Ok(existing)
        }
    }
}
