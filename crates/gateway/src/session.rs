//! One WebSocket and one stream to a guest, back to back.
//!
//! ```text
//! client ── one binary message ──► u32 length + bytes ──► guest     reads nothing of it but the length
//! client ◄── one binary message ── u32 length + bytes ◄── guest
//! ```
//!
//! Each direction holds one message and waits for the other side, so a client that never reads fills its own
//! connection and nothing else. A client that says nothing for a minute, not even pong, is gone.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use fleet_api::host::ByteStream;
use futures::stream::{SplitSink, SplitStream};
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// Largest message, bytes: the guest protocol's own bound.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// How soon silence is noticed.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two pings; below the minute after which proxies close silent connections.
    pub ping: Duration,
    /// Without any sign of the client.
    pub silence: Duration,
    /// Between two looks whether a sign-in has ended.
    pub sign_out: Duration,
    /// A listener of its own closes when nobody has come for so long.
    pub unused_listener: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            sign_out: Duration::from_secs(2),
            unused_listener: crate::tickets::COOKIE_LIFE,
        }
    }
}

/// Why a session ends, as WebSocket close code and words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    pub reason: String,
}

impl Close {
    pub const SIGN_IN: u16 = 4401;
    pub const UNKNOWN_WORKSPACE: u16 = 4404;
    pub const NOT_RUNNING: u16 = 4409;
    pub const BUSY: u16 = 4429;
    pub const FAILED: u16 = 1011;
    const NORMAL: u16 = 1000;
    const UNSUPPORTED: u16 = 1003;
    const GOING_AWAY: u16 = 1001;

    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// The bytes of one direction of a guest stream, as messages.
pub trait Messages:
    Stream<Item = std::io::Result<Bytes>> + Sink<Bytes, Error = std::io::Error> + Send + Unpin
{
}
impl<T> Messages for T where
    T: Stream<Item = std::io::Result<Bytes>> + Sink<Bytes, Error = std::io::Error> + Send + Unpin
{
}

/// A guest's session stream as messages.
pub fn framed(stream: Box<dyn ByteStream>) -> impl Messages {
    tokio_util::codec::LengthDelimitedCodec::builder()
        .max_frame_length(MAX_MESSAGE)
        .new_framed(stream)
        .map(|frame| frame.map(bytes::BytesMut::freeze))
}

/// Who wants to know what passes.
pub trait Watcher: Send {
    /// The client sent something.
    fn active(&mut self);
    /// The guest's side has ended: what to tell the client.
    fn guest_ended(&mut self) -> impl Future<Output = Close> + Send;
}

/// Carries messages both ways until one side ends or `must_end` tells why they may no longer, then closes the
/// client's side with a reason. Answers that reason.
pub async fn pipe(
    socket: WebSocket,
    guest: impl Messages,
    mut watcher: impl Watcher,
    must_end: impl Future<Output = Close>,
    patience: Patience,
) -> Close {
    let (mut to_client, from_client) = socket.split();
    let (to_guest, from_guest) = guest.split();
    let (activity, mut activities) = tokio::sync::mpsc::channel(1);
    let close = {
        let up = upload(from_client, to_guest, activity, patience.silence);
        let down = download(
            &mut to_client,
            from_guest,
            &mut watcher,
            &mut activities,
            patience,
        );
        tokio::select! { close = up => close, close = down => close, close = must_end => Some(close) }
    };
    let close = match close {
        Some(close) => close,
        None => watcher.guest_ended().await,
    };
    end(&mut to_client, &close).await;
    close
}

/// Refuses a client that was let in only to be told why.
pub async fn refuse(socket: WebSocket, close: &Close) {
    end(&mut socket.split().0, close).await;
}

async fn upload<G: Messages>(
    mut client: SplitStream<WebSocket>,
    mut guest: SplitSink<G, Bytes>,
    activity: tokio::sync::mpsc::Sender<()>,
    silence: Duration,
) -> Option<Close> {
    loop {
        let Ok(message) = timeout(silence, client.next()).await else {
            return Some(Close::new(
                Close::GOING_AWAY,
                "nothing was heard from the client",
            ));
        };
        match message {
            Some(Ok(Message::Binary(bytes))) => {
                // A full mailbox means that activity was noted and not yet looked at.
                let _ = activity.try_send(());
                if guest.send(bytes).await.is_err() {
                    return None;
                }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Text(_))) => {
                return Some(Close::new(
                    Close::UNSUPPORTED,
                    "only binary messages are spoken here",
                ));
            }
            Some(Ok(Message::Close(_))) | None => {
                // The guest reads to the end of what was sent before it sees the end.
                let _ = guest.close().await;
                return Some(Close::new(Close::NORMAL, ""));
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "the client's connection failed");
                return Some(Close::new(
                    Close::UNSUPPORTED,
                    "the connection broke the protocol",
                ));
            }
        }
    }
}

async fn download<G: Messages>(
    client: &mut SplitSink<WebSocket, Message>,
    mut guest: SplitStream<G>,
    watcher: &mut impl Watcher,
    activities: &mut tokio::sync::mpsc::Receiver<()>,
    patience: Patience,
) -> Option<Close> {
    let mut ping = interval_at(Instant::now() + patience.ping, patience.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            frame = guest.next() => match frame {
                Some(Ok(bytes)) => Message::Binary(bytes),
                Some(Err(error)) => {
                    tracing::debug!(%error, "the guest's stream failed");
                    return None;
                }
                None => return None,
            },
            Some(()) = activities.recv() => {
                watcher.active();
                continue;
            }
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        match timeout(patience.silence, client.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Some(Close::new(Close::NORMAL, "")),
            Err(_) => return Some(Close::new(Close::GOING_AWAY, "the client does not read")),
        }
    }
}

async fn end(client: &mut SplitSink<WebSocket, Message>, close: &Close) {
    let mut reason = close.reason.clone();
    // A close frame holds 123 bytes of text.
    while reason.len() > 120 {
        reason.pop();
    }
    let frame = CloseFrame {
        code: close.code,
        reason: reason.into(),
    };
    let _ = timeout(
        Duration::from_secs(2),
        client.send(Message::Close(Some(frame))),
    )
    .await;
}
