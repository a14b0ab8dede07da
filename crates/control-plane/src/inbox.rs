//! What the reconciler is to look at. Bounded by the number of workspaces: a second note of the same kind
//! about one adds nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::WorkspaceId;
use tokio::sync::Notify;

#[derive(Default)]
pub struct Inbox {
    notes: Mutex<Notes>,
    notify: Notify,
}

#[derive(Debug, Default)]
pub struct Notes {
    /// Something about these has changed.
    pub changed: HashSet<WorkspaceId>,
    /// Something may have changed about any: events were lost.
    pub all: bool,
    /// When these were used last, in milliseconds since 1970.
    pub touched: HashMap<WorkspaceId, u64>,
    /// The git server that wants other credentials than it got.
    pub rejected: HashMap<WorkspaceId, String>,
}

impl Inbox {
    pub fn changed(&self, workspace: &WorkspaceId) {
        self.notes().changed.insert(workspace.clone());
        self.notify.notify_one();
    }

    pub fn all(&self) {
        self.notes().all = true;
        self.notify.notify_one();
    }

    /// Not urgent: seen at the next look.
    pub fn touched(&self, workspace: &WorkspaceId, now_ms: u64) {
        self.notes().touched.insert(workspace.clone(), now_ms);
    }

    pub fn rejected(&self, workspace: &WorkspaceId, server: String) {
        self.notes().rejected.insert(workspace.clone(), server);
        self.notify.notify_one();
    }

    /// Waits for a note, and may wake without one.
    pub async fn wait(&self) {
        self.notify.notified().await;
    }

    pub fn take(&self) -> Notes {
        std::mem::take(&mut *self.notes())
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
