//! What a workspace is on this host: one pure function from state and event to the next state and effects,
//! or a refusal.
//!
//! ```text
//!           run              up                 ended by itself
//! Absent ──────► Starting ──────► Running ─────────────────────► Stopped, Failed ──run──► Starting
//!   ▲               │ stop, delete  │ stop, delete                     │ delete
//!   │               └──► Stopping ◄─┘ ── gone ──► Stopped              ▼
//!   └────────────────────────── removed ─────────────────────────── Deleting
//! ```

use fleet_api::host::{CloneState, Observed, StartFailure};

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Nothing of it is here.
    Absent,
    /// No machine; the disk is here.
    Stopped { epoch: u64 },
    /// The machine ended by itself or did not start; the disk is here.
    Failed { epoch: u64, failure: StartFailure },
    /// The start job works.
    Starting { epoch: u64 },
    Running {
        epoch: u64,
        clone: CloneState,
        health: Health,
    },
    /// The machine is being ended.
    Stopping { epoch: u64, then: Then },
    /// Its traces are being removed; `problem`: the last attempt failed.
    Deleting { epoch: u64, problem: Option<String> },
}

/// How a running machine does.
#[derive(Clone, Debug, PartialEq)]
pub enum Health {
    Answers,
    /// Its agent does not answer.
    Unresponsive,
    Paused {
        reason: String,
    },
    /// Its monitor does not answer.
    Unknown {
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Then {
    Rest,
    Delete,
}

/// What is asked, and what happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Run {
        epoch: u64,
    },
    Stop {
        grace_ms: u64,
    },
    Delete,
    RetryClone,
    /// The guest is configured; `clone`: its repository is still to be fetched.
    Up {
        clone: bool,
    },
    /// The start did not succeed, and nothing of it runs any more.
    StartFailed {
        failure: StartFailure,
    },
    /// The machine has ended because it was asked to, and nothing of it is left but the disk.
    Gone,
    /// It has ended by itself.
    Ended {
        orderly: bool,
        failure: StartFailure,
    },
    Seen {
        health: Health,
    },
    Cloned,
    CloneFailed {
        failure: StartFailure,
    },
    Removed,
    NotRemoved {
        problem: String,
    },
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    Start,
    CancelStart,
    Clone,
    StopMachine {
        grace_ms: u64,
    },
    KillMachine,
    /// Clear away what an ended machine had.
    CleanUp,
    Remove,
}

/// Why what was asked is not possible.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    Fenced {
        given: u64,
        known: u64,
    },
    NotRunning,
    /// It is on its way down: ask again when it is there.
    Busy,
}

pub type Step = Result<(State, Vec<Effect>), Refusal>;

/// The state after `event`. One that says nothing new answers the same state.
pub fn step(state: &State, event: &Event) -> Step {
    match state {
        State::Absent => absent(event),
        State::Stopped { epoch } => at_rest(state, *epoch, event),
        State::Failed { epoch, .. } => at_rest(state, *epoch, event),
        State::Starting { epoch } => starting(state, *epoch, event),
        State::Running {
            epoch,
            clone,
            health,
        } => running(state, *epoch, clone, health, event),
        State::Stopping { epoch, then } => stopping(state, *epoch, *then, event),
        State::Deleting { epoch, problem } => deleting(state, *epoch, problem.is_some(), event),
    }
}

fn same(state: &State) -> Step {
    Ok((state.clone(), Vec::new()))
}

fn to(state: State, effects: &[Effect]) -> Step {
    Ok((state, effects.to_vec()))
}

fn fence(epoch: u64, given: u64) -> Result<(), Refusal> {
    if given < epoch {
        Err(Refusal::Fenced {
            given,
            known: epoch,
        })
    } else {
        Ok(())
    }
}

