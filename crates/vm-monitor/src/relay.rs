//! Streams that the guest opens: git, which somebody on the host relays.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use guest_protocol::codec::{read_message, write_message};
use guest_protocol::frames::{Failure, StreamOpen, StreamOpened, failure::Kind, stream_open};
use guest_protocol::link::LinkStream;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use crate::pipe;

/// The guest says at once what it wants a stream for.
const SAYS_WITHIN: Duration = Duration::from_secs(10);
/// Streams of one guest at a time: each takes memory of the host.
const MAX_STREAMS: usize = 64;

/// Serves what one guest opens. Clones share the limit.
#[derive(Clone, Debug)]
pub struct Relay {
    socket: Option<PathBuf>,
    room: Arc<Semaphore>,
}

impl Relay {
    /// `socket` is of whoever relays git.
    pub fn new(socket: Option<PathBuf>) -> Self {
        Self {
            socket,
            room: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }

    /// Answers one stream that the guest has opened, in a task of its own.
    pub fn serve(&self, stream: LinkStream) {
        // Without room it is dropped, which resets it.
        if let Ok(room) = self.room.clone().try_acquire_owned() {
            let socket = self.socket.clone();
            tokio::spawn(async move {
                serve(stream, socket.as_deref()).await;
                drop(room);
            });
        }
    }
}

async fn serve(mut stream: LinkStream, relay_socket: Option<&Path>) {
    let outcome = answer(&mut stream, relay_socket).await;
    if let Err(error) = outcome {
        tracing::debug!(%error, "a stream of the guest's failed");
    }
    let _ = stream.shutdown().await;
}

async fn answer(stream: &mut LinkStream, relay_socket: Option<&Path>) -> io::Result<()> {
    let open = tokio::time::timeout(SAYS_WITHIN, read_message::<StreamOpen>(stream)).await??;
    let refuse = |kind: Kind, message: &str| StreamOpened {
        failure: Some(Failure {
            kind: kind.into(),
            message: message.to_owned(),
        }),
    };
    let Some(stream_open::Kind::Git(_)) = open.and_then(|open| open.kind) else {
        let message = "this host does not know what the stream is for";
        return write_message(stream, &refuse(Kind::Unsupported, message)).await;
    };
    let relay = match relay_socket {
        Some(path) => UnixStream::connect(path).await,
        None => Err(io::ErrorKind::NotFound.into()),
    };
    match relay {
        Ok(relay) => {
            write_message(stream, &StreamOpened { failure: None }).await?;
            pipe::both_ways(stream, relay, pipe::INTERACTIVE).await
        }
        Err(error) => {
            tracing::warn!(%error, "nobody relays git");
            let message = "git cannot leave the machine now: the host's relay does not answer. Try again in a moment";
            write_message(stream, &refuse(Kind::Refused, message)).await
        }
    }
}
