//! Streams that the guest opens: git, which somebody on the host relays.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guest_protocol::codec::{read_message, write_message};
use guest_protocol::frames::{Failure, StreamOpen, StreamOpened, failure::Kind, stream_open};
use guest_protocol::link::LinkStream;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::pipe;

/// The guest says at once what it wants a stream for.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

/// Answers one stream that the guest has opened.
pub async fn serve(mut stream: LinkStream, relay_socket: Option<PathBuf>) {
    let outcome = answer(&mut stream, relay_socket.as_deref()).await;
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
