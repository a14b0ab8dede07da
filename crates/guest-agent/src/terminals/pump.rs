//! Moves a terminal's output into its screen, no faster than those who follow it take it, unless they stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::terminal::Terminal;
use crate::machine::Machine;
use crate::processes::Exit;

/// Of output that goes on without a pause, what is written within this time is read together.
const TOGETHER: Duration = Duration::from_millis(4);
/// A read of so much shows that the programs wait for the reader, bytes: the kernel holds no more.
const FULL: usize = 4 * 1024 - 1;
/// Output that a follower may have ahead of it before the programs wait for it, bytes. Well within what the
/// screen keeps raw.
const AHEAD: u64 = 64 * 1024;
/// How long programs wait for a follower that takes nothing.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a terminal that has ended can still be attached to, for clients that were away.
const KEPT: Duration = Duration::from_secs(30);

/// Runs until the terminal has ended and is forgotten.
pub async fn run(
    machine: &'static Machine,
    terminal: Arc<Terminal>,
    mut exit: oneshot::Receiver<Exit>,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut flow = Flow::default();
    let exited = loop {
        tokio::select! {
            biased;
            exited = &mut exit => break exited,
            () = async { flow.pause().await; turn(&terminal).await } => {}
        }
        tokio::select! {
            exited = &mut exit => break exited,
            read = terminal.master.read(&mut buffer) => match read {
                Ok(count) if count > 0 => {
                    show(&terminal, &buffer[..count]);
                    flow.read(count);
                    // Others get their turn before the next piece of a busy terminal.
                    tokio::task::yield_now().await;
                }
                // Nobody has the other end open: only the exit is left to come.
                _ => break exit.await,
            },
        }
    };
    while let Ok(count) = terminal.master.try_read(&mut buffer)
        && count > 0
    {
        show(&terminal, &buffer[..count]);
    }
    {
        let mut state = terminal.state();
        // The reaper lives as long as the agent.
        state.exit = Some(exited.unwrap_or(Exit {
            code: 0,
            signaled: true,
        }));
        state.ended = true;
    }
    terminal.changed.notify_waiters();
    tokio::time::sleep(KEPT).await;
    machine.terminals.table().terminals.remove(&terminal.name);
}

/// How output comes. The agent is served before the user's programs, so of a flood it would read each line as soon as
/// it is written, and spend on each a frame and a wake-up of everybody on its way.
#[derive(Default)]
struct Flow {
    last: Option<Instant>,
    /// The next read waits until then.
    until: Option<Instant>,
}

impl Flow {
    /// What comes after a pause, such as the echo of a key, and what comes right after that, is read at once.
    fn read(&mut self, count: usize) {
        let now = Instant::now();
        let goes_on = self.last.is_some_and(|last| now - last < 2 * TOGETHER);
        self.until = (goes_on && count < FULL).then(|| now + TOGETHER);
        self.last = Some(now);
    }

    async fn pause(&self) {
        if let Some(until) = self.until {
            tokio::time::sleep_until(until).await;
        }
    }
}

fn show(terminal: &Terminal, bytes: &[u8]) {
    let mut state = terminal.state();
    let before = state.screen.offset();
    for follower in state
        .followers
        .values_mut()
        .filter(|follower| follower.sent == before)
    {
        // Its time to take this begins now.
        follower.moved = Instant::now();
    }
    let replies = state.screen.feed(bytes);
    let unanswered = !state.followers.values().any(|follower| follower.types);
    drop(state);
    if unanswered && !replies.is_empty() {
        // A program that does not read its input does not read answers either.
        let _ = terminal.master.try_write(&replies);
    }
    terminal.changed.notify_waiters();
}

/// Waits until the next piece of output may be read.
async fn turn(terminal: &Terminal) {
    loop {
        let mut changed = std::pin::pin!(terminal.changed.notified());
        changed.as_mut().enable();
        let Some(until) = slowest(terminal) else {
            return;
        };
        // Either it moves, or its time is up; both are looked at again.
        let _ = tokio::time::timeout_at(until, changed).await;
    }
}

/// Until when the programs wait for somebody; none: they need not.
fn slowest(terminal: &Terminal) -> Option<Instant> {
    let now = Instant::now();
    let mut state = terminal.state();
    let end = state.screen.offset();
    let mut wait = None;
    for follower in state.followers.values_mut() {
        let ahead = end - follower.sent;
        follower.left_behind &= ahead > AHEAD;
        if ahead <= AHEAD || follower.left_behind {
            continue;
        }
        let until = follower.moved + PATIENCE;
        if until <= now {
            follower.left_behind = true;
        } else {
            wait = Some(wait.map_or(until, |other: Instant| other.max(until)));
        }
    }
    wait
}
