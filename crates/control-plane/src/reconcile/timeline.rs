//! What a host reports of a start: kept, and told to those who watch.

use std::collections::HashMap;
use std::sync::Arc;

use control_api::events::Event;
use fleet_api::host::{Host, HostEvent, HostEventKind, StartFailure};
use model::{UserId, WorkspaceId};
use tokio::sync::broadcast::error::RecvError;

use crate::app::{App, present};
use crate::fault::Outcome;
use crate::store::starts::StepChange;
use crate::store::workspaces::WorkspaceRow;

/// Progress is saved at most so often; a database that writes through has better things to do.
const PROGRESS_MS: u64 = 400;

/// The first step of a start: no host is known yet.
const PLACE: &str = "place";

/// How finding room went.
pub(super) enum Placed {
    Waits(String),
    Ended(Option<StartFailure>),
}

/// Listens to a host for as long as it has something to say.
pub async fn listen(app: Arc<App>, id: String, host: Arc<dyn Host>) {
    let mut events = host.events();
    // Whatever happened before this is seen by looking.
    app.inbox.all();
    super::report_strangers(&app, host.as_ref()).await;
    let mut last = HashMap::new();
    loop {
        match events.recv().await {
            Ok(event) => {
                if let Err(fault) = heard(&app, &event, &mut last).await {
                    tracing::warn!(workspace = %event.workspace, detail = fault.problem.detail, "a report of a start was not kept");
                }
            }
            Err(RecvError::Lagged(_)) => app.inbox.all(),
            Err(RecvError::Closed) => {
                tracing::warn!(host = id, "the host has stopped reporting");
                return;
            }
        }
    }
}

/// `last`: when progress of a workspace was saved.
async fn heard(app: &App, event: &HostEvent, last: &mut HashMap<WorkspaceId, u64>) -> Outcome<()> {
    let id = &event.workspace;
    let (step, change) = match &event.what {
        HostEventKind::Changed { .. } | HostEventKind::Deleted => {
            app.inbox.changed(id);
            return Ok(());
        }
        HostEventKind::StepStarted { step } => (step, StepChange::Began),
        HostEventKind::StepProgress {
            step,
            detail,
            percent,
        } => {
            let saved = last.get(id).copied().unwrap_or_default();
            if percent.is_none_or(|percent| percent < 100) && event.at_ms < saved + PROGRESS_MS {
                return Ok(());
            }
            last.insert(id.clone(), event.at_ms);
            (
                step,
                StepChange::Progress {
                    detail: detail.clone(),
                    percent: *percent,
                },
            )
        }
        HostEventKind::StepFinished {
            step,
            took_ms,
            failure,
        } => {
            last.remove(id);
            // A clone that fails or ends changes what the workspace shows.
            app.inbox.changed(id);
            (
                step,
                StepChange::Ended {
                    took_ms: *took_ms,
                    failure: failure.clone(),
                },
            )
        }
    };
    let Some(row) = app.store.workspace(id).await? else {
        return Ok(());
    };
    app.step_changed(&row.owner, id, event.epoch, step, event.at_ms, change)
        .await
}

impl App {
    pub(super) async fn step_changed(
        &self,
        owner: &UserId,
        workspace: &WorkspaceId,
        epoch: u64,
        step: &str,
        at_ms: u64,
        change: StepChange,
    ) -> Outcome<()> {
        let row = self
            .store
            .change_step(workspace, epoch, step, at_ms, change)
            .await?;
        if let Some(row) = row {
            let step = Box::new(present::step(&row, false));
            let event = Event::Step {
                workspace: workspace.clone(),
                epoch,
                step,
            };
            self.events.tell(owner, workspace, event);
        }
        Ok(())
    }

    /// Keeps how finding room went, which began at `since_ms`; unless the host has said so already.
    pub(super) async fn placed(
        &self,
        row: &WorkspaceRow,
        epoch: u64,
        since_ms: u64,
        outcome: Placed,
    ) -> Outcome<()> {
        let start = self.store.start(&row.id, epoch).await?;
        let steps = start.map(|start| start.steps).unwrap_or_default();
        let known = steps.iter().find(|step| step.step == PLACE);
        if known.is_some_and(|step| step.took_ms.is_some()) {
            return Ok(());
        }
        let began_ms = known.map_or(since_ms, |step| step.began_ms);
        let change = match outcome {
            Placed::Waits(detail) => StepChange::Progress {
                detail,
                percent: None,
            },
            Placed::Ended(failure) => StepChange::Ended {
                took_ms: self.world.now_ms().saturating_sub(began_ms),
                failure,
            },
        };
        self.step_changed(&row.owner, &row.id, epoch, PLACE, began_ms, change)
            .await
    }
}
