//! Requests that answer when something has come true.

use std::time::Duration;

use control_api::workspaces::{Wait, WaitFor};
use model::WorkspaceId;
use model::state::{Desired, State};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::{App, present};
use crate::fault::Outcome;
use crate::store::workspaces::WorkspaceRow;

const DEFAULT_S: u64 = 120;
const MAX_S: u64 = 600;
/// Looks at the row without having heard of a change: another process may have made one.
const LOOK: Duration = Duration::from_secs(2);

impl App {
    /// The row when `wait` has come true, can no longer come true, or its time is over. None: deleted.
    pub async fn wait(&self, id: &WorkspaceId, wait: &Wait) -> Outcome<Option<WorkspaceRow>> {
        let mut told = self.events.watch();
        let seconds = wait.timeout_s.unwrap_or(DEFAULT_S).clamp(1, MAX_S);
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let row = self.store.workspace(id).await?;
            let (Some(row), Some(goal)) = (&row, wait.wait) else {
                return Ok(row);
            };
            if is_settled(row, goal) || Instant::now() >= end {
                return Ok(Some(row.clone()));
            }
            let next = end.min(Instant::now() + LOOK);
            loop {
                match tokio::time::timeout_at(next, told.recv()).await {
                    Ok(Ok(told)) if told.workspace == *id => break,
                    Ok(Ok(_)) => {}
                    Ok(Err(RecvError::Lagged(_))) | Err(_) => break,
                    Ok(Err(RecvError::Closed)) => return Ok(Some(row.clone())),
                }
            }
        }
    }

    /// Asks every workspace that is to run to stop, and waits for them, no longer than `within`. One that
    /// cannot be asked, or is late, is left to whatever ends the server.
    pub async fn stop_all(&self, within: Duration) -> Outcome<()> {
        let end = Instant::now() + within;
        let mut asked = Vec::new();
        for id in self.store.workspace_ids().await? {
            match self.store.workspace(&id).await? {
                Some(row) if row.state.desired() == Desired::Running => {
                    match self.stop(&row.owner, &id).await {
                        Ok(_) => asked.push(id),
                        Err(fault) => tracing::warn!(workspace = %id, ?fault, "it is not stopped"),
                    }
                }
                _ => {}
            }
        }
        let wait = Wait {
            wait: Some(WaitFor::Stopped),
            timeout_s: Some(MAX_S),
        };
        let all = async {
            for id in &asked {
                if let Err(fault) = self.wait(id, &wait).await {
                    tracing::warn!(workspace = %id, ?fault, "it is not waited for");
                }
            }
        };
        let _late = tokio::time::timeout_at(end, all).await;
        Ok(())
    }
}

/// It has come true, or nothing is under way that could make it true.
fn is_settled(row: &WorkspaceRow, goal: WaitFor) -> bool {
    match (&row.state, goal) {
        (State::Deleted { .. }, _) => true,
        (_, WaitFor::Deleted) => row.state.desired() != Desired::Deleted,
        (State::Running { .. }, WaitFor::Ready) => present::is_ready(row),
        (State::Running { .. }, WaitFor::Running) => true,
        (State::Queued { .. } | State::Provisioning { .. } | State::Stopping { .. }, _)
        | (State::Running { .. }, WaitFor::Stopped)
        | (State::Deleting { .. }, _) => false,
        (State::Stopped { .. } | State::Failed { .. }, _) => true,
    }
}
