//! The kernel's notifications: which folders are watched, and what it says of them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::scope::Scope;

/// Folders of one watch.
const MAX_FOLDERS: usize = 200_000;

/// What the kernel said.
#[derive(Debug)]
pub struct Notice {
    pub watch: i32,
    pub flags: ReadFlags,
    /// Of the entry within the watched folder.
    pub name: Option<PathBuf>,
}

/// An instance of the kernel's queue. Clones share it.
#[derive(Clone, Debug)]
pub struct Inotify {
    queue: Arc<AsyncFd<File>>,
}

/// What arming found.
#[derive(Debug, Default)]
pub struct Armed {
    pub folders: Vec<(i32, PathBuf)>,
    /// Everything within them.
    pub entries: Vec<PathBuf>,
}

impl Inotify {
    pub fn new() -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self {
            queue: Arc::new(crate::sys::watch_file(File::from(queue))?),
        })
    }

    /// Watches a folder and, in a recursive scope, those within. Blocks, and needs the user's rights.
    pub fn arm(&self, scope: &Scope, folder: &Path, armed: &mut Armed) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(self.queue.get_ref(), folder, flags)?;
        armed.folders.push((watch, folder.to_owned()));
        if armed.folders.len() > MAX_FOLDERS {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if !scope.recursive {
            return Ok(());
        }
        // Entries that cannot be read, or are gone, are not followed.
        for entry in std::fs::read_dir(folder)?.flatten() {
            let path = entry.path();
            let inner =
                entry.file_type().is_ok_and(|kind| kind.is_dir()) && scope.covers_inside(&path);
            armed.entries.push(path.clone());
            if inner
                && let Err(error) = self.arm(scope, &path, armed)
                && error.kind() == io::ErrorKind::StorageFull
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Forgets a folder; one that is gone is fine.
    pub fn disarm(&self, watch: i32) {
        let _ = inotify::remove_watch(self.queue.get_ref(), watch);
    }

    /// Waits for notices, at least one.
    pub async fn read(&self) -> io::Result<Vec<Notice>> {
        loop {
            let mut ready = self.queue.readable().await?;
            let notices = self.take()?;
            if !notices.is_empty() {
                return Ok(notices);
            }
            ready.clear_ready();
        }
    }

    fn take(&self) -> io::Result<Vec<Notice>> {
        let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
        let mut reader = Reader::new(self.queue.get_ref(), &mut buffer);
        let mut notices = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => notices.push(Notice {
                    watch: event.wd(),
                    flags: event.events(),
                    name: event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()).into()),
                }),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(notices),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if reader.is_buffer_empty() {
                return Ok(notices);
            }
        }
    }
}
