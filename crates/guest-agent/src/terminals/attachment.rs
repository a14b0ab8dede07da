//! One client's view of a terminal: the screen or the missing output first, then what comes; and its input.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use guest_protocol::frames::{TerminalExited, TerminalState, data};
use terminal_screen::Size;
use tokio::time::Instant;

use super::terminal::{State, Terminal};
use crate::session::{Answer, Call, CallInput, CallOutput, Outcome, may_type};

/// Output in one frame: small, so that frames of other terminals get between.
const PIECE: usize = 16 * 1024;
/// Bytes of a repaint: a frame holds it whole.
const MAX_REPAINT: usize = guest_protocol::codec::MAX_MESSAGE - 64 * 1024;
/// A client gets the screen anew only when it takes this much again.
const RECOVERED: usize = 64 * 1024;

/// What a client shows when it attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// An empty screen of the right size, and the terminal is new.
    Nothing,
    /// Everything up to this byte of the output.
    UpTo(u64),
    /// Something else.
    Other,
}

/// Follows a terminal to its end.
pub async fn serve(terminal: Arc<Terminal>, call: Call, shows: Shows) -> Outcome {
    let Call {
        output,
        input,
        role,
    } = call;
    let types = may_type(role);
    let (attachment, first) = {
        let mut state = terminal.state();
        let size = state.screen.size();
        let first = match shows {
            Shows::Nothing => terminal.describe_state(&state, 0, Some(Vec::new())),
            Shows::UpTo(have) if state.screen.since(have, size, 0).is_some() => {
                terminal.describe_state(&state, have, None)
            }
            Shows::UpTo(_) | Shows::Other => anew(&terminal, &state),
        };
        let number = state.follow(first.offset, types);
        (
            Attachment {
                terminal: terminal.clone(),
                number,
            },
            first,
        )
    };
    output.send(Answer::TerminalState(first)).await?;
    tokio::select! {
        outcome = attachment.send_output(&output) => outcome,
        outcome = attachment.type_input(input), if types => outcome,
    }
}

/// The whole screen, for a client that shows something else.
fn anew(terminal: &Terminal, state: &State) -> TerminalState {
    let repaint = state.screen.repaint_within(MAX_REPAINT);
    let mut bytes = repaint.bytes;
    if bytes.len() > MAX_REPAINT {
        // Hundreds of thousands of cells, each coloured for itself: the text at least.
        bytes = format!("\x18\x1bc{}", state.screen.visible_text().join("\r\n")).into_bytes();
        bytes.truncate(MAX_REPAINT);
    }
    terminal.describe_state(state, repaint.offset, Some(bytes))
}

struct Attachment {
    terminal: Arc<Terminal>,
    number: u64,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.terminal.state().followers.remove(&self.number);
        // The programs may be waiting for this one.
        self.terminal.changed.notify_waiters();
    }
}

enum Next {
    Output(u64, Bytes),
    State(TerminalState),
    /// It has to take more before it gets the screen anew.
    Recover,
    Exited(TerminalExited),
    Wait,
}

impl Attachment {
    async fn send_output(&self, output: &CallOutput) -> Outcome {
        let mut size = self.terminal.state().screen.size();
        loop {
            let mut changed = pin!(self.terminal.changed.notified());
            changed.as_mut().enable();
            match self.next(output.credit(), &mut size) {
                Next::Output(offset, bytes) => {
                    // The programs may be waiting for this one.
                    self.terminal.changed.notify_waiters();
                    output
                        .data(data::Channel::Main, offset, bytes, false)
                        .await?;
                }
                Next::State(state) => output.send(Answer::TerminalState(state)).await?,
                Next::Recover => output.wait_for_credit(RECOVERED).await?,
                Next::Exited(exited) => {
                    return output.send(Answer::TerminalExited(exited)).await;
                }
                Next::Wait => {
                    tokio::select! {
                        () = changed => {}
                        outcome = output.wait_for_credit(1), if output.credit() == 0 => outcome?,
                    }
                }
            }
        }
    }

    fn next(&self, credit: usize, size: &mut Size) -> Next {
        let mut state = self.terminal.state();
        let end = state.screen.offset();
        let now_size = state.screen.size();
        let Some(follower) = state.followers.get_mut(&self.number) else {
            return Next::Wait;
        };
        let sent = follower.sent;
        let resized = std::mem::replace(size, now_size) != now_size;
        if sent == end {
            follower.moved = Instant::now();
            if resized {
                return Next::State(self.terminal.describe_state(&state, end, None));
            }
            return match state.exit {
                Some(exit) if state.ended => Next::Exited(TerminalExited {
                    code: exit.code,
                    signaled: exit.signaled,
                }),
                _ => Next::Wait,
            };
        }
        let left_behind = follower.left_behind;
        let missing = if left_behind {
            None
        } else {
            state.screen.since(sent, now_size, PIECE.min(credit))
        };
        let Some(missing) = missing else {
            if credit < RECOVERED {
                // Whatever size it has to be told, the new screen tells.
                return Next::Recover;
            }
            let anew = anew(&self.terminal, &state);
            self.moved_to(&mut state, anew.offset);
            return Next::State(anew);
        };
        if missing.is_empty() {
            return Next::Wait;
        }
        self.moved_to(&mut state, sent + missing.len() as u64);
        Next::Output(sent, Bytes::from(missing))
    }

    fn moved_to(&self, state: &mut State, sent: u64) {
        if let Some(follower) = state.followers.get_mut(&self.number) {
            follower.sent = sent;
            follower.moved = Instant::now();
            follower.left_behind = false;
        }
    }

    /// Never ends by itself: the terminal's end does.
    async fn type_input(&self, mut input: CallInput) -> Outcome {
        while let Some(piece) = input.next().await {
            let _together = self.terminal.typing.lock().await;
            if self.terminal.master.write_all(&piece.bytes).await.is_err() {
                break;
            }
        }
        std::future::pending().await
    }
}
