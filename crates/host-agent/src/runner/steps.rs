//! Tells everybody who listens what happens to a workspace.

use std::time::{Duration, Instant, SystemTime};

use fleet_api::host::{HostEvent, HostEventKind, Observed, StartFailure};
use model::WorkspaceId;
use tokio::sync::broadcast;

/// Progress is told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Tells of one workspace, of one start.
#[derive(Clone, Debug)]
pub struct Teller {
    pub events: broadcast::Sender<HostEvent>,
    pub workspace: WorkspaceId,
    pub epoch: u64,
}

/// A step that has begun.
#[derive(Debug)]
pub struct Step {
    teller: Teller,
    name: &'static str,
    began: Instant,
    told: Option<Instant>,
}

impl Teller {
    pub fn changed(&self, observed: Observed) {
        self.tell(HostEventKind::Changed { observed });
    }

    pub fn deleted(&self) {
        self.tell(HostEventKind::Deleted);
    }

    /// Begins a step of [`fleet_api::host::STEPS`].
    pub fn begin(&self, name: &'static str) -> Step {
        tracing::info!(workspace = %self.workspace, epoch = self.epoch, step = name, "begins");
        self.tell(HostEventKind::StepStarted { step: name.into() });
        Step {
            teller: self.clone(),
            name,
            began: Instant::now(),
            told: None,
        }
    }

    fn tell(&self, what: HostEventKind) {
        // Nobody listening is fine: whoever comes later looks at the inventory.
        let _ = self.events.send(HostEvent {
            workspace: self.workspace.clone(),
            epoch: self.epoch,
            at_ms: now_ms(),
            what,
        });
    }
}

impl Step {
    /// Says how far it is, unless it was said just before.
    pub fn progress(&mut self, detail: impl Into<String>, percent: Option<u8>) {
        if self
            .told
            .is_some_and(|told| told.elapsed() < PROGRESS_EVERY)
        {
            return;
        }
        self.told = Some(Instant::now());
        let (step, detail) = (self.name.into(), detail.into());
        self.teller.tell(HostEventKind::StepProgress {
            step,
            detail,
            percent,
        });
    }

    /// Ends it and passes on how.
    pub fn end<T>(self, outcome: Result<T, StartFailure>) -> Result<T, StartFailure> {
        match &outcome {
            Ok(_) => self.done(),
            Err(failure) => self.failed(failure),
        }
        outcome
    }

    pub fn done(self) {
        let (
            Teller {
                workspace, epoch, ..
            },
            took_ms,
        ) = (&self.teller, self.took_ms());
        tracing::info!(%workspace, epoch, step = self.name, took_ms, "done");
        self.finish(None);
    }

    pub fn failed(self, failure: &StartFailure) {
        let (
            Teller {
                workspace, epoch, ..
            },
            took_ms,
        ) = (&self.teller, self.took_ms());
        let (kind, message) = (failure.kind, &failure.message);
        tracing::warn!(%workspace, epoch, step = self.name, took_ms, ?kind, message, "failed");
        self.finish(Some(failure.clone()));
    }

    fn took_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn finish(self, failure: Option<StartFailure>) {
        let (step, took_ms) = (self.name.into(), self.took_ms());
        self.teller.tell(HostEventKind::StepFinished {
            step,
            took_ms,
            failure,
        });
    }
}

pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}
