//! The transitions, state by state, event by event.

use super::{
    AfterStop, DELETE_LIMIT_MS, Effect, Event, Failure, FailureKind, PROVISION_LIMIT_MS, Placement,
    QUEUE_LIMIT_MS, Refusal, SILENCE_LIMIT_MS, STOP_LIMIT_MS, Sight, StartOutcome, State,
};

/// Next state and what follows, or why not.
pub type Step = Result<(State, Vec<Effect>), Refusal>;

/// The state after `event` at `now_ms`. An event that says nothing new answers the same state.
pub fn step(state: &State, event: &Event, now_ms: u64) -> Step {
    match state {
        State::Queued {
            at,
            until_ms,
            waiting,
        } => queued(*at, *until_ms, waiting.as_deref(), event, now_ms),
        State::Provisioning { at, until_ms } => provisioning(*at, *until_ms, event, now_ms),
        State::Running {
            at,
            silent_since_ms,
        } => running(*at, *silent_since_ms, event, now_ms),
        State::Stopping { at, until_ms, then } => stopping(*at, *until_ms, then, event, now_ms),
        State::Stopped { at } => stopped(*at, event, now_ms),
        State::Failed { at, failure } => failed(*at, failure, event, now_ms),
        State::Deleting { at, until_ms } => deleting(*at, *until_ms, event, now_ms),
        State::Deleted { at, leftovers } => deleted(*at, *leftovers, event),
    }
}

fn queued(at: Placement, until_ms: u64, waiting: Option<&str>, event: &Event, now_ms: u64) -> Step {
    let stay = || State::Queued {
        at,
        until_ms,
        waiting: waiting.map(Into::into),
    };
    match event {
        Event::Start => same(stay()),
        Event::Stop => cancel(at, to_stopping(at, AfterStop::Rest, now_ms)),
        Event::Delete => cancel(at, to_deleting(at, now_ms)),
        Event::RunAccepted => same(to_provisioning(at, now_ms)),
        Event::NoRoom { message } => same(State::Queued {
            at,
            until_ms,
            waiting: Some(message.clone()),
        }),
        Event::RunRefused { failure } => fail_start(at, failure.clone()),
        // The number of this start was used before, by a control plane of which this one is an older copy.
        Event::Fenced { known } if *known >= at.epoch => {
            let next = Placement {
                epoch: known + 1,
                disk: true,
            };
            cancel_and_begin(at, next, now_ms)
        }
        Event::Fenced { .. } => same(stay()),
        Event::Seen(sight) => match sight {
            Sight::Absent if at.disk => fail_start(at, disk_lost()),
            Sight::Absent | Sight::Unknown | Sight::Stopping | Sight::Older { .. } => same(stay()),
            Sight::Starting | Sight::Paused => same(to_provisioning(with_disk(at), now_ms)),
            Sight::Running => up(at),
            Sight::Stopped => fail_start(with_disk(at), ended_early()),
            Sight::Failed { failure } => fail_start(with_disk(at), failure.clone()),
        },
        Event::Tick if now_ms >= until_ms => fail_start(at, no_room(waiting)),
        Event::Tick => same(stay()),
    }
}

fn provisioning(at: Placement, until_ms: u64, event: &Event, now_ms: u64) -> Step {
    let stay = || State::Provisioning { at, until_ms };
    match event {
        Event::Start | Event::RunAccepted | Event::NoRoom { .. } | Event::Fenced { .. } => {
            same(stay())
        }
        Event::Stop => cancel(at, to_stopping(at, AfterStop::Rest, now_ms)),
        Event::Delete => cancel(at, to_deleting(at, now_ms)),
        Event::RunRefused { failure } => fail_start(at, failure.clone()),
        Event::Seen(sight) => match sight {
            Sight::Absent if at.disk => fail_start(at, disk_lost()),
            // It took this start on and has forgotten it: asking again by itself might never end.
            Sight::Absent | Sight::Older { .. } => fail_start(at, lost()),
            Sight::Unknown | Sight::Stopping => same(stay()),
            Sight::Starting | Sight::Paused => same(State::Provisioning {
                at: with_disk(at),
                until_ms,
            }),
            Sight::Running => up(at),
            Sight::Stopped => fail_start(with_disk(at), ended_early()),
            Sight::Failed { failure } => fail_start(with_disk(at), failure.clone()),
        },
        Event::Tick if now_ms >= until_ms => {
            let failure = start_timeout();
            let then = AfterStop::Fail {
                failure: failure.clone(),
            };
            let end = Effect::EndStart {
                epoch: at.epoch,
                outcome: StartOutcome::Failed(failure),
            };
            Ok((to_stopping(at, then, now_ms), vec![end]))
        }
        Event::Tick => same(stay()),
    }
}

