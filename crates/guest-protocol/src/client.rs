//! The client side of a guest session, for native programs: the host agent, the gateway, the command line,
//! benchmarks, tests.
//!
//! ```text
//! open_stream(link stream, StreamOpen) ─► Session::connect ─┐
//! messages of a WebSocket ──────────────► Session::over ────┴─► Session ─► Call, Exec, Terminal, Download, …
//! ```
//!
//! [`Session`] is cheap to clone and its calls run side by side. Credit is granted as a caller takes data,
//! so a caller that stops reading stops the sender. Dropping a call cancels it in the guest.

use std::fmt::Display;

use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::codec;
use crate::frames::{
    self, ClientFrame, Hello, SessionStream, StreamClass, StreamOpen, StreamOpened, Welcome,
    client_frame, failure, server_frame, stream_open,
};

mod call;
mod exec;
mod feeds;
mod files;
mod session;
mod terminal;
mod wip;

pub use call::{Call, CallWriter};
pub use exec::{Exec, ExecEvent, ExecOutput};
pub use feeds::Feed;
pub use files::Download;
pub use session::Session;
pub use terminal::{Terminal, TerminalEvent};

/// The body of a request or of a frame that belongs to one.
pub type Request = client_frame::Body;
/// The body of an answer.
pub type Answer = server_frame::Body;

/// Why a call, or the whole session, failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The guest refused or failed; the message is a sentence for a person.
    #[error("{message}")]
    Failed {
        kind: failure::Kind,
        message: String,
    },
    /// The connection ended: nobody knows whether the request was carried out.
    #[error("the connection to the workspace was lost: {0}")]
    Disconnected(String),
    /// The guest answered with something that does not belong to the request.
    #[error("the workspace gave an unexpected answer to {0}")]
    Unexpected(&'static str),
}

impl Error {
    /// The guest's kind of failure, when it was the guest that failed.
    pub fn kind(&self) -> Option<failure::Kind> {
        match self {
            Self::Failed { kind, .. } => Some(*kind),
            Self::Disconnected(_) | Self::Unexpected(_) => None,
        }
    }

    fn disconnected(cause: impl Display) -> Self {
        Self::Disconnected(cause.to_string())
    }
}

impl From<frames::Failure> for Error {
    fn from(failure: frames::Failure) -> Self {
        // A kind of a later generation is unknown here, which is what "internal" says.
        let kind = failure::Kind::try_from(failure.kind).unwrap_or(failure::Kind::Internal);
        Self::Failed {
            kind,
            message: failure.message,
        }
    }
}

/// Says what a new stream of the link is for and waits until the guest (or the host) agrees. On success the
/// stream carries what was asked for, from its next byte on.
pub async fn open_stream<T>(stream: &mut T, kind: stream_open::Kind) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    codec::write_message(stream, &StreamOpen { kind: Some(kind) })
        .await
        .map_err(Error::disconnected)?;
    match codec::read_message::<StreamOpened>(stream).await {
        Ok(Some(StreamOpened { failure: None })) => Ok(()),
        Ok(Some(StreamOpened {
            failure: Some(failure),
        })) => Err(failure.into()),
        Ok(None) => Err(Error::disconnected("the stream ended before it was opened")),
        Err(error) => Err(Error::disconnected(error)),
    }
}

impl Session {
    /// Opens a session on a fresh stream of the link: [`open_stream`], then [`Session::connect`].
    pub async fn open<T>(
        mut stream: T,
        class: StreamClass,
        role: frames::Role,
        client: &str,
    ) -> Result<Self, Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let session = SessionStream {
            class: class.into(),
            role: role.into(),
        };
        open_stream(&mut stream, stream_open::Kind::Session(session)).await?;
        Self::connect(stream, class, client).await
    }

    /// Greets over a byte stream on which `StreamOpened` has been received. `client` names the program in
    /// the guest's log, such as "roost 0.1.0".
    pub async fn connect<T>(stream: T, class: StreamClass, client: &str) -> Result<Self, Error>
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let messages = codec::framed(stream).map(|frame| frame.map(|bytes| bytes.freeze()));
        Self::over(messages, class, client).await
    }

    /// Greets over a transport that keeps messages apart, such as a WebSocket whose binary messages were
    /// mapped to [`Bytes`].
    pub async fn over<T, E>(transport: T, class: StreamClass, client: &str) -> Result<Self, Error>
    where
        T: Stream<Item = Result<Bytes, E>> + Sink<Bytes> + Send + 'static,
        <T as Sink<Bytes>>::Error: Display + Send,
        E: Display + Send + 'static,
    {
        let (mut sink, mut stream) = transport.split();
        let hello = Hello {
            generation: crate::GENERATION,
            client: client.into(),
        };
        let hello = ClientFrame {
            call: 0,
            body: Some(Request::Hello(hello)),
        };
        sink.send(codec::encode(&hello))
            .await
            .map_err(Error::disconnected)?;
        let welcome = welcome(&mut stream).await?;
        Ok(Self::start(sink, stream, welcome, class))
    }
}

async fn welcome<E: Display>(
    stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
) -> Result<Welcome, Error> {
    let Some(message) = stream.next().await else {
        return Err(Error::disconnected("it ended before the guest's welcome"));
    };
    let message = message.map_err(Error::disconnected)?;
    let frame: frames::ServerFrame = codec::decode(&message).map_err(Error::disconnected)?;
    match frame.body {
        Some(Answer::Welcome(welcome)) => Ok(welcome),
        Some(Answer::Failure(failure)) => Err(failure.into()),
        _ => Err(Error::Unexpected("hello")),
    }
}