fn absent(event: &Event) -> Step {
    match event {
        Event::Run { epoch } => to(State::Starting { epoch: *epoch }, &[Effect::Start]),
        Event::RetryClone => Err(Refusal::NotRunning),
        Event::Stop { .. }
        | Event::Delete
        | Event::Up { .. }
        | Event::StartFailed { .. }
        | Event::Gone
        | Event::Ended { .. }
        | Event::Seen { .. }
        | Event::Cloned
        | Event::CloneFailed { .. }
        | Event::Removed
        | Event::NotRemoved { .. } => same(&State::Absent),
    }
}

fn at_rest(state: &State, epoch: u64, event: &Event) -> Step {
    match event {
        Event::Run { epoch: given } => {
            fence(epoch, *given)?;
            to(State::Starting { epoch: *given }, &[Effect::Start])
        }
        Event::Delete => to(
            State::Deleting {
                epoch,
                problem: None,
            },
            &[Effect::Remove],
        ),
        Event::RetryClone => Err(Refusal::NotRunning),
        Event::Stop { .. }
        | Event::Up { .. }
        | Event::StartFailed { .. }
        | Event::Gone
        | Event::Ended { .. }
        | Event::Seen { .. }
        | Event::Cloned
        | Event::CloneFailed { .. }
        | Event::Removed
        | Event::NotRemoved { .. } => same(state),
    }
}

fn starting(state: &State, epoch: u64, event: &Event) -> Step {
    match event {
        Event::Run { epoch: given } => {
            fence(epoch, *given)?;
            to(State::Starting { epoch: *given }, &[])
        }
        Event::Stop { .. } => to(
            State::Stopping {
                epoch,
                then: Then::Rest,
            },
            &[Effect::CancelStart],
        ),
        Event::Delete => to(
            State::Stopping {
                epoch,
                then: Then::Delete,
            },
            &[Effect::CancelStart],
        ),
        Event::RetryClone => Err(Refusal::NotRunning),
        Event::Up { clone: true } => {
            let next = State::Running {
                epoch,
                clone: CloneState::Running,
                health: Health::Answers,
            };
            to(next, &[Effect::Clone])
        }
        Event::Up { clone: false } => to(
            State::Running {
                epoch,
                clone: CloneState::Ready,
                health: Health::Answers,
            },
            &[],
        ),
        Event::StartFailed { failure } => to(
            State::Failed {
                epoch,
                failure: failure.clone(),
            },
            &[],
        ),
        Event::Gone => to(State::Stopped { epoch }, &[]),
        Event::Ended { .. }
        | Event::Seen { .. }
        | Event::Cloned
        | Event::CloneFailed { .. }
        | Event::Removed
        | Event::NotRemoved { .. } => same(state),
    }
}

fn running(state: &State, epoch: u64, clone: &CloneState, health: &Health, event: &Event) -> Step {
    let cloned = |clone| {
        to(
            State::Running {
                epoch,
                clone,
                health: health.clone(),
            },
            &[],
        )
    };
    match event {
        Event::Run { epoch: given } => {
            fence(epoch, *given)?;
            let clone = clone.clone();
            to(
                State::Running {
                    epoch: *given,
                    clone,
                    health: health.clone(),
                },
                &[],
            )
        }
        Event::Stop { grace_ms } => {
            let stop = Effect::StopMachine {
                grace_ms: *grace_ms,
            };
            to(
                State::Stopping {
                    epoch,
                    then: Then::Rest,
                },
                &[stop],
            )
        }
        Event::Delete => to(
            State::Stopping {
                epoch,
                then: Then::Delete,
            },
            &[Effect::KillMachine],
        ),
        Event::RetryClone => match clone {
            CloneState::Failed { .. } => {
                let health = health.clone();
                let next = State::Running {
                    epoch,
                    clone: CloneState::Running,
                    health,
                };
                to(next, &[Effect::Clone])
            }
            CloneState::Ready | CloneState::Running => same(state),
        },
        Event::Ended { orderly: true, .. } => to(State::Stopped { epoch }, &[Effect::CleanUp]),
        Event::Ended {
            orderly: false,
            failure,
        } => to(
            State::Failed {
                epoch,
                failure: failure.clone(),
            },
            &[Effect::CleanUp],
        ),
        Event::Seen { health } => to(
            State::Running {
                epoch,
                clone: clone.clone(),
                health: health.clone(),
            },
            &[],
        ),
        Event::Cloned => cloned(CloneState::Ready),
        Event::CloneFailed { failure } => cloned(CloneState::Failed {
            failure: failure.clone(),
        }),
        Event::Up { .. }
        | Event::StartFailed { .. }
        | Event::Gone
        | Event::Removed
        | Event::NotRemoved { .. } => same(state),
    }
}

