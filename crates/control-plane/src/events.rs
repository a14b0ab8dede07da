//! What is told to those who watch: every change, to the owner of the workspace.

use control_api::events::Event;
use model::{UserId, WorkspaceId};
use tokio::sync::broadcast;

/// Events that a slow watcher may be behind before it is told to fetch again.
const BACKLOG: usize = 512;

/// An event and whom it concerns.
#[derive(Clone, Debug)]
pub struct Told {
    pub owner: UserId,
    pub workspace: WorkspaceId,
    pub event: Event,
}

/// In-process; a fleet puts a bus between.
pub struct Events(broadcast::Sender<Told>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Events {
    pub fn tell(&self, owner: &UserId, workspace: &WorkspaceId, event: Event) {
        // Nobody watching is no error.
        let _ = self.0.send(Told {
            owner: owner.clone(),
            workspace: workspace.clone(),
            event,
        });
    }

    pub fn watch(&self) -> broadcast::Receiver<Told> {
        self.0.subscribe()
    }
}