fn running(at: Placement, silent_since_ms: Option<u64>, event: &Event, now_ms: u64) -> Step {
    let stay = || State::Running {
        at,
        silent_since_ms,
    };
    match event {
        Event::Start
        | Event::RunAccepted
        | Event::NoRoom { .. }
        | Event::RunRefused { .. }
        | Event::Fenced { .. } => same(stay()),
        Event::Stop => same(to_stopping(at, AfterStop::Rest, now_ms)),
        Event::Delete => same(to_deleting(at, now_ms)),
        Event::Seen(sight) => match sight {
            Sight::Absent => same(State::Failed {
                at,
                failure: disk_lost(),
            }),
            Sight::Older { .. } => same(State::Failed {
                at,
                failure: lost(),
            }),
            Sight::Unknown => same(State::Running {
                at,
                silent_since_ms: silent_since_ms.or(Some(now_ms)),
            }),
            Sight::Starting | Sight::Running | Sight::Paused | Sight::Stopping => {
                same(State::Running {
                    at,
                    silent_since_ms: None,
                })
            }
            // Shut down from inside.
            Sight::Stopped => same(State::Stopped { at }),
            Sight::Failed { failure } => same(State::Failed {
                at,
                failure: failure.clone(),
            }),
        },
        Event::Tick => match silent_since_ms {
            Some(since) if now_ms >= since + SILENCE_LIMIT_MS => same(State::Failed {
                at,
                failure: host_silent(),
            }),
            Some(_) | None => same(stay()),
        },
    }
}

fn stopping(at: Placement, until_ms: u64, then: &AfterStop, event: &Event, now_ms: u64) -> Step {
    let stay = || State::Stopping {
        at,
        until_ms,
        then: then.clone(),
    };
    match event {
        Event::Start => same(State::Stopping {
            at,
            until_ms,
            then: AfterStop::Start,
        }),
        Event::Stop => same(State::Stopping {
            at,
            until_ms,
            then: AfterStop::Rest,
        }),
        Event::Delete => same(to_deleting(at, now_ms)),
        Event::RunAccepted
        | Event::NoRoom { .. }
        | Event::RunRefused { .. }
        | Event::Fenced { .. } => same(stay()),
        Event::Seen(sight) => match sight {
            Sight::Absent if at.disk => same(State::Failed {
                at,
                failure: disk_lost(),
            }),
            Sight::Absent | Sight::Older { alive: false } => down(at, then, now_ms),
            Sight::Stopped | Sight::Failed { .. } => down(with_disk(at), then, now_ms),
            Sight::Unknown
            | Sight::Older { alive: true }
            | Sight::Starting
            | Sight::Running
            | Sight::Paused
            | Sight::Stopping => same(stay()),
        },
        Event::Tick if now_ms >= until_ms => same(State::Failed {
            at,
            failure: stop_timeout(),
        }),
        Event::Tick => same(stay()),
    }
}

fn stopped(at: Placement, event: &Event, now_ms: u64) -> Step {
    match event {
        Event::Start => begin(next(at), now_ms),
        Event::Delete => same(to_deleting(at, now_ms)),
        Event::Stop
        | Event::RunAccepted
        | Event::NoRoom { .. }
        | Event::RunRefused { .. }
        | Event::Fenced { .. }
        | Event::Tick => same(State::Stopped { at }),
        Event::Seen(sight) => match sight {
            Sight::Absent if at.disk => same(State::Failed {
                at,
                failure: disk_lost(),
            }),
            Sight::Absent
            | Sight::Unknown
            | Sight::Older { alive: false }
            | Sight::Stopping
            | Sight::Stopped
            | Sight::Failed { .. } => same(State::Stopped { at }),
            // Nobody wants this machine to run.
            Sight::Older { alive: true } | Sight::Starting | Sight::Running | Sight::Paused => {
                same(to_stopping(at, AfterStop::Rest, now_ms))
            }
        },
    }
}

