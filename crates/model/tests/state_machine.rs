//! The whole table of states and events, and random lives of workspaces.

use std::fmt::Write;

use model::state::{
    AfterStop, DELETE_LIMIT_MS, Effect, Event, Failure, FailureKind, Placement, Plan, Sight, State,
    plan, step,
};
use proptest::prelude::*;

const NOW: u64 = 1_000_000_000;

fn failure(kind: FailureKind) -> Failure {
    Failure {
        kind,
        message: "why".into(),
        log: String::new(),
    }
}

/// Every state, with every value in it that matters to a transition.
fn states() -> Vec<State> {
    let kinds = [
        FailureKind::HostSilent,
        FailureKind::DiskLost,
        FailureKind::Host("guest-silent".into()),
    ];
    let mut states = Vec::new();
    for disk in [false, true] {
        let at = Placement { epoch: 2, disk };
        let until_ms = NOW + 1;
        states.push(State::Queued {
            at,
            until_ms,
            waiting: None,
        });
        states.push(State::Provisioning { at, until_ms });
        for then in [
            AfterStop::Rest,
            AfterStop::Start,
            AfterStop::Fail {
                failure: failure(FailureKind::StartTimeout),
            },
        ] {
            states.push(State::Stopping { at, until_ms, then });
        }
        states.push(State::Stopped { at });
        for kind in &kinds {
            states.push(State::Failed {
                at,
                failure: failure(kind.clone()),
            });
        }
    }
    let at = Placement {
        epoch: 2,
        disk: true,
    };
    states.push(State::Running {
        at,
        silent_since_ms: None,
    });
    states.push(State::Running {
        at,
        silent_since_ms: Some(NOW - 1),
    });
    states.push(State::Deleting {
        at,
        until_ms: NOW + 1,
    });
    states.push(State::Deleted {
        at,
        leftovers: false,
    });
    states.push(State::Deleted {
        at,
        leftovers: true,
    });
    states
}

fn sights() -> Vec<Sight> {
    vec![
        Sight::Absent,
        Sight::Unknown,
        Sight::Older { alive: false },
        Sight::Older { alive: true },
        Sight::Starting,
        Sight::Running,
        Sight::Paused,
        Sight::Stopping,
        Sight::Stopped,
        Sight::Failed {
            failure: failure(FailureKind::Host("vmm-exited".into())),
        },
    ]
}

fn events() -> Vec<Event> {
    let mut events = vec![
        Event::Start,
        Event::Stop,
        Event::Delete,
        Event::RunAccepted,
        Event::NoRoom {
            message: "full".into(),
        },
        Event::RunRefused {
            failure: failure(FailureKind::Host("vmm-missing".into())),
        },
        Event::Fenced { known: 5 },
        Event::Tick,
    ];
    events.extend(sights().into_iter().map(Event::Seen));
    events
}

fn describe(state: &State) -> String {
    let at = state.placement();
    let data = match state {
        State::Queued { waiting, .. } => waiting.clone().map(|why| format!(", waiting: {why}")),
        State::Running {
            silent_since_ms, ..
        } => silent_since_ms.map(|_| ", silent".into()),
        State::Stopping {
            then: AfterStop::Rest,
            ..
        } => Some(", then rest".into()),
        State::Stopping {
            then: AfterStop::Start,
            ..
        } => Some(", then start".into()),
        State::Stopping {
            then: AfterStop::Fail { failure },
            ..
        } => Some(format!(", then fail {}", failure.kind.name())),
        State::Failed { failure, .. } => Some(format!(", {}", failure.kind.name())),
        State::Deleted { leftovers, .. } => leftovers.then(|| ", leftovers".into()),
        State::Provisioning { .. } | State::Stopped { .. } | State::Deleting { .. } => None,
    };
    let disk = if at.disk { "disk" } else { "no disk" };
    format!(
        "{} ({}, {disk}{})",
        state.name(),
        at.epoch,
        data.unwrap_or_default()
    )
}

fn describe_event(event: &Event) -> String {
    match event {
        Event::Seen(Sight::Failed { .. }) => "seen failed".into(),
        Event::Seen(Sight::Older { alive }) => {
            format!("seen older {}", if *alive { "alive" } else { "at rest" })
        }
        Event::Seen(sight) => format!("seen {sight:?}").to_lowercase(),
        Event::NoRoom { .. } => "no room".into(),
        Event::RunRefused { .. } => "run refused".into(),
        Event::Fenced { known } => format!("fenced by {known}"),
        Event::RunAccepted => "run accepted".into(),
        Event::Start | Event::Stop | Event::Delete | Event::Tick => {
            format!("{event:?}").to_lowercase()
        }
    }
}

