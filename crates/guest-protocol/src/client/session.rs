//! The session: one task that reads, one that writes, and a table of the calls between them.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{Answer, Call, Error, Request};
use crate::frames::{ClientFrame, ServerFrame, StreamClass, Welcome};
use crate::{INITIAL_CREDIT, MAX_BULK_DATA, MAX_INTERACTIVE_DATA, codec};

/// A session with the guest. Clones share it; it ends when the last clone and the last call are dropped.
#[derive(Clone, Debug)]
pub struct Session {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    welcome: Welcome,
    largest_data: usize,
    outgoing: mpsc::UnboundedSender<ClientFrame>,
    calls: Mutex<Calls>,
    ended: watch::Receiver<bool>,
}

#[derive(Debug, Default)]
struct Calls {
    last: u64,
    open: HashMap<u64, Entry>,
    /// Set when the connection has ended: why.
    lost: Option<String>,
}

#[derive(Debug)]
struct Entry {
    answers: mpsc::UnboundedSender<Result<Answer, Error>>,
    credit: Arc<Semaphore>,
}

impl Session {
    /// What the guest said of itself.
    pub fn welcome(&self) -> &Welcome {
        &self.shared.welcome
    }

    /// Resolves when the connection has ended.
    pub async fn closed(&self) {
        let mut ended = self.shared.ended.clone();
        // An error means that the reader is gone, which is the same thing.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Starts a call with any request; the typed helpers are made of this.
    pub fn call(&self, request: Request) -> Result<Call, Error> {
        let (answers, receiver) = mpsc::unbounded_channel();
        let credit = Arc::new(Semaphore::new(INITIAL_CREDIT as usize));
        let id = {
            let mut calls = self.shared.calls();
            if let Some(cause) = &calls.lost {
                return Err(Error::Disconnected(cause.clone()));
            }
            calls.last += 1;
            let id = calls.last;
            calls.open.insert(
                id,
                Entry {
                    answers,
                    credit: credit.clone(),
                },
            );
            id
        };
        self.shared.send(id, request)?;
        Ok(Call::new(id, self.shared.clone(), receiver, credit))
    }

    /// A request that has one answer, picked out by `pick`.
    pub(super) async fn ask<A>(
        &self,
        request: Request,
        what: &'static str,
        pick: impl Fn(Answer) -> Option<A>,
    ) -> Result<A, Error> {
        let mut call = self.call(request)?;
        let answer = call.next().await?.and_then(pick);
        call.finish();
        answer.ok_or(Error::Unexpected(what))
    }

    /// A request whose answer is only that it was done.
    pub(super) async fn command(&self, request: Request, what: &'static str) -> Result<(), Error> {
        match self.call(request)?.next().await? {
            None => Ok(()),
            Some(_) => Err(Error::Unexpected(what)),
        }
    }

    pub(super) fn start<T, E>(
        sink: SplitSink<T, Bytes>,
        stream: SplitStream<T>,
        welcome: Welcome,
        class: StreamClass,
    ) -> Self
    where
        T: Stream<Item = Result<Bytes, E>> + Sink<Bytes> + Send + 'static,
        <T as Sink<Bytes>>::Error: Display + Send,
        E: Display + Send + 'static,
    {
        let (outgoing, queue) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(false);
        let shared = Arc::new(Shared {
            welcome,
            largest_data: match class {
                StreamClass::Bulk => MAX_BULK_DATA,
                StreamClass::Interactive | StreamClass::Unspecified => MAX_INTERACTIVE_DATA,
            },
            outgoing,
            calls: Mutex::default(),
            ended,
        });
        let writer = tokio::spawn(write(sink, queue, Arc::downgrade(&shared)));
        let reader = read(stream, Arc::downgrade(&shared));
        tokio::spawn(async move {
            // The writer ends when the last handle is dropped, and takes the reader with it.
            let abort = writer.abort_handle();
            tokio::select! {
                () = reader => abort.abort(),
                _ = writer => {}
            }
            // Nobody listening is fine: `closed` treats a dropped sender the same way.
            let _ = end.send(true);
        });
        Self { shared }
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls
            .lock()
            .expect("no code panics while it holds the call table")
    }

    pub(super) fn largest_data(&self) -> usize {
        self.largest_data
    }

    pub(super) fn send(&self, call: u64, body: Request) -> Result<(), Error> {
        let frame = ClientFrame {
            call,
            body: Some(body),
        };
        self.outgoing.send(frame).map_err(|_| self.lost())
    }

    pub(super) fn forget(&self, call: u64) -> bool {
        self.calls().open.remove(&call).is_some()
    }

    pub(super) fn lost(&self) -> Error {
        let cause = self.calls().lost.clone();
        Error::Disconnected(cause.unwrap_or_else(|| "it was closed".into()))
    }

    fn lose(&self, cause: String) {
        let mut calls = self.calls();
        for (_, entry) in calls.open.drain() {
            entry.credit.close();
            // A caller that is gone needs no reason.
            let _ = entry.answers.send(Err(Error::Disconnected(cause.clone())));
        }
        calls.lost.get_or_insert(cause);
    }

    fn receive(&self, frame: ServerFrame) {
        let Some(body) = frame.body else { return };
        let mut calls = self.calls();
        let Some(entry) = calls.open.get(&frame.call) else {
            return;
        };
        match body {
            Answer::Credit(credit) => {
                let room = Semaphore::MAX_PERMITS - entry.credit.available_permits();
                entry.credit.add_permits((credit.bytes as usize).min(room));
            }
            body => {
                let last = matches!(body, Answer::Failure(_) | Answer::Done(_));
                if last {
                    entry.credit.close();
                }
                let answer = match body {
                    Answer::Failure(failure) => Err(failure.into()),
                    body => Ok(body),
                };
                // A caller that is gone has cancelled the call.
                let _ = entry.answers.send(answer);
                if last {
                    calls.open.remove(&frame.call);
                }
            }
        }
    }
}

async fn read<E: Display>(
    mut stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    shared: Weak<Shared>,
) {
    let cause = loop {
        let frame = match stream.next().await {
            None => break "the other side closed it".to_owned(),
            Some(Err(error)) => break error.to_string(),
            // From `Bytes`, so that data is not copied out of the message.
            Some(Ok(message)) => match <ServerFrame as prost::Message>::decode(message) {
                Ok(frame) => frame,
                Err(error) => break error.to_string(),
            },
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.receive(frame);
    };
    if let Some(shared) = shared.upgrade() {
        shared.lose(cause);
    }
}

async fn write<S: Sink<Bytes> + Unpin>(
    mut sink: S,
    mut queue: mpsc::UnboundedReceiver<ClientFrame>,
    shared: Weak<Shared>,
) where
    S::Error: Display,
{
    while let Some(frame) = queue.recv().await {
        let sent = async {
            sink.feed(codec::encode(&frame)).await?;
            // Frames that wait already leave together.
            while let Ok(frame) = queue.try_recv() {
                sink.feed(codec::encode(&frame)).await?;
            }
            sink.flush().await
        };
        if let Err(error) = sent.await {
            if let Some(shared) = shared.upgrade() {
                shared.lose(error.to_string());
            }
            return;
        }
    }
    // Every handle is gone; the other side learns of it by this, or by the dropped transport.
    let _ = sink.close().await;
}
