//! The whole table, and what holds in all of it.

use fleet_api::host::FailureKind;

use super::*;

fn failure(message: &str) -> StartFailure {
    StartFailure {
        kind: FailureKind::Internal,
        message: message.into(),
        log: String::new(),
    }
}

fn states() -> Vec<State> {
    let running = |clone| State::Running {
        epoch: 5,
        clone,
        health: Health::Answers,
    };
    vec![
        State::Absent,
        State::Stopped { epoch: 5 },
        State::Failed {
            epoch: 5,
            failure: failure("f"),
        },
        State::Starting { epoch: 5 },
        running(CloneState::Ready),
        running(CloneState::Running),
        running(CloneState::Failed {
            failure: failure("c"),
        }),
        State::Running {
            epoch: 5,
            clone: CloneState::Ready,
            health: Health::Paused {
                reason: "full".into(),
            },
        },
        State::Stopping {
            epoch: 5,
            then: Then::Rest,
        },
        State::Stopping {
            epoch: 5,
            then: Then::Delete,
        },
        State::Deleting {
            epoch: 5,
            problem: None,
        },
        State::Deleting {
            epoch: 5,
            problem: Some("p".into()),
        },
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::Run { epoch: 4 },
        Event::Run { epoch: 5 },
        Event::Run { epoch: 6 },
        Event::Stop { grace_ms: 9 },
        Event::Delete,
        Event::RetryClone,
        Event::Up { clone: true },
        Event::Up { clone: false },
        Event::StartFailed {
            failure: failure("s"),
        },
        Event::Gone,
        Event::Ended {
            orderly: true,
            failure: failure("e"),
        },
        Event::Ended {
            orderly: false,
            failure: failure("e"),
        },
        Event::Seen {
            health: Health::Unresponsive,
        },
        Event::Cloned,
        Event::CloneFailed {
            failure: failure("x"),
        },
        Event::Removed,
        Event::NotRemoved {
            problem: "q".into(),
        },
    ]
}

fn short(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.replace("StartFailure { kind: Internal, message: ", "")
        .replace(", log: \"\" }", "")
}

#[test]
fn the_whole_table() {
    let mut table = String::new();
    for state in states() {
        table += &format!("{}\n", short(&state));
        for event in events() {
            let line = match step(&state, &event) {
                Ok((next, effects)) if next == state && effects.is_empty() => continue,
                Ok((next, effects)) if effects.is_empty() => short(&next),
                Ok((next, effects)) => format!("{} + {}", short(&next), short(&effects)),
                Err(refusal) => format!("refused: {}", short(&refusal)),
            };
            table += &format!("    {} → {line}\n", short(&event));
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn every_state_can_be_deleted() {
    for state in states() {
        let mut state = state;
        for event in [
            Event::Delete,
            Event::Gone,
            Event::NotRemoved {
                problem: "busy".into(),
            },
            Event::Delete,
            Event::Removed,
        ] {
            state = step(&state, &event).unwrap().0;
        }
        assert_eq!(state, State::Absent);
    }
}

#[test]
fn a_machine_is_never_forgotten() {
    // Whatever happens, a state without a machine is reached only by an event that says it has ended.
    for state in states().into_iter().filter(State::has_machine) {
        for event in events() {
            let Ok((next, _)) = step(&state, &event) else {
                continue;
            };
            let ended = matches!(
                event,
                Event::Gone | Event::Ended { .. } | Event::StartFailed { .. }
            );
            assert!(next.has_machine() || ended, "{state:?} {event:?} {next:?}");
        }
    }
}
