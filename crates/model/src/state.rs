//! The life of a workspace: one pure function from state, event and time to the next state, or a refusal.
//!
//! ```text
//!           ┌─────────── no room ──────────┐
//!           ▼                              │ taken on            guest answers
//! (new) → Queued ──────────────────► Provisioning ───────────────► Running
//!           ▲  ▲                           │ too long                │ stop
//!           │  └──────── then: Start ── Stopping ◄───────────────────┘
//!           │ start                        │ then: Rest → Stopped     then: Fail → Failed
//!           └── Stopped, Failed ◄──────────┘
//!  delete, from every state → Deleting → Deleted
//! ```
//!
//! A state says what is wanted; what a host sees comes in as [`Event::Seen`]. [`plan`] says what has to be
//! asked of a host because of a state alone, so that whoever drives it may die between any two steps.

use serde::{Deserialize, Serialize};

mod transition;

pub use transition::step;

/// Longest wait for room on a host.
pub const QUEUE_LIMIT_MS: u64 = 10 * 60_000;
/// Longest start of a machine, under software emulation too.
pub const PROVISION_LIMIT_MS: u64 = 10 * 60_000;
/// Longest stop, by force at the end.
pub const STOP_LIMIT_MS: u64 = 3 * 60_000;
/// Longest time without a sign of life from the host of a running workspace.
pub const SILENCE_LIMIT_MS: u64 = 5 * 60_000;
/// After this the name of a deleted workspace is gone even when its host does not answer; what the host
/// still has of it is removed when it is back.
pub const DELETE_LIMIT_MS: u64 = 10 * 60_000;

/// Which start of a workspace, and whether there is a disk from an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// Grows with every start, for ever.
    pub epoch: u64,
    /// A host has had the workspace's disk.
    pub disk: bool,
}

/// What a workspace is and is to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum State {
    /// Waits for a host to take it on; `waiting` says why none did yet.
    Queued {
        at: Placement,
        until_ms: u64,
        waiting: Option<String>,
    },
    /// A host builds it and boots it.
    Provisioning { at: Placement, until_ms: u64 },
    /// `silent_since_ms`: since when its host cannot tell whether it still does.
    Running {
        at: Placement,
        silent_since_ms: Option<u64>,
    },
    /// On its way down, and then?
    Stopping {
        at: Placement,
        until_ms: u64,
        then: AfterStop,
    },
    /// Nothing runs, the disk is kept.
    Stopped { at: Placement },
    /// It ended by itself or could not start; start, stop and delete are the ways out.
    Failed { at: Placement, failure: Failure },
    /// Its traces are being removed.
    Deleting { at: Placement, until_ms: u64 },
    /// The name is free of it; `leftovers`: a host that did not answer may still have something.
    Deleted { at: Placement, leftovers: bool },
}

/// What follows a stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "then", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AfterStop {
    Rest,
    Start,
    Fail { failure: Failure },
}

/// Why a workspace failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub kind: FailureKind,
    /// What happened and what to do, for a person.
    pub message: String,
    /// The end of the console or of a program's output.
    pub log: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", content = "kind", rename_all = "kebab-case")]
pub enum FailureKind {
    /// No host took it on in time.
    NoRoom,
    /// The machine was not up in time.
    StartTimeout,
    /// The machine was not down in time; it may still run.
    StopTimeout,
    /// Its host says nothing; it may still run.
    HostSilent,
    /// Its host has lost its machine.
    Lost,
    /// Its host has lost its disk.
    DiskLost,
    /// The machine was shut down from inside before it was up.
    EndedEarly,
    /// What the host says; a name that the host knows.
    Host(String),
}

impl FailureKind {
    /// Stable name, in kebab case.
    pub fn name(&self) -> &str {
        match self {
            Self::NoRoom => "no-room",
            Self::StartTimeout => "start-timeout",
            Self::StopTimeout => "stop-timeout",
            Self::HostSilent => "host-silent",
            Self::Lost => "lost",
            Self::DiskLost => "disk-lost",
            Self::EndedEarly => "ended-early",
            Self::Host(name) => name,
        }
    }

    /// A machine of this workspace may still run somewhere.
    fn may_run(&self) -> bool {
        match self {
            Self::StopTimeout | Self::HostSilent => true,
            Self::NoRoom
            | Self::StartTimeout
            | Self::Lost
            | Self::DiskLost
            | Self::EndedEarly
            | Self::Host(_) => false,
        }
    }
}

