//! Saved work: bundles of what the guest has saved, kept in the store beside the workspace's disk.
//!
//! ```text
//! guest: refs/roost/wip ─ list ─► the newest of each repository ─ bundle ─► store ─► older ones go
//! download: store, else guest        restore: guest, which is given the bundle if it lacks the commit
//! ```
//!
//! - [`choice`]: what is fetched and what is removed; pure.
//! - [`shelf`]: the bundles of one workspace in the store.
//! - [`keeping`]: brings new ones there: on a timer, before a stop, and when asked.
//! - [`requests`]: what the control plane asks of it.

pub mod choice;
pub mod keeping;
pub mod requests;
pub mod shelf;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use fleet_api::host::HostError;
use fleet_api::work::SavedWork;
use model::WorkspaceId;
use storage::keys::ObjectId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore};

use crate::failure::chain;
use choice::Kept;

/// Bundles that are fetched at a time: each is in memory, twice, on its way.
const AT_ONCE: usize = 2;

/// Whose turn it is with each workspace's saved work.
#[derive(Debug)]
pub struct Work {
    turns: Mutex<HashMap<WorkspaceId, Arc<AsyncMutex<Memory>>>>,
    fetching: Semaphore,
}

/// What is remembered of one workspace's saved work.
#[derive(Debug, Default)]
pub struct Memory {
    /// In the store; what lies there never changes, so it is read once.
    kept: BTreeMap<ObjectId, Kept>,
    /// By repository: the commit whose bundle is too large.
    refused: BTreeMap<String, String>,
    /// By repository: when the timer fetches the next bundle.
    not_before: HashMap<String, Instant>,
}

/// Held while the bundles of a workspace change, so that nothing comes after its deletion.
pub type Turn = OwnedMutexGuard<Memory>;

impl Memory {
    /// Whether the timer, or somebody who cannot wait, fetches this now.
    fn wants(&self, work: &SavedWork, urgent: bool) -> bool {
        let refused = self.refused.get(&work.name.path) == Some(&work.commit);
        let paused = self.not_before.get(&work.name.path);
        let paused = paused.is_some_and(|at| Instant::now() < *at);
        !refused && (urgent || !paused)
    }

    /// Of repositories that are gone nothing is remembered.
    fn forget_all_but(&mut self, saved: &[SavedWork]) {
        let paths: HashSet<&str> = saved.iter().map(|work| work.name.path.as_str()).collect();
        self.refused.retain(|path, _| paths.contains(path.as_str()));
        self.not_before
            .retain(|path, _| paths.contains(path.as_str()));
    }
}

impl Default for Work {
    fn default() -> Self {
        Self {
            turns: Mutex::default(),
            fetching: Semaphore::new(AT_ONCE),
        }
    }
}

impl Work {
    pub async fn turn(&self, workspace: &WorkspaceId) -> Turn {
        let place = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(workspace.clone()).or_default().clone()
        };
        place.lock_owned().await
    }

    /// Of a workspace that is deleted.
    pub fn forget(&self, workspace: &WorkspaceId) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.remove(workspace);
    }
}

/// Does what blocks, with the turn, which ends no sooner even if nobody waits for it any more.
async fn blocking<T: Send + 'static>(
    mut turn: Turn,
    work: impl FnOnce(&mut Memory) -> storage::Result<T> + Send + 'static,
) -> Result<(Turn, T), HostError> {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&mut turn);
        done.map(|done| (turn, done))
    });
    match done.await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(store_failed(&error)),
        Err(error) => Err(HostError::Failed {
            message: error.to_string(),
        }),
    }
}

fn store_failed(error: &storage::StorageError) -> HostError {
    HostError::Failed {
        message: format!(
            "saved work cannot be kept or read in the store: {}; `roost doctor` says how the store is",
            chain(error)
        ),
    }
}