fn stopping(state: &State, epoch: u64, then: Then, event: &Event) -> Step {
    match event {
        Event::Run { epoch: given } => {
            fence(epoch, *given)?;
            Err(Refusal::Busy)
        }
        Event::Delete => to(
            State::Stopping {
                epoch,
                then: Then::Delete,
            },
            &[Effect::KillMachine],
        ),
        Event::RetryClone => Err(Refusal::NotRunning),
        Event::Gone | Event::StartFailed { .. } => match then {
            Then::Rest => to(State::Stopped { epoch }, &[]),
            Then::Delete => to(
                State::Deleting {
                    epoch,
                    problem: None,
                },
                &[Effect::Remove],
            ),
        },
        // The start was quicker than its cancellation.
        Event::Up { .. } => to(state.clone(), &[Effect::KillMachine]),
        // The job that ends it sees that too.
        Event::Ended { .. }
        | Event::Stop { .. }
        | Event::Seen { .. }
        | Event::Cloned
        | Event::CloneFailed { .. }
        | Event::Removed
        | Event::NotRemoved { .. } => same(state),
    }
}

fn deleting(state: &State, epoch: u64, failed: bool, event: &Event) -> Step {
    match event {
        Event::Run { epoch: given } => {
            fence(epoch, *given)?;
            Err(Refusal::Busy)
        }
        Event::Delete if failed => to(
            State::Deleting {
                epoch,
                problem: None,
            },
            &[Effect::Remove],
        ),
        Event::RetryClone => Err(Refusal::NotRunning),
        Event::Removed => to(State::Absent, &[]),
        Event::NotRemoved { problem } => to(
            State::Deleting {
                epoch,
                problem: Some(problem.clone()),
            },
            &[],
        ),
        Event::Delete
        | Event::Stop { .. }
        | Event::Up { .. }
        | Event::StartFailed { .. }
        | Event::Gone
        | Event::Ended { .. }
        | Event::Seen { .. }
        | Event::Cloned
        | Event::CloneFailed { .. } => same(state),
    }
}

impl State {
    /// A machine runs, or may run.
    pub fn has_machine(&self) -> bool {
        match self {
            Self::Starting { .. } | Self::Running { .. } | Self::Stopping { .. } => true,
            Self::Absent | Self::Stopped { .. } | Self::Failed { .. } | Self::Deleting { .. } => {
                false
            }
        }
    }

    /// What the control plane is told.
    pub fn observed(&self) -> Observed {
        match self {
            Self::Absent => Observed::Absent,
            Self::Stopped { epoch } => Observed::Stopped { epoch: *epoch },
            Self::Failed { epoch, failure } => Observed::Failed {
                epoch: *epoch,
                failure: failure.clone(),
            },
            Self::Starting { epoch } => Observed::Starting { epoch: *epoch },
            Self::Running {
                epoch,
                clone,
                health,
            } => match health {
                Health::Answers | Health::Unresponsive => Observed::Running {
                    epoch: *epoch,
                    clone: clone.clone(),
                    unresponsive: *health == Health::Unresponsive,
                },
                Health::Paused { reason } => Observed::Paused {
                    epoch: *epoch,
                    reason: reason.clone(),
                },
                Health::Unknown { reason } => Observed::Unknown {
                    reason: reason.clone(),
                },
            },
            Self::Stopping { epoch, .. } | Self::Deleting { epoch, .. } => {
                Observed::Stopping { epoch: *epoch }
            }
        }
    }
}

#[cfg(test)]
mod tests;
