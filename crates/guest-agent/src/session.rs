//! One session: greets, keeps the table of calls, and runs each call as a task of its own.
//!
//! ```text
//! frames in ─► call table ─┬─ new ─► task (dispatch) ─► frames out, urgent ones first ─► stream
//!                          ├─ data, credit ─► the call's task
//!                          └─ cancel ─► ends the call's task
//! ```
//!
//! Whatever is wrong with a frame ends this session and nothing else; a client that never reads holds up its
//! own calls, each with no more than its credit.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use guest_protocol::frames::{
    ClientFrame, Failure, Role, ServerFrame, StreamClass, Welcome, client_frame, failure,
    server_frame,
};
use guest_protocol::{GENERATION, MAX_BULK_DATA, MAX_INTERACTIVE_DATA, codec};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tracing::{debug, info};

use crate::machine::Machine;

mod call;
mod calls;
mod dispatch;
mod errors;
mod roles;

pub use call::{Call, CallInput, CallOutput};
pub use errors::{CallError, During, Outcome};
pub use roles::may_type;

/// How long a client may take to say hello.
const GREETING: Duration = Duration::from_secs(10);
/// Frames that wait for the stream: few, since a stream gives no way to overtake.
const QUEUE: usize = 4;

/// The body of a request.
pub type Request = client_frame::Body;
/// The body of an answer.
pub type Answer = server_frame::Body;

/// Frames on their way out.
#[derive(Clone, Debug)]
pub struct Outbound {
    urgent: mpsc::Sender<ServerFrame>,
    ordinary: mpsc::Sender<ServerFrame>,
}

impl Outbound {
    async fn send(&self, call: u64, urgent: bool, body: Answer) -> Result<(), CallError> {
        let queue = if urgent { &self.urgent } else { &self.ordinary };
        let frame = ServerFrame {
            call,
            body: Some(body),
        };
        queue.send(frame).await.map_err(|_| CallError::Gone)
    }
}

/// Serves a stream that was opened as a session, to its end.
pub async fn serve<T>(machine: &'static Machine, stream: T, class: StreamClass, role: Role)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut sink, mut frames) = codec::framed(stream).split();
    let client = match greeted(&mut frames).await {
        Ok(client) => client,
        Err(reason) => {
            debug!(reason, "no session");
            let failure = CallError::invalid(reason);
            if let CallError::Failed(failure) = failure {
                // It may be gone already.
                let _ = sink.send(encode(0, Answer::Failure(failure))).await;
            }
            return;
        }
    };
    if sink
        .send(encode(0, Answer::Welcome(welcome(machine))))
        .await
        .is_err()
    {
        return;
    }
    info!(client, ?role, ?class, "a session begins");
    let (urgent, urgent_queue) = mpsc::channel(QUEUE);
    let (ordinary, ordinary_queue) = mpsc::channel(QUEUE);
    let outbound = Outbound { urgent, ordinary };
    let largest_data = match class {
        StreamClass::Bulk => MAX_BULK_DATA,
        StreamClass::Interactive | StreamClass::Unspecified => MAX_INTERACTIVE_DATA,
    };
    let reading = calls::run(machine, frames, outbound, role, largest_data);
    let writing = write(sink, urgent_queue, ordinary_queue);
    tokio::pin!(writing);
    tokio::select! {
        () = reading => {
            // The last frames, such as the reason for the end, still leave if the client takes them.
            let _ = tokio::time::timeout(Duration::from_secs(1), writing).await;
        }
        () = &mut writing => {}
    }
    debug!(client, "the session has ended");
}

fn encode(call: u64, body: Answer) -> Bytes {
    codec::encode(&ServerFrame {
        call,
        body: Some(body),
    })
}

async fn greeted<T: AsyncRead>(
    frames: &mut SplitStream<Framed<T, LengthDelimitedCodec>>,
) -> Result<String, &'static str> {
    let first = tokio::time::timeout(GREETING, frames.next()).await;
    let Ok(Some(Ok(message))) = first else {
        return Err("there was no hello");
    };
    let Ok(frame) = ClientFrame::decode(message.freeze()) else {
        return Err("the first frame is not a frame of this protocol");
    };
    match frame.body {
        Some(Request::Hello(hello)) if hello.generation >= 1 => Ok(hello.client),
        Some(Request::Hello(_)) => Err("there is no generation 0 of this protocol"),
        _ => Err("the first frame has to be a hello"),
    }
}

fn welcome(machine: &Machine) -> Welcome {
    Welcome {
        // Generation 1 is all there is, so it is the lower of both.
        generation: GENERATION,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        boot: machine.boot.clone(),
        home: machine.user.home.to_string_lossy().into_owned(),
        workspace: machine.workspace().to_string_lossy().into_owned(),
        time_ms: crate::figures::now_ms(),
    }
}

async fn write<T: AsyncWrite>(
    mut sink: SplitSink<Framed<T, LengthDelimitedCodec>, Bytes>,
    mut urgent: mpsc::Receiver<ServerFrame>,
    mut ordinary: mpsc::Receiver<ServerFrame>,
) {
    loop {
        let frame = tokio::select! {
            biased;
            Some(frame) = urgent.recv() => frame,
            Some(frame) = ordinary.recv() => frame,
            else => return,
        };
        if sink.feed(codec::encode(&frame)).await.is_err() {
            return;
        }
        // Small frames that wait already leave together.
        while let Ok(frame) = urgent.try_recv() {
            if sink.feed(codec::encode(&frame)).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}

/// The frame that ends a call, or says why a session ends.
fn failed(kind: failure::Kind, message: &str) -> Answer {
    Answer::Failure(Failure {
        kind: kind.into(),
        message: message.into(),
    })
}
