//! One pass over one workspace: look, step, save, plan, ask; until there is nothing to ask.

use std::time::Duration;

use fleet_api::host::{CloneState, FailureKind, Host, HostError, Observed, StartFailure};
use model::WorkspaceId;
use model::state::{Effect, Event, Plan, State, plan};

use super::sight;
use super::timeline::Placed;
use crate::app::App;
use crate::app::change::advance;
use crate::fault::Outcome;
use crate::store::workspaces::WorkspaceRow;

/// Rounds of one pass; what is not settled then is taken up again by the timer.
const ROUNDS: usize = 8;
/// A host that does not say within this what it sees, cannot tell.
const LOOK: Duration = Duration::from_secs(15);
/// Taking a start on means: room, and the wish saved.
const TAKE_ON: Duration = Duration::from_secs(60);
/// In order first; by force after this.
const GRACE_MS: u64 = 20_000;
const STOP: Duration = Duration::from_secs(90);
const REMOVE: Duration = Duration::from_secs(180);

/// Whether a round has changed something, so that another is worth it.
enum Round {
    Again,
    Over,
}

pub async fn pass(app: &App, id: &WorkspaceId) -> Outcome<()> {
    for _ in 0..ROUNDS {
        let Some(row) = app.store.workspace(id).await? else {
            return Ok(());
        };
        let host = row.host.as_deref().and_then(|host| app.hosts.get(host));
        let row = match (&host, &row.host) {
            (Some(host), _) => app.look(id, host.as_ref()).await?,
            // Its host is not attached: unknown, which is not absent.
            (None, Some(_)) => {
                let reason = "its host is not there".into();
                app.saw(id, &Observed::Unknown { reason }).await?
            }
            // No host was ever asked, so none has anything: nothing to note of a start that is new.
            (None, None) if is_new(&row, app.world.now_ms()) => Some(row),
            (None, None) => app.saw(id, &Observed::Absent).await?,
        };
        let Some(row) = row else { return Ok(()) };
        let round = match plan(&row.state) {
            Plan::Run { .. } => app.run(&row).await?,
            Plan::Stop => app.stop_machine(&row, host.as_deref()).await?,
            Plan::Remove => app.remove(&row, host.as_deref()).await?,
            Plan::Watch | Plan::Forget => Round::Over,
        };
        match round {
            Round::Again => {}
            Round::Over => return Ok(()),
        }
    }
    Ok(())
}

impl App {
    /// Looks at the host and saves what follows.
    pub async fn look(&self, id: &WorkspaceId, host: &dyn Host) -> Outcome<Option<WorkspaceRow>> {
        let observed = tokio::time::timeout(LOOK, host.observe(id))
            .await
            .unwrap_or_else(|_| Observed::Unknown {
                reason: "the host does not answer".into(),
            });
        self.saw(id, &observed).await
    }

    async fn saw(&self, id: &WorkspaceId, observed: &Observed) -> Outcome<Option<WorkspaceRow>> {
        self.change(id, |row, now| {
            let mut effects = advance(row, &sight::event(&row.state, observed), now)?;
            effects.extend(advance(row, &Event::Tick, now)?);
            // The clone has just succeeded. A server that refuses something later asks again.
            if is_cloned(observed) && !row.observed.as_ref().is_some_and(is_cloned) {
                row.needs_credentials = None;
            }
            row.observed = Some(observed.clone());
            Ok(effects)
        })
        .await
    }

    async fn run(&self, row: &WorkspaceRow) -> Outcome<Round> {
        let epoch = row.state.placement().epoch;
        let Some((host_id, host)) = self.place(row).await else {
            let message = "No host is attached at the moment.".into();
            self.answer(row, &Event::NoRoom { message }).await?;
            return Ok(Round::Over);
        };
        // Saved before the host is asked: whoever takes over from here must know where to look.
        let placed = self
            .change(&row.id, |row, _| {
                if row.state.placement().epoch == epoch && matches!(row.state, State::Queued { .. })
                {
                    row.host = Some(host_id.clone());
                }
                Ok(Vec::new())
            })
            .await?;
        let Some(placed) = placed else {
            return Ok(Round::Over);
        };
        if !matches!(placed.state, State::Queued { .. }) || placed.state.placement().epoch != epoch
        {
            return Ok(Round::Again);
        }
        let spec = self.run_spec(&placed).await?;
        let event = match tokio::time::timeout(TAKE_ON, host.run(spec)).await {
            Ok(Ok(())) => Event::RunAccepted,
            Ok(Err(HostError::NoRoom { message })) => Event::NoRoom { message },
            Ok(Err(HostError::Fenced { known, .. })) => Event::Fenced { known },
            Ok(Err(error)) => Event::RunRefused {
                failure: sight::failure(&refused(&error)),
            },
            // Perhaps it has taken it on: the next look tells.
            Err(_) => return Ok(Round::Over),
        };
        self.answer(row, &event).await?;
        Ok(match event {
            Event::RunAccepted | Event::Fenced { .. } => Round::Again,
            _ => Round::Over,
        })
    }