fn describe_effects(effects: &[Effect]) -> String {
    let mut text = String::new();
    for effect in effects {
        let said = match effect {
            Effect::BeginStart { epoch } => format!("begin start {epoch}"),
            Effect::EndStart { epoch, outcome } => {
                let outcome = format!("{outcome:?}");
                let outcome = outcome
                    .split(['(', ' '])
                    .next()
                    .unwrap_or_default()
                    .to_lowercase();
                format!("end start {epoch} {outcome}")
            }
            Effect::Purge => "purge".into(),
        };
        let _ = write!(text, "; {said}");
    }
    text
}

#[test]
fn the_whole_table() {
    let mut table = String::new();
    for state in states() {
        let _ = writeln!(table, "{}  [plan: {:?}]", describe(&state), plan(&state));
        let mut unchanged = Vec::new();
        let late = NOW + DELETE_LIMIT_MS;
        let cases = events()
            .into_iter()
            .map(|event| (event, NOW))
            .chain([(Event::Tick, late)]);
        for (event, now) in cases {
            let name = if now == late {
                "tick, late".into()
            } else {
                describe_event(&event)
            };
            match step(&state, &event, now) {
                Ok((next, effects)) if next == state && effects.is_empty() => unchanged.push(name),
                Ok((next, effects)) => {
                    let _ = writeln!(
                        table,
                        "  {name:<18} → {}{}",
                        describe(&next),
                        describe_effects(&effects)
                    );
                }
                Err(refusal) => {
                    let _ = writeln!(table, "  {name:<18} ✗ {refusal}");
                }
            }
        }
        let _ = writeln!(table, "  unchanged: {}\n", unchanged.join(", "));
    }
    insta::assert_snapshot!("table", table);
}

/// A host in few words: what it would show, whatever it was asked.
fn obey(state: &State) -> Sight {
    match state {
        State::Queued { .. } | State::Provisioning { .. } | State::Running { .. } => Sight::Running,
        State::Stopping { .. } | State::Stopped { .. } | State::Failed { .. } => Sight::Stopped,
        State::Deleting { .. } | State::Deleted { .. } => Sight::Absent,
    }
}

fn any_event() -> impl Strategy<Value = (Event, u64)> {
    (prop::sample::select(events()), 0u64..400_000)
}

proptest! {
    /// Whatever has happened: a host that obeys brings every state to rest, and delete ends.
    #[test]
    fn never_stuck_and_delete_always_ends(life in prop::collection::vec(any_event(), 0..60)) {
        let mut now = NOW;
        let mut state = State::new(now);
        for (event, passes) in &life {
            now += passes;
            let epoch = state.placement().epoch;
            if let Ok((next, effects)) = step(&state, event, now) {
                prop_assert!(next.placement().epoch >= epoch, "an epoch never falls");
                let begins = effects.iter().any(|effect| matches!(effect, Effect::BeginStart { .. }));
                prop_assert_eq!(begins, next.placement().epoch > epoch, "a start is a new epoch");
                state = next;
            }
            // Whoever waits has a deadline, or nothing to ask of a host that could stay unanswered.
            prop_assert!(state.deadline_ms().is_some() || matches!(plan(&state), Plan::Watch | Plan::Remove | Plan::Forget));
        }
        if matches!(state, State::Deleted { .. }) {
            return Ok(());
        }
        // Start works from every state, or is refused because of a deletion.
        let mut started = state.clone();
        if let Ok((next, _)) = step(&started, &Event::Start, now) {
            started = next;
            for _ in 0..4 {
                let sight = obey(&started);
                started = step(&started, &Event::Seen(sight), now).expect("a sight is never refused").0;
            }
            prop_assert!(matches!(started, State::Running { .. }), "{:?}", started);
        }
        // Delete works from every state, with a host that obeys and with one that never answers.
        let deleting = step(&state, &Event::Delete, now).expect("delete is never refused").0;
        prop_assert!(matches!(deleting, State::Deleting { .. }), "{:?}", deleting);
        let (gone, effects) = step(&deleting, &Event::Seen(Sight::Absent), now).expect("never refused");
        prop_assert!(matches!(gone, State::Deleted { leftovers: false, .. }), "{:?}", gone);
        prop_assert_eq!(effects, vec![Effect::Purge]);
        let late = step(&deleting, &Event::Tick, now + DELETE_LIMIT_MS).expect("never refused").0;
        prop_assert!(matches!(late, State::Deleted { leftovers: true, .. }), "{:?}", late);
        prop_assert_eq!(plan(&late), Plan::Remove);
    }

    /// Without any host, every state that waits gives up at its deadline.
    #[test]
    fn deadlines_end_every_wait(life in prop::collection::vec(any_event(), 0..30)) {
        let mut now = NOW;
        let mut state = State::new(now);
        for (event, passes) in &life {
            now += passes;
            state = step(&state, event, now).map_or(state, |(next, _)| next);
        }
        for _ in 0..4 {
            if let Some(deadline) = state.deadline_ms() {
                state = step(&state, &Event::Tick, now.max(deadline)).expect("time is never refused").0;
                now = now.max(deadline);
            }
        }
        prop_assert_eq!(state.deadline_ms(), None, "{:?}", state);
    }
}