/// What happens to a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A person or program asks.
    Start,
    Stop,
    Delete,
    /// A host has taken on what [`Plan::Run`] asked.
    RunAccepted,
    /// No host has room now.
    NoRoom {
        message: String,
    },
    /// The host cannot run it.
    RunRefused {
        failure: Failure,
    },
    /// The host knows a later start than this one.
    Fenced {
        known: u64,
    },
    /// The host was looked at just now.
    Seen(Sight),
    /// Time has passed.
    Tick,
}

/// What a look at the host showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Certain: nothing of it is there.
    Absent,
    /// The host cannot tell.
    Unknown,
    /// What is there belongs to an earlier start; `alive`: a machine runs.
    Older {
        alive: bool,
    },
    /// Of this start:
    Starting,
    Running,
    /// The machine stands still, because the host's disk is full.
    Paused,
    Stopping,
    Stopped,
    Failed {
        failure: Failure,
    },
}

/// What follows from a transition, saved in one go with the new state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A start begins: open its timeline.
    BeginStart { epoch: u64 },
    /// It is over.
    EndStart { epoch: u64, outcome: StartOutcome },
    /// Forget the workspace; only its name stays reserved.
    Purge,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    Running,
    Failed(Failure),
    /// Stopped or deleted before it ran.
    Cancelled,
}

/// Why an event is not possible in a state; each says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the workspace is being deleted; create a new one")]
    Deleting,
    #[error("the workspace is deleted; create a new one")]
    Deleted,
}

/// What to ask of a host because of a state. Each may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Find a host and have it run this start.
    Run {
        epoch: u64,
    },
    Stop,
    Remove,
    /// Nothing to ask; look from time to time.
    Watch,
    /// Nothing at all.
    Forget,
}

/// See [`Plan`].
pub fn plan(state: &State) -> Plan {
    match state {
        State::Queued { at, .. } => Plan::Run { epoch: at.epoch },
        State::Provisioning { .. }
        | State::Running { .. }
        | State::Stopped { .. }
        | State::Failed { .. } => Plan::Watch,
        State::Stopping { .. } => Plan::Stop,
        State::Deleting { .. }
        | State::Deleted {
            leftovers: true, ..
        } => Plan::Remove,
        State::Deleted {
            leftovers: false, ..
        } => Plan::Forget,
    }
}

/// Where a workspace is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desired {
    Running,
    Stopped,
    Deleted,
}

impl State {
    /// A new workspace, on its way to its first start.
    pub fn new(now_ms: u64) -> Self {
        let at = Placement {
            epoch: 1,
            disk: false,
        };
        Self::Queued {
            at,
            until_ms: now_ms + QUEUE_LIMIT_MS,
            waiting: None,
        }
    }

    pub fn placement(&self) -> Placement {
        match self {
            Self::Queued { at, .. }
            | Self::Provisioning { at, .. }
            | Self::Running { at, .. }
            | Self::Stopping { at, .. }
            | Self::Stopped { at }
            | Self::Failed { at, .. }
            | Self::Deleting { at, .. }
            | Self::Deleted { at, .. } => *at,
        }
    }

    pub fn desired(&self) -> Desired {
        match self {
            Self::Queued { .. } | Self::Provisioning { .. } | Self::Running { .. } => {
                Desired::Running
            }
            Self::Stopping {
                then: AfterStop::Start,
                ..
            } => Desired::Running,
            Self::Stopping {
                then: AfterStop::Rest | AfterStop::Fail { .. },
                ..
            } => Desired::Stopped,
            Self::Stopped { .. } | Self::Failed { .. } => Desired::Stopped,
            Self::Deleting { .. } | Self::Deleted { .. } => Desired::Deleted,
        }
    }

    /// When [`Event::Tick`] changes it. Absent for states that wait for a person.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self {
            Self::Queued { until_ms, .. }
            | Self::Provisioning { until_ms, .. }
            | Self::Stopping { until_ms, .. }
            | Self::Deleting { until_ms, .. } => Some(*until_ms),
            Self::Running {
                silent_since_ms, ..
            } => silent_since_ms.map(|since| since + SILENCE_LIMIT_MS),
            Self::Stopped { .. } | Self::Failed { .. } | Self::Deleted { .. } => None,
        }
    }

    /// Stable name, in kebab case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Provisioning { .. } => "provisioning",
            Self::Running { .. } => "running",
            Self::Stopping { .. } => "stopping",
            Self::Stopped { .. } => "stopped",
            Self::Failed { .. } => "failed",
            Self::Deleting { .. } => "deleting",
            Self::Deleted { .. } => "deleted",
        }
    }
}