    /// What came of asking for the start that `queued` wants. If the workspace has moved on, it says nothing
    /// any more.
    async fn answer(&self, queued: &WorkspaceRow, event: &Event) -> Outcome<()> {
        let epoch = queued.state.placement().epoch;
        let row = self
            .change(&queued.id, |row, now| {
                if row.state.placement().epoch != epoch {
                    return Ok(Vec::new());
                }
                let effects: Vec<Effect> = advance(row, event, now)?;
                // Nobody has it: the next time any host may.
                if matches!(event, Event::NoRoom { .. }) && !row.state.placement().disk {
                    row.host = None;
                }
                Ok(effects)
            })
            .await?;
        let Some(row) = row else { return Ok(()) };
        let outcome = match event {
            Event::RunAccepted => Placed::Ended(None),
            Event::RunRefused { failure } => Placed::Ended(Some(StartFailure {
                kind: FailureKind::Internal,
                message: failure.message.clone(),
                log: failure.log.clone(),
            })),
            Event::NoRoom { message } => Placed::Waits(message.clone()),
            Event::Start
            | Event::Stop
            | Event::Delete
            | Event::Fenced { .. }
            | Event::Seen(_)
            | Event::Tick => return Ok(()),
        };
        self.placed(&row, epoch, queued.changed_ms, outcome).await
    }

    async fn stop_machine(&self, row: &WorkspaceRow, host: Option<&dyn Host>) -> Outcome<Round> {
        let Some(host) = host else {
            return Ok(Round::Over);
        };
        if matches!(
            row.observed,
            Some(Observed::Running {
                unresponsive: false,
                ..
            })
        ) {
            // So that a deletion can say what it would lose when the machine is down.
            self.look_inside(row).await?;
        }
        match tokio::time::timeout(STOP, host.stop(&row.id, GRACE_MS)).await {
            Ok(Ok(()) | Err(HostError::NotRunning)) => Ok(Round::Again),
            Ok(Err(error)) => self.note(row, &error.to_string()).await,
            Err(_) => {
                self.note(row, "The host takes long to stop the machine.")
                    .await
            }
        }
    }

    async fn remove(&self, row: &WorkspaceRow, host: Option<&dyn Host>) -> Outcome<Round> {
        let Some(host) = host else {
            return Ok(Round::Over);
        };
        match tokio::time::timeout(REMOVE, host.delete(&row.id)).await {
            Ok(Ok(())) => Ok(Round::Again),
            Ok(Err(error)) => self.note(row, &error.to_string()).await,
            Err(_) => self.note(row, "The host takes long to remove it.").await,
        }
    }

    /// What a host said to a request, for the person who waits; the timer asks again.
    async fn note(&self, row: &WorkspaceRow, text: &str) -> Outcome<Round> {
        tracing::warn!(workspace = %row.id, state = row.state.name(), "{text}");
        self.change(&row.id, |row, _| {
            row.detail = text.into();
            Ok(Vec::new())
        })
        .await?;
        Ok(Round::Over)
    }
}

fn is_new(row: &WorkspaceRow, now_ms: u64) -> bool {
    matches!(row.state, State::Queued { until_ms, .. } if now_ms < until_ms)
        && !row.state.placement().disk
}

fn is_cloned(observed: &Observed) -> bool {
    matches!(
        observed,
        Observed::Running {
            clone: CloneState::Ready,
            ..
        }
    )
}

fn refused(error: &HostError) -> StartFailure {
    StartFailure {
        kind: FailureKind::Internal,
        message: error.to_string(),
        log: String::new(),
    }
}
