//! The task behind a watch: follows folders that come and go, and gathers what happens for a moment.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use guest_protocol::frames::file_event::Kind;
use rustix::fs::inotify::ReadFlags;
use tokio::time::Instant;

use super::Watch;
use super::inotify::{Armed, Inotify, Notice};
use super::log::Pending;
use super::scope::Scope;
use crate::machine::Machine;
use crate::session::CallError;

/// How long events are gathered after the first.
const GATHER: Duration = Duration::from_millis(50);

pub struct Collector {
    scope: Scope,
    /// A single file: its folder is watched, since editors replace files.
    only: Option<PathBuf>,
    inotify: Inotify,
    folders: HashMap<i32, PathBuf>,
    pending: Pending,
}

impl Collector {
    /// Everything that happens from the return on is seen.
    pub async fn arm(machine: &'static Machine, scope: Scope) -> Result<Self, CallError> {
        let inotify = {
            let _context = machine.bulk.enter();
            Inotify::new().map_err(|error| failure(&scope.path, &error))?
        };
        let (armer, mut about) = (inotify.clone(), scope.clone());
        let work = move || {
            let path = about.path.clone();
            let metadata = std::fs::metadata(&path).map_err(|error| failure(&path, &error))?;
            let only = (!metadata.is_dir()).then(|| path.clone());
            let folder = match (&only, path.parent()) {
                (Some(_), Some(parent)) => parent,
                _ => path.as_path(),
            };
            about.recursive &= only.is_none();
            let mut armed = Armed::default();
            armer
                .arm(&about, folder, &mut armed)
                .map_err(|error| failure(&path, &error))?;
            Ok((only, armed))
        };
        let (only, armed) = machine.threads.run_slowly(work).await?;
        let folders = armed.folders.into_iter().collect();
        Ok(Self {
            scope,
            only,
            inotify,
            folders,
            pending: Pending::default(),
        })
    }

    /// Runs until it is aborted, or the folder itself is gone.
    pub async fn run(mut self, machine: &'static Machine, watch: Arc<Watch>) {
        loop {
            let mut notices = self.inotify.read().await;
            let until = Instant::now() + GATHER;
            loop {
                let outcome = match notices {
                    Ok(notices) => self.take(machine, &watch, notices).await,
                    Err(error) => Err(failure(&self.scope.path, &error)),
                };
                if let Err(error) = outcome {
                    self.tell(&watch, Some(error));
                    return;
                }
                match tokio::time::timeout_at(until, self.inotify.read()).await {
                    Ok(more) => notices = more,
                    Err(_elapsed) => break,
                }
            }
            self.tell(&watch, None);
        }
    }

    fn tell(&mut self, watch: &Watch, failed: Option<CallError>) {
        let mut state = watch.state();
        if self.pending.is_empty() && failed.is_none() {
            return;
        }
        self.pending.move_to(&mut state.log);
        state.failed = failed;
        drop(state);
        watch.changed.notify_waiters();
    }

    async fn take(
        &mut self,
        machine: &'static Machine,
        watch: &Watch,
        notices: Vec<Notice>,
    ) -> Result<(), CallError> {
        for notice in notices {
            if notice.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.start_over(machine, watch).await?;
                continue;
            }
            let Some(folder) = self.folders.get(&notice.watch).cloned() else {
                continue;
            };
            if notice.flags.contains(ReadFlags::IGNORED) {
                self.folders.remove(&notice.watch);
                continue;
            }
            if notice.flags.contains(ReadFlags::DELETE_SELF) {
                if folder == self.scope.path {
                    self.add(&folder, Kind::Deleted);
                }
                continue;
            }
            let Some(name) = notice.name else { continue };
            let path = folder.join(name);
            let is_folder = notice.flags.contains(ReadFlags::ISDIR);
            if notice
                .flags
                .intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO)
            {
                self.add(&path, Kind::Created);
                if is_folder && self.scope.recursive && self.scope.covers_inside(&path) {
                    self.enter(machine, path).await?;
                }
            } else if notice
                .flags
                .intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM)
            {
                self.add(&path, Kind::Deleted);
                if is_folder {
                    self.leave(&path);
                }
            } else if !is_folder {
                self.add(&path, Kind::Changed);
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, kind: Kind) {
        let told = match &self.only {
            Some(only) => path == only,
            None => self.scope.covers(path),
        };
        if told {
            self.pending.add(path, kind);
        }
    }

    /// What was made in a new folder before it was watched is told too.
    async fn enter(&mut self, machine: &'static Machine, folder: PathBuf) -> Result<(), CallError> {
        let (inotify, scope) = (self.inotify.clone(), self.scope.clone());
        let work = move || {
            let mut armed = Armed::default();
            match inotify.arm(&scope, &folder, &mut armed) {
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    Err(failure(&folder, &error))
                }
                // One that is gone again, or may not be read, is not followed.
                _ => Ok(armed),
            }
        };
        let armed = machine.threads.run(work).await?;
        self.folders.extend(armed.folders);
        for entry in armed.entries {
            self.add(&entry, Kind::Created);
        }
        Ok(())
    }

    /// A folder that was moved away is not followed to where it went.
    fn leave(&mut self, folder: &Path) {
        let inotify = &self.inotify;
        self.folders.retain(|watch, path| {
            let inside = path.starts_with(folder);
            if inside {
                inotify.disarm(*watch);
            }
            !inside
        });
    }

    /// The kernel dropped notices, of new folders too.
    async fn start_over(
        &mut self,
        machine: &'static Machine,
        watch: &Watch,
    ) -> Result<(), CallError> {
        self.pending = Pending::default();
        let fresh = Self::arm(machine, self.scope.clone()).await?;
        (self.inotify, self.folders) = (fresh.inotify, fresh.folders);
        watch.state().log.lose();
        watch.changed.notify_waiters();
        Ok(())
    }
}

fn failure(path: &Path, error: &std::io::Error) -> CallError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        let reason = format!(
            "there are too many folders in {} to watch them all",
            path.display()
        );
        return CallError::busy(reason);
    }
    CallError::system(format!("watching {}", path.display()), error)
}
