//! The table of a session's calls, and the loop that reads its frames.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use futures::stream::SplitStream;
use guest_protocol::INITIAL_CREDIT;
use guest_protocol::frames::{ClientFrame, Data, Pong, Role, failure};
use prost::Message;
use tokio::io::AsyncRead;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{Answer, Call, CallError, CallInput, CallOutput, Outbound, Request};
use super::{dispatch, failed, roles};
use crate::machine::Machine;

/// Calls of one session at a time.
const MAX_CALLS: usize = 512;
/// Pieces of data that a call may leave unread; credit limits their bytes.
const MAX_PIECES: usize = 4096;

struct Calls {
    machine: &'static Machine,
    outbound: Outbound,
    role: Role,
    largest_data: usize,
    open: HashMap<u64, Entry>,
    tasks: JoinSet<u64>,
}

struct Entry {
    credit: Arc<Semaphore>,
    pieces: mpsc::Sender<Data>,
    allowed: Arc<AtomicU64>,
    task: AbortHandle,
}

/// Reads frames and runs calls until the stream ends or says something senseless.
pub async fn run<T: AsyncRead>(
    machine: &'static Machine,
    mut frames: SplitStream<Framed<T, LengthDelimitedCodec>>,
    outbound: Outbound,
    role: Role,
    largest_data: usize,
) {
    let mut calls = Calls {
        machine,
        outbound,
        role,
        largest_data,
        open: HashMap::new(),
        tasks: JoinSet::new(),
    };
    loop {
        tokio::select! {
            frame = frames.next() => {
                let Some(Ok(message)) = frame else { return };
                let outcome = match ClientFrame::decode(message.freeze()) {
                    Ok(frame) => calls.receive(frame).await,
                    Err(_) => Err("that is not a frame of this protocol"),
                };
                if let Err(reason) = outcome {
                    tracing::debug!(reason, "a client is sent away");
                    // The end of the stream says it too.
                    let _ = calls.send(0, failed(failure::Kind::Invalid, reason)).await;
                    return;
                }
            }
            Some(ended) = calls.tasks.join_next() => {
                // Those that were cancelled have left the table already.
                if let Ok(call) = ended {
                    calls.open.remove(&call);
                }
            }
        }
    }
}

impl Calls {
    async fn send(&self, call: u64, body: Answer) -> Result<(), CallError> {
        self.outbound.send(call, true, body).await
    }

    /// An error is the client's breach of the protocol, and ends the session.
    async fn receive(&mut self, frame: ClientFrame) -> Result<(), &'static str> {
        let call = frame.call;
        match frame.body {
            Some(Request::Hello(_)) => return Err("a session has one hello"),
            // The client is gone when it cannot be answered, which the reader sees next.
            Some(Request::Ping(_)) => drop(self.send(call, Answer::Pong(Pong {})).await),
            Some(Request::Cancel(_)) => {
                if let Some(entry) = self.open.remove(&call) {
                    entry.task.abort();
                }
            }
            Some(Request::Credit(credit)) => {
                if let Some(entry) = self.open.get(&call) {
                    let room = Semaphore::MAX_PERMITS - entry.credit.available_permits();
                    entry.credit.add_permits((credit.bytes as usize).min(room));
                }
            }
            Some(Request::Data(data)) => self.receive_data(call, data).await,
            Some(_) if call == 0 => return Err("a call has a number other than 0"),
            Some(_) if self.open.contains_key(&call) => {
                return Err("a call's number was used twice");
            }
            Some(request) => self.start(call, request).await,
            None => {
                let reason = "this agent does not know the request";
                drop(
                    self.send(call, failed(failure::Kind::Unsupported, reason))
                        .await,
                );
            }
        }
        Ok(())
    }

    async fn receive_data(&mut self, call: u64, data: Data) {
        // Data of a call that has ended meanwhile is dropped.
        let Some(entry) = self.open.get(&call) else {
            return;
        };
        let size = data.bytes.len() as u64;
        let within = entry.allowed.load(Ordering::Relaxed) >= size;
        if within {
            entry.allowed.fetch_sub(size, Ordering::Relaxed);
        }
        if !within
            || matches!(
                entry.pieces.try_send(data),
                Err(mpsc::error::TrySendError::Full(_))
            )
        {
            entry.task.abort();
            self.open.remove(&call);
            let reason = "more data was sent than was asked for";
            drop(
                self.send(call, failed(failure::Kind::Invalid, reason))
                    .await,
            );
        }
    }

    async fn start(&mut self, call: u64, request: Request) {
        if !roles::allows(self.role, &request) {
            let reason = "your role in this workspace does not allow that";
            return drop(
                self.send(call, failed(failure::Kind::Refused, reason))
                    .await,
            );
        }
        if self.open.len() >= MAX_CALLS {
            let reason = "too many requests at a time";
            return drop(self.send(call, failed(failure::Kind::Busy, reason)).await);
        }
        let credit = Arc::new(Semaphore::new(INITIAL_CREDIT as usize));
        let allowed = Arc::new(AtomicU64::new(INITIAL_CREDIT));
        let (pieces, received) = mpsc::channel(MAX_PIECES);
        let output = CallOutput {
            call,
            urgent: dispatch::is_urgent(&request),
            outbound: self.outbound.clone(),
            credit: credit.clone(),
            largest_data: self.largest_data,
        };
        let input = CallInput {
            pieces: received,
            allowed: allowed.clone(),
            owed: 0,
            back: CallOutput {
                urgent: true,
                ..output.clone()
            },
        };
        let machine = self.machine;
        let call_of_task = Call {
            output: output.clone(),
            input,
            role: self.role,
        };
        let task = self.tasks.spawn(async move {
            match dispatch::run(machine, call_of_task, request).await {
                Ok(()) | Err(CallError::Gone) => {}
                // If the client is gone, so is the need to tell it.
                Err(CallError::Failed(failure)) => {
                    drop(output.send(Answer::Failure(failure)).await)
                }
            }
            call
        });
        self.open.insert(
            call,
            Entry {
                credit,
                pieces,
                allowed,
                task,
            },
        );
    }
}
