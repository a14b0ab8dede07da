//! One call within a session: its answers, its credit in both directions, its end.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use super::session::Shared;
use super::{Answer, Error, Request};
use crate::frames::{Cancel, Credit, Data};

/// Credit is granted in lumps, so that it does not cost a frame per frame.
const GRANT_LUMP: u64 = 64 * 1024;

/// One call. Dropping it before its end cancels it.
#[derive(Debug)]
pub struct Call {
    id: u64,
    shared: Arc<Shared>,
    answers: mpsc::UnboundedReceiver<Result<Answer, Error>>,
    credit: Arc<Semaphore>,
    writer_made: bool,
    owed: u64,
}

/// Sends the data of a call: file bytes, terminal input, a process's stdin.
#[derive(Debug)]
pub struct CallWriter {
    call: u64,
    shared: Arc<Shared>,
    credit: Arc<Semaphore>,
    offset: u64,
}

impl Call {
    pub(super) fn new(
        id: u64,
        shared: Arc<Shared>,
        answers: mpsc::UnboundedReceiver<Result<Answer, Error>>,
        credit: Arc<Semaphore>,
    ) -> Self {
        Self {
            id,
            shared,
            answers,
            credit,
            writer_made: false,
            owed: 0,
        }
    }

    /// The next answer; `None` at the end without a value. Credit for the data of the previous answer is
    /// granted by asking for the next.
    pub async fn next(&mut self) -> Result<Option<Answer>, Error> {
        self.settle();
        match self.answers.recv().await {
            None => Ok(None),
            Some(Ok(Answer::Done(_))) => Ok(None),
            Some(Ok(answer)) => {
                if let Answer::Data(data) = &answer {
                    self.owed += data.bytes.len() as u64;
                }
                Ok(Some(answer))
            }
            Some(Err(error)) => Err(error),
        }
    }

    /// The sending half. There is one per call: its offsets number all that is sent.
    ///
    /// # Panics
    /// When called twice.
    pub fn writer(&mut self) -> CallWriter {
        assert!(
            !std::mem::replace(&mut self.writer_made, true),
            "a call has one writer"
        );
        CallWriter {
            call: self.id,
            shared: self.shared.clone(),
            credit: self.credit.clone(),
            offset: 0,
        }
    }

    /// The caller has what it wanted: no cancel is sent when the call is dropped. For calls that end with
    /// an answer rather than with `Done`.
    pub fn finish(&mut self) {
        self.shared.forget(self.id);
        self.credit.close();
    }

    fn settle(&mut self) {
        if self.owed >= GRANT_LUMP {
            let bytes = std::mem::take(&mut self.owed);
            // A lost connection shows at the next answer.
            let _ = self.shared.send(self.id, Request::Credit(Credit { bytes }));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.credit.close();
        if self.shared.forget(self.id) {
            // A lost connection has cancelled it already.
            let _ = self.shared.send(self.id, Request::Cancel(Cancel {}));
        }
    }
}

impl CallWriter {
    /// Sends bytes, in pieces as the guest grants credit. Fails once the call has ended.
    pub async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        self.send(bytes.into(), false).await
    }

    /// Says that no more will come.
    pub async fn end(&mut self) -> Result<(), Error> {
        self.send(Bytes::new(), true).await
    }

    async fn send(&mut self, mut bytes: Bytes, end: bool) -> Result<(), Error> {
        loop {
            let wanted = bytes.len().min(self.shared.largest_data());
            // Whatever credit there is will do, so that small grants do not stop large pieces.
            let size = wanted.min(self.credit.available_permits().max(1));
            match self.credit.acquire_many(size as u32).await {
                Ok(permit) => permit.forget(),
                Err(_) => return Err(Error::Disconnected("the call has ended".into())),
            }
            let piece = bytes.split_to(size);
            let last = bytes.is_empty();
            let data = Data {
                offset: self.offset,
                bytes: piece,
                end: end && last,
                ..Data::default()
            };
            self.offset += size as u64;
            self.shared.send(self.call, Request::Data(data))?;
            if last {
                return Ok(());
            }
        }
    }
}
