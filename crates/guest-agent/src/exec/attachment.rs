//! The one client that a program's output goes to. A later attachment takes over from the one before.

use std::pin::pin;
use std::sync::Arc;

use guest_protocol::frames::{ExecExited, data, failure};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::program::Program;
use crate::session::{Answer, Call, CallError, CallInput, CallOutput, Outcome};

/// Follows a program to its exit.
pub async fn serve(program: Arc<Program>, call: Call, stdout: u64, stderr: u64) -> Outcome {
    let Call {
        output,
        input,
        role,
    } = call;
    let (attachment, started) = {
        let mut state = program.state();
        state.attachments += 1;
        state.attached = state.attachments;
        let started = program.started(state.stdout.rewind(stdout), state.stderr.rewind(stderr));
        (
            Attachment {
                program: program.clone(),
                number: state.attached,
            },
            started,
        )
    };
    program.changed.notify_waiters();
    output.send(Answer::ExecStarted(started)).await?;
    let types = crate::session::may_type(role);
    tokio::select! {
        outcome = attachment.send_output(&output) => outcome,
        outcome = attachment.feed(input), if types => outcome,
    }
}

struct Attachment {
    program: Arc<Program>,
    number: u64,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut state = self.program.state();
        if state.attached == self.number {
            state.attached = 0;
            state.alone_since = Instant::now();
        }
        drop(state);
        self.program.changed.notify_waiters();
    }
}

enum Next {
    Data(data::Channel, u64, bytes::Bytes, bool),
    Exited(ExecExited),
    Wait,
}

impl Attachment {
    async fn send_output(&self, output: &CallOutput) -> Outcome {
        let mut stderr_first = false;
        loop {
            let mut changed = pin!(self.program.changed.notified());
            changed.as_mut().enable();
            // Credit first: what is taken from the program's output must be on its way at once.
            let credit = output.credit();
            if credit == 0 {
                output.wait_for_credit(1).await?;
                continue;
            }
            match self.next(credit.min(output.largest_data()), stderr_first)? {
                Next::Data(channel, offset, bytes, end) => {
                    stderr_first = channel == data::Channel::Main;
                    self.program.changed.notify_waiters();
                    output.data(channel, offset, bytes, end).await?;
                }
                Next::Exited(exited) => return output.send(Answer::ExecExited(exited)).await,
                Next::Wait => changed.await,
            }
        }
    }

    fn next(&self, most: usize, stderr_first: bool) -> Result<Next, CallError> {
        let mut state = self.program.state();
        if state.attached != self.number {
            let reason = "somebody else attached to this program";
            return Err(CallError::failed(failure::Kind::Cancelled, reason));
        }
        let order = if stderr_first {
            [data::Channel::Stderr, data::Channel::Main]
        } else {
            [data::Channel::Main, data::Channel::Stderr]
        };
        for channel in order {
            let kept = match channel {
                data::Channel::Main => &mut state.stdout,
                data::Channel::Stderr => &mut state.stderr,
            };
            if kept.has_unsent() || (kept.ended && !kept.end_sent) {
                let (offset, bytes) = kept.take(most);
                let end = kept.ended && !kept.has_unsent();
                kept.end_sent = end;
                return Ok(Next::Data(channel, offset, bytes, end));
            }
        }
        Ok(match state.exit {
            Some(exit) if state.stdout.end_sent && state.stderr.end_sent => {
                Next::Exited(ExecExited {
                    code: exit.code,
                    signaled: exit.signaled,
                })
            }
            _ => Next::Wait,
        })
    }

    /// Passes the client's data to the program's standard input. Never ends by itself: the exit does.
    async fn feed(&self, mut input: CallInput) -> Outcome {
        let taken = self.program.state().stdin.take();
        let mut stdin = Stdin {
            program: &self.program,
            pipe: taken,
        };
        while let Some(piece) = input.next().await {
            let Some(pipe) = &mut stdin.pipe else {
                continue;
            };
            // A program that closed its input, or has ended, takes no more; the rest is thrown away.
            if pipe.write_all(&piece.bytes).await.is_err() || piece.end {
                stdin.pipe = None;
            }
        }
        std::future::pending().await
    }
}

/// Goes back to the program for the next attachment.
struct Stdin<'a> {
    program: &'a Program,
    pipe: Option<tokio::net::unix::pipe::Sender>,
}

impl Drop for Stdin<'_> {
    fn drop(&mut self) {
        let mut state = self.program.state();
        if state.exit.is_none() && self.pipe.is_some() {
            state.stdin = self.pipe.take();
        }
    }
}