fn failed(at: Placement, failure: &Failure, event: &Event, now_ms: u64) -> Step {
    let stay = || State::Failed {
        at,
        failure: failure.clone(),
    };
    match event {
        Event::Start if failure.kind.may_run() => same(to_stopping(at, AfterStop::Start, now_ms)),
        // Said in the failure's message: this start makes a new disk.
        Event::Start if failure.kind == FailureKind::DiskLost => begin(
            Placement {
                epoch: at.epoch + 1,
                disk: false,
            },
            now_ms,
        ),
        Event::Start => begin(next(at), now_ms),
        Event::Stop => same(to_stopping(at, AfterStop::Rest, now_ms)),
        Event::Delete => same(to_deleting(at, now_ms)),
        Event::RunAccepted
        | Event::NoRoom { .. }
        | Event::RunRefused { .. }
        | Event::Fenced { .. }
        | Event::Tick => same(stay()),
        Event::Seen(sight) => match sight {
            // It was alive all the time.
            Sight::Running => same(State::Running {
                at: with_disk(at),
                silent_since_ms: None,
            }),
            // The silent host has answered, and there is a better reason than its silence.
            Sight::Failed { failure: seen } if failure.kind.may_run() => same(State::Failed {
                at: with_disk(at),
                failure: seen.clone(),
            }),
            Sight::Stopped if failure.kind.may_run() => same(State::Stopped { at: with_disk(at) }),
            // The disk is back.
            Sight::Stopped | Sight::Older { alive: false } | Sight::Failed { .. }
                if failure.kind == FailureKind::DiskLost =>
            {
                same(State::Stopped { at: with_disk(at) })
            }
            Sight::Absent
            | Sight::Unknown
            | Sight::Older { .. }
            | Sight::Starting
            | Sight::Paused
            | Sight::Stopping
            | Sight::Stopped
            | Sight::Failed { .. } => same(stay()),
        },
    }
}

fn deleting(at: Placement, until_ms: u64, event: &Event, now_ms: u64) -> Step {
    let stay = || State::Deleting { at, until_ms };
    match event {
        Event::Start | Event::Stop => Err(Refusal::Deleting),
        Event::Delete
        | Event::RunAccepted
        | Event::NoRoom { .. }
        | Event::RunRefused { .. }
        | Event::Fenced { .. } => same(stay()),
        Event::Seen(sight) => match sight {
            Sight::Absent => Ok((
                State::Deleted {
                    at,
                    leftovers: false,
                },
                vec![Effect::Purge],
            )),
            Sight::Unknown
            | Sight::Older { .. }
            | Sight::Starting
            | Sight::Running
            | Sight::Paused
            | Sight::Stopping
            | Sight::Stopped
            | Sight::Failed { .. } => same(stay()),
        },
        Event::Tick if now_ms >= until_ms => same(State::Deleted {
            at,
            leftovers: true,
        }),
        Event::Tick => same(stay()),
    }
}

fn deleted(at: Placement, leftovers: bool, event: &Event) -> Step {
    let stay = || State::Deleted { at, leftovers };
    match event {
        Event::Start | Event::Stop => Err(Refusal::Deleted),
        Event::Delete
        | Event::RunAccepted
        | Event::NoRoom { .. }
        | Event::RunRefused { .. }
        | Event::Fenced { .. }
        | Event::Tick => same(stay()),
        Event::Seen(sight) => match sight {
            Sight::Absent => Ok((
                State::Deleted {
                    at,
                    leftovers: false,
                },
                vec![Effect::Purge],
            )),
            Sight::Unknown
            | Sight::Older { .. }
            | Sight::Starting
            | Sight::Running
            | Sight::Paused
            | Sight::Stopping
            | Sight::Stopped
            | Sight::Failed { .. } => same(stay()),
        },
    }
}

fn same(state: State) -> Step {
    Ok((state, Vec::new()))
}

