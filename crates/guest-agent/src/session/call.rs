//! What the handler of one call holds: its way out, with credit, and what the client sends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use guest_protocol::frames::{Credit, Data, Done, Role, data};
use tokio::sync::{Semaphore, mpsc};

use super::{Answer, CallError, Outbound, Outcome};

/// Credit is granted in lumps, so that it does not cost a frame per frame.
const GRANT_LUMP: u64 = 64 * 1024;

/// One call of a session.
#[derive(Debug)]
pub struct Call {
    pub output: CallOutput,
    pub input: CallInput,
    pub role: Role,
}

/// Frames towards the client.
#[derive(Clone, Debug)]
pub struct CallOutput {
    pub(super) call: u64,
    pub(super) urgent: bool,
    pub(super) outbound: Outbound,
    pub(super) credit: Arc<Semaphore>,
    pub(super) largest_data: usize,
}

/// The client's data.
#[derive(Debug)]
pub struct CallInput {
    pub(super) pieces: mpsc::Receiver<Data>,
    /// Bytes that the client may still send: the session takes from it, this side adds.
    pub(super) allowed: Arc<AtomicU64>,
    pub(super) owed: u64,
    pub(super) back: CallOutput,
}

impl Call {
    /// Sends an answer.
    pub async fn answer(&self, body: Answer) -> Outcome {
        self.output.send(body).await
    }

    /// Ends the call without a value.
    pub async fn done(&self) -> Outcome {
        self.answer(Answer::Done(Done {})).await
    }
}

impl CallOutput {
    pub async fn send(&self, body: Answer) -> Outcome {
        self.outbound.send(self.call, self.urgent, body).await
    }

    /// Most bytes in one piece of data.
    pub fn largest_data(&self) -> usize {
        self.largest_data
    }

    /// Sends bytes, in pieces as the client grants credit.
    pub async fn data(
        &self,
        channel: data::Channel,
        mut offset: u64,
        mut bytes: Bytes,
        end: bool,
    ) -> Outcome {
        loop {
            let wanted = bytes.len().min(self.largest_data);
            let size = if wanted == 0 {
                0
            } else {
                self.take_credit(wanted).await?
            };
            let piece = bytes.split_to(size);
            let last = bytes.is_empty();
            let data = Data {
                offset,
                bytes: piece,
                channel: channel.into(),
                end: end && last,
            };
            self.send(Answer::Data(data)).await?;
            offset += size as u64;
            if last {
                return Ok(());
            }
        }
    }

    /// Waits for credit and takes at most `wanted` of it.
    pub async fn take_credit(&self, wanted: usize) -> Result<usize, CallError> {
        let size = wanted.min(self.credit.available_permits().max(1));
        let permit = self
            .credit
            .acquire_many(size as u32)
            .await
            .map_err(|_| CallError::Gone)?;
        permit.forget();
        Ok(size)
    }

    /// Bytes that the client takes at present.
    pub fn credit(&self) -> usize {
        self.credit.available_permits()
    }

    /// Waits until the client takes at least `bytes`.
    pub async fn wait_for_credit(&self, bytes: usize) -> Outcome {
        // Given back at once: waiting is all.
        let permit = self.credit.acquire_many(bytes as u32).await;
        permit.map(drop).map_err(|_| CallError::Gone)
    }
}

impl CallInput {
    /// The next piece; `None` when the session has ended. Asking for it grants credit for those before.
    pub async fn next(&mut self) -> Option<Data> {
        if self.owed >= GRANT_LUMP {
            self.grant().await;
        }
        let piece = self.pieces.recv().await?;
        self.owed += piece.bytes.len() as u64;
        Some(piece)
    }

    async fn grant(&mut self) {
        let bytes = std::mem::take(&mut self.owed);
        self.allowed.fetch_add(bytes, Ordering::Relaxed);
        // A client that is gone needs none.
        let _ = self.back.send(Answer::Credit(Credit { bytes })).await;
    }
}
