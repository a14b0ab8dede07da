//! Work in progress: what is in no commit of the user's, kept as commits below `refs/roost/wip`.
//!
//! ```text
//! timer, a request, a stop ─► saving: status ─► copy of the index ─► tree ─► commit ─► reference
//! restoring: saving ─► what is in the way ─► git changes the files that differ
//! ```
//!
//! The user's index, branches and hooks take no part. Filters do: an encrypted file is saved encrypted, and the
//! content of a file in LFS stays in LFS's own store. A repository is worked on by one at a time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, stream};
use guest_protocol::frames::{
    WipList, WipListing, WipRestore, WipSave, WipSaved, wip_listing, wip_saved,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::repositories::find_all;
use crate::files::checked_path;
use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, Outcome};
use repository::Repository;
use saving::{Asked, Done};

mod bundles;
mod changes;
mod repository;
mod restoring;
mod saved;
mod saving;
mod scratch;
pub mod timer;

pub use bundles::{bundle, unbundle};

/// For one repository.
const DEADLINE: Duration = Duration::from_secs(60);
/// For all of them when the machine stops.
const BEFORE_STOP: Duration = Duration::from_secs(3);
/// Repositories at a time.
const AT_ONCE: usize = 4;
/// Repositories in one frame.
const IN_A_FRAME: usize = 8;
/// Saved commits of one repository in a listing, and characters of what each says.
const MAX_LISTED: usize = 100;
const MAX_SAID: usize = 100;

/// Whose turn it is with each repository.
pub struct Turns {
    places: Mutex<HashMap<PathBuf, Arc<Semaphore>>>,
    stopping: watch::Sender<bool>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            places: Mutex::default(),
            stopping: watch::Sender::new(false),
        }
    }
}

impl Turns {
    fn place(&self, path: &Path) -> Arc<Semaphore> {
        let mut places = self
            .places
            .lock()
            .expect("no code panics while it holds the table of turns");
        let place = places.entry(path.into());
        place.or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
    }

    /// Waits; nobody closes the semaphores.
    async fn turn(&self, path: &Path) -> Option<OwnedSemaphorePermit> {
        self.place(path).acquire_owned().await.ok()
    }
}

pub async fn save(machine: &'static Machine, call: Call, request: WipSave) -> Outcome {
    let asked = Asked {
        reason: request.reason,
        always: request.always,
        ..Asked::default()
    };
    let paths = paths(machine, &request.path).await?;
    let mut repositories = save_each(machine, paths, asked).await;
    loop {
        let rest = repositories.split_off(repositories.len().min(IN_A_FRAME));
        let more = !rest.is_empty();
        call.answer(Answer::WipSaved(WipSaved { repositories, more }))
            .await?;
        if !more {
            return Ok(());
        }
        repositories = rest;
    }
}

/// Saves what can be saved within a short time; what is left of `most` is the caller's.
pub async fn save_before_stop(machine: &'static Machine, most: Duration) {
    machine.wip.stopping.send_replace(true);
    let asked = Asked {
        reason: "stop".into(),
        regardless: true,
        ..Asked::default()
    };
    let work = async {
        let paths = find_all(machine).await?;
        let saving = save_each(machine, paths, asked).await;
        for repository in saving.iter().filter(|one| !one.error.is_empty()) {
            let (path, error) = (&repository.path, &repository.error);
            tracing::info!(path, error, "work in progress is not saved");
        }
        Ok::<_, CallError>(())
    };
    if tokio::time::timeout(most.min(BEFORE_STOP), work)
        .await
        .is_err()
    {
        tracing::warn!("not all work in progress was saved in time");
    }
}

async fn save_each(
    machine: &'static Machine,
    paths: Vec<PathBuf>,
    asked: Asked,
) -> Vec<wip_saved::Repository> {
    stream::iter(paths)
        .map(|path| {
            let asked = asked.clone();
            async move {
                let done = save_one(machine, &path, asked, false, DEADLINE).await;
                let described = match done {
                    Ok(done) => done.describe(),
                    Err(error) => wip_saved::Repository {
                        error: error.to_string(),
                        ..wip_saved::Repository::default()
                    },
                };
                wip_saved::Repository {
                    path: path.to_string_lossy().into_owned(),
                    ..described
                }
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

/// Opens a repository and saves it in its turn.
async fn save_one(
    machine: &'static Machine,
    path: &Path,
    asked: Asked,
    idle: bool,
    deadline: Duration,
) -> Result<Done, CallError> {
    in_time(deadline, async {
        let repository = Repository::open(machine, path, idle).await?;
        let _turn = machine.wip.turn(&repository.root).await;
        saving::save(&repository, asked).await
    })
    .await
}

async fn in_time<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let late = || {
        let seconds = deadline.as_secs();
        CallError::busy(format!(
            "git did not come to an end within {seconds} seconds"
        ))
    };
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or_else(|_| Err(late()))
}

pub async fn list(machine: &'static Machine, call: Call, request: WipList) -> Outcome {
    let paths = paths(machine, &request.path).await?;
    let mut repositories: Vec<_> = stream::iter(paths)
        .map(|path| async move {
            let listed = in_time(DEADLINE, async {
                Repository::open(machine, &path, false).await?.saved().await
            });
            let (saved, error) = match listed.await {
                Ok(saved) => (describe_all(saved), String::new()),
                Err(error) => (Vec::new(), error.to_string()),
            };
            let path = path.to_string_lossy().into_owned();
            wip_listing::Repository { path, saved, error }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    loop {
        let rest = repositories.split_off(repositories.len().min(IN_A_FRAME));
        let more = !rest.is_empty();
        call.answer(Answer::WipListing(WipListing { repositories, more }))
            .await?;
        if !more {
            return Ok(());
        }
        repositories = rest;
    }
}

fn describe_all(saved: Vec<saved::Saved>) -> Vec<wip_listing::Saved> {
    saved.into_iter().take(MAX_LISTED).map(describe).collect()
}

fn describe(saved: saved::Saved) -> wip_listing::Saved {
    let operation = saved.note.operation.split(' ').next().unwrap_or_default();
    wip_listing::Saved {
        branch: saved.branch().into(),
        operation: said(operation),
        reference: saved.reference,
        commit: saved.commit,
        head: said(&saved.note.head),
        time_ms: saved.time_ms,
        reason: said(&saved.note.reason),
        files: saved.note.files,
        bytes: saved.note.bytes,
        insertions: saved.note.insertions,
        deletions: saved.note.deletions,
    }
}

fn said(text: &str) -> String {
    text.chars().take(MAX_SAID).collect()
}

pub async fn restore(machine: &'static Machine, call: Call, request: WipRestore) -> Outcome {
    let path = checked_path(&request.path)?;
    // Goes on when the client is gone: half a working tree is nobody's.
    let work = tokio::spawn(async move {
        let repository = Repository::open(machine, &path, false).await?;
        let _turn = machine.wip.turn(&repository.root).await;
        let wanted = repository.find(&request.reference).await?;
        let preparing = restoring::prepare(&repository, &wanted);
        let prepared = in_time(DEADLINE, preparing).await?;
        restoring::finish(&repository, prepared, &wanted).await
    });
    let restored = work.await.unwrap_or_else(|_| Err(CallError::broken()))?;
    call.answer(Answer::WipRestored(restored)).await
}

/// Of one repository, or of all.
async fn paths(machine: &'static Machine, path: &str) -> Result<Vec<PathBuf>, CallError> {
    if path.is_empty() {
        find_all(machine).await
    } else {
        Ok(vec![checked_path(path)?])
    }
}