fn begin(at: Placement, now_ms: u64) -> Step {
    Ok((
        to_queued(at, now_ms),
        vec![Effect::BeginStart { epoch: at.epoch }],
    ))
}

fn cancel(at: Placement, next: State) -> Step {
    Ok((
        next,
        vec![Effect::EndStart {
            epoch: at.epoch,
            outcome: StartOutcome::Cancelled,
        }],
    ))
}

fn cancel_and_begin(at: Placement, next: Placement, now_ms: u64) -> Step {
    let (state, mut effects) = cancel(at, to_queued(next, now_ms))?;
    effects.push(Effect::BeginStart { epoch: next.epoch });
    Ok((state, effects))
}

fn fail_start(at: Placement, failure: Failure) -> Step {
    let end = Effect::EndStart {
        epoch: at.epoch,
        outcome: StartOutcome::Failed(failure.clone()),
    };
    Ok((State::Failed { at, failure }, vec![end]))
}

fn up(at: Placement) -> Step {
    let end = Effect::EndStart {
        epoch: at.epoch,
        outcome: StartOutcome::Running,
    };
    Ok((
        State::Running {
            at: with_disk(at),
            silent_since_ms: None,
        },
        vec![end],
    ))
}

fn down(at: Placement, then: &AfterStop, now_ms: u64) -> Step {
    match then {
        AfterStop::Rest => same(State::Stopped { at }),
        AfterStop::Start => begin(next(at), now_ms),
        AfterStop::Fail { failure } => same(State::Failed {
            at,
            failure: failure.clone(),
        }),
    }
}

fn with_disk(at: Placement) -> Placement {
    Placement { disk: true, ..at }
}

fn next(at: Placement) -> Placement {
    Placement {
        epoch: at.epoch + 1,
        ..at
    }
}

fn to_queued(at: Placement, now_ms: u64) -> State {
    State::Queued {
        at,
        until_ms: now_ms + QUEUE_LIMIT_MS,
        waiting: None,
    }
}

fn to_provisioning(at: Placement, now_ms: u64) -> State {
    State::Provisioning {
        at,
        until_ms: now_ms + PROVISION_LIMIT_MS,
    }
}

fn to_stopping(at: Placement, then: AfterStop, now_ms: u64) -> State {
    State::Stopping {
        at,
        until_ms: now_ms + STOP_LIMIT_MS,
        then,
    }
}

fn to_deleting(at: Placement, now_ms: u64) -> State {
    State::Deleting {
        at,
        until_ms: now_ms + DELETE_LIMIT_MS,
    }
}

fn failure(kind: FailureKind, message: impl Into<String>) -> Failure {
    Failure {
        kind,
        message: message.into(),
        log: String::new(),
    }
}

fn no_room(waiting: Option<&str>) -> Failure {
    let why = waiting.map(|why| format!(" ({why})")).unwrap_or_default();
    failure(
        FailureKind::NoRoom,
        format!(
            "No host had room for it within {} minutes{why}. Stop another workspace or choose a smaller size, then start it again.",
            QUEUE_LIMIT_MS / 60_000
        ),
    )
}

fn start_timeout() -> Failure {
    failure(
        FailureKind::StartTimeout,
        format!(
            "The machine was not up within {} minutes. Its console log may say why; then start it again.",
            PROVISION_LIMIT_MS / 60_000
        ),
    )
}

fn stop_timeout() -> Failure {
    failure(
        FailureKind::StopTimeout,
        "The machine did not stop in time and may still run. Stop it again, or delete it.",
    )
}

fn host_silent() -> Failure {
    failure(
        FailureKind::HostSilent,
        "Its host cannot say whether the machine still runs. It comes back by itself when the host does; otherwise start it again.",
    )
}

fn lost() -> Failure {
    failure(
        FailureKind::Lost,
        "Its host no longer knows of this machine. Start it again.",
    )
}

fn disk_lost() -> Failure {
    failure(
        FailureKind::DiskLost,
        "The host no longer has the disk of this workspace. Bring the host's data folder back, or start it again with a new, empty disk: what was only on the old one is lost.",
    )
}

fn ended_early() -> Failure {
    failure(
        FailureKind::EndedEarly,
        "The machine was shut down before it was up. Start it again.",
    )
}
