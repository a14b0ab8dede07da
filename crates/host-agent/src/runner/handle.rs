//! A workspace's owner, from outside.

use std::sync::Arc;

use fleet_api::host::{HostError, RunSpec};
use model::WorkspaceId;
use tokio::sync::{mpsc, oneshot, watch};

use crate::runner::context::Context;
use crate::runner::owner;
use crate::runner::record::{self, Record, Stage};
use crate::runner::state::State;
use crate::runner::watch::Monitor;

/// What is asked of a workspace.
#[derive(Debug)]
pub enum Mail {
    Run {
        spec: Box<RunSpec>,
        answer: oneshot::Sender<Result<(), HostError>>,
    },
    Stop {
        grace_ms: u64,
        answer: oneshot::Sender<Result<(), HostError>>,
    },
    Delete {
        answer: oneshot::Sender<Result<(), HostError>>,
    },
    RetryClone {
        answer: oneshot::Sender<Result<(), HostError>>,
    },
}

/// A workspace's owner, from outside. The task ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Runner {
    mailbox: mpsc::Sender<Mail>,
    state: watch::Receiver<State>,
}

impl Runner {
    /// Of a workspace that is not here yet.
    pub fn new(context: Arc<Context>, workspace: WorkspaceId) -> Self {
        let (mailbox, state) = owner::spawn(context, workspace, None, State::Absent);
        Self { mailbox, state }
    }

    /// Of a workspace whose record was found: goes on from there.
    pub fn adopt(context: Arc<Context>, record: Record) -> Self {
        let epoch = record.spec.epoch;
        let monitor = Monitor::new(&context.folders.monitor(&record.spec.workspace));
        let state = if monitor.folder.monitor().is_some() {
            record.stage.with_machine(epoch)
        } else {
            ended_meanwhile(&record, &monitor)
        };
        let workspace = record.spec.workspace.clone();
        let (mailbox, state) = owner::spawn(context, workspace, Some(record), state);
        Self { mailbox, state }
    }

    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits for a state; `None` when the owner has ended.
    pub async fn wait_for(&self, wanted: impl Fn(&State) -> bool) -> Option<State> {
        let mut state = self.state.clone();
        state.wait_for(wanted).await.ok().map(|state| state.clone())
    }

    /// Asks and waits for the answer.
    pub async fn ask(
        &self,
        mail: impl FnOnce(oneshot::Sender<Result<(), HostError>>) -> Mail,
    ) -> Result<(), HostError> {
        let (answer, answered) = oneshot::channel();
        let failed = |message: &str| HostError::Failed {
            message: message.into(),
        };
        self.mailbox
            .try_send(mail(answer))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    failed("the workspace is busy: try again in a moment")
                }
                mpsc::error::TrySendError::Closed(_) => failed("the workspace's owner has ended"),
            })?;
        answered
            .await
            .map_err(|_| failed("the workspace's owner has ended"))?
    }
}

/// The state of a workspace whose machine is gone: it ended while no host agent looked, or with the host.
fn ended_meanwhile(record: &Record, monitor: &Monitor) -> State {
    let epoch = record.spec.epoch;
    if record.stage == Stage::Starting {
        // The host agent ended in the middle of it: once more.
        return State::Starting { epoch };
    }
    let lived = matches!(record.stage, Stage::Running { .. });
    let ended = monitor.ended();
    if !lived || ended.orderly || record.boot != record::this_boot() {
        return record.stage.without_machine(epoch);
    }
    State::Failed {
        epoch,
        failure: ended.failure(),
    }
}
