//! Repaints against the real thing: `@xterm/headless` that got a repaint and the rest of a session must equal one that
//! saw the whole session.
//!
//! Sessions are recordings of real programs (`recordings/`) and random sequences; each is cut at many places, in the
//! middle of sequences and characters too. Needs node; the packages are installed on the first run.

mod recordings;
mod xterm;

use recordings::{Event, random_session, recorded};
use terminal_screen::{Screen, Size};
use xterm::{Cut, Equality};

/// Per recording and history length. `SCREEN_CUTS` tries more.
const CUTS: usize = 16;

/// Replays `events`, with a repaint at each of `count` places spread over the output.
fn cuts(events: &[Event], count: usize, scrollback: usize) -> Vec<Cut> {
    let total: usize = events.iter().map(Event::length).sum();
    let places: Vec<usize> = (1..=count)
        .map(|i| (total * i / (count + 1)).max(1))
        .collect();
    let first = events.iter().find_map(|event| match event {
        Event::Resize(size) => Some(*size),
        Event::Output(_) => None,
    });
    let mut screen = Screen::new(
        first.unwrap_or(Size {
            columns: 80,
            rows: 24,
        }),
        scrollback,
    );
    let mut cuts = Vec::new();
    let mut seen = 0;
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Resize(size) => screen.resize(*size),
            Event::Output(bytes) => {
                let mut start = 0;
                for place in places
                    .iter()
                    .filter(|place| (seen..seen + bytes.len()).contains(place))
                {
                    let end = place - seen;
                    let _replies = screen.feed(&bytes[start..end]);
                    start = end;
                    cuts.push(Cut {
                        event: index,
                        byte: end,
                        repaint: screen.repaint(),
                    });
                }
                let _replies = screen.feed(&bytes[start..]);
                seen += bytes.len();
            }
        }
    }
    cuts
}

fn check(
    name: &str,
    events: &[Event],
    count: usize,
    scrollback: usize,
    equality: Equality,
) -> anyhow::Result<Vec<String>> {
    let differences = xterm::compare(
        name,
        events,
        &cuts(events, count, scrollback),
        scrollback,
        equality,
    )?;
    Ok(differences
        .into_iter()
        .map(|line| format!("{name}, {scrollback} lines of history: {line}"))
        .collect())
}

#[test]
fn recorded_sessions_repaint_exactly() -> anyhow::Result<()> {
    let count = std::env::var("SCREEN_CUTS").map_or(Ok(CUTS), |count| count.parse())?;
    let mut differences = Vec::new();
    for (name, events) in recorded()? {
        for scrollback in [1000, 30] {
            differences.extend(check(&name, &events, count, scrollback, Equality::Exact)?);
        }
    }
    assert!(
        differences.is_empty(),
        "{} cuts differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    Ok(())
}

#[test]
fn random_sequences_repaint_exactly() -> anyhow::Result<()> {
    let seeds = match std::env::var("SCREEN_SEEDS") {
        Ok(range) => parse_range(&range)?,
        Err(_) => 1..41,
    };
    let mut differences = Vec::new();
    for seed in seeds {
        differences.extend(check(
            &format!("seed-{seed}"),
            &random_session(seed),
            12,
            40,
            Equality::Visible,
        )?);
    }
    assert!(
        differences.is_empty(),
        "{} cuts differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    Ok(())
}

/// `SCREEN_SEEDS=100..200` hunts further than the seeds that always run.
fn parse_range(text: &str) -> anyhow::Result<std::ops::Range<u64>> {
    let (first, end) = text
        .split_once("..")
        .ok_or_else(|| anyhow::anyhow!("SCREEN_SEEDS is FIRST..END"))?;
    Ok(first.parse()?..end.parse()?)
}
