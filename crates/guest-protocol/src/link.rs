//! The link between monitor and agent: a bare byte stream made into many streams with credits.
//!
//! A virtio-serial port has no connections: bytes of an earlier life may still be in it, on either side
//! (after a restart of the monitor, or a restore of the VM). So each side first sends a preface with a nonce
//! of its own, answers the other's with that nonce in `seen`, and throws away everything before the
//! preface in which it is seen itself. A guest that woke in the midst of a frame of its old link takes what comes
//! for the rest of that: a host that hears nothing sends enough prefaces to fill any frame, which end the old link.
//! What follows is yamux (the host is its client), which gives each stream its own window, so that one that nobody
//! reads holds up no other.
//!
//! ```text
//! preface, 44 bytes: "ROOSTLK1" | u32 BE generation | own nonce (16) | seen nonce (16, zero: none yet)
//! ```

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

const MAGIC: &[u8; 8] = b"ROOSTLK1";
const PREFACE: usize = 8 + 4 + 16 + 16;
/// So long an answer may take before the other side may be in the midst of something else.
const ANSWERS_WITHIN: Duration = Duration::from_millis(250);
/// Prefaces that are longer than any frame, which has at most 16 KiB.
const MORE_THAN_A_FRAME: usize = 17 * 1024 / PREFACE;
/// Streams at a time, per link: terminals, tabs, forwarded connections.
const MAX_STREAMS: usize = 1024;

/// One stream of a link.
pub type LinkStream = Compat<yamux::Stream>;

/// Which end of the link this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Host,
    Guest,
}

/// Opens streams to the other side. Clones share the link.
#[derive(Clone, Debug)]
pub struct Link {
    open: mpsc::Sender<oneshot::Sender<io::Result<LinkStream>>>,
}

impl Link {
    /// Opens a stream. Fails when the link is down or has too many streams.
    pub async fn open(&self) -> io::Result<LinkStream> {
        let (answer, opened) = oneshot::channel();
        self.open.send(answer).await.map_err(|_| down())?;
        opened.await.map_err(|_| down())?
    }
}

/// Streams that the other side opens; `recv` gives `None` when the link is down.
pub type Incoming = mpsc::Receiver<LinkStream>;

fn down() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the link to the guest is down")
}

/// Greets the other side and starts the link; it runs until `io` ends or both handles are dropped.
///
/// Waits as long as the other side needs to appear: give it a deadline of your own.
pub async fn connect<T>(mut io: T, side: Side, nonce: [u8; 16]) -> io::Result<(Link, Incoming)>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = match side {
        Side::Host => Some(ANSWERS_WITHIN),
        Side::Guest => None,
    };
    greet(&mut io, nonce, patience).await?;
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS);
    // Just the first window of each, which is never enlarged: what somebody does not read takes that much
    // memory and no more, and the other side is too near to gain from a larger one.
    config.set_max_connection_receive_window(Some(MAX_STREAMS * yamux::DEFAULT_CREDIT as usize));
    let mode = match side {
        Side::Host => yamux::Mode::Client,
        Side::Guest => yamux::Mode::Server,
    };
    let connection = yamux::Connection::new(io.compat(), config, mode);
    let (open, open_requests) = mpsc::channel(16);
    let (incoming, accepted) = mpsc::channel(64);
    tokio::spawn(drive(connection, open_requests, incoming));
    Ok((Link { open }, accepted))
}

/// A nonce for [`connect`].
pub fn random_nonce() -> [u8; 16] {
    use ring::rand::SecureRandom;
    let mut nonce = [0; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut nonce)
        .expect("the kernel's random source does not fail once it is seeded");
    nonce
}

async fn greet(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: [u8; 16],
    patience: Option<Duration>,
) -> io::Result<()> {
    send_preface(io, own, [0; 16]).await?;
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut answered = None;
    let first = {
        let reading = read_preface(&mut reader);
        tokio::pin!(reading);
        match patience {
            Some(patience) => match tokio::time::timeout(patience, &mut reading).await {
                Ok(first) => first?,
                Err(_) => {
                    let many = preface(own, [0; 16]).repeat(MORE_THAN_A_FRAME);
                    let sending = async {
                        writer.write_all(&many).await?;
                        writer.flush().await
                    };
                    // Nobody may take it before there is an answer.
                    tokio::try_join!(sending, reading)?.1
                }
            },
            None => reading.await?,
        }
    };
    let mut next = first;
    loop {
        let (other, seen) = next;
        if answered != Some(other) {
            send_preface(&mut writer, own, other).await?;
            answered = Some(other);
        }
        if seen == own {
            return Ok(());
        }
        next = read_preface(&mut reader).await?;
    }
}

async fn send_preface(
    io: &mut (impl AsyncWrite + Unpin),
    own: [u8; 16],
    seen: [u8; 16],
) -> io::Result<()> {
    io.write_all(&preface(own, seen)).await?;
    io.flush().await
}

fn preface(own: [u8; 16], seen: [u8; 16]) -> [u8; PREFACE] {
    let mut preface = [0; PREFACE];
    preface[..8].copy_from_slice(MAGIC);
    preface[8..12].copy_from_slice(&crate::GENERATION.to_be_bytes());
    preface[12..28].copy_from_slice(&own);
    preface[28..].copy_from_slice(&seen);
    preface
}

/// Skips to the next preface and returns its nonce and the nonce that it has seen.
async fn read_preface(io: &mut (impl AsyncRead + Unpin)) -> io::Result<([u8; 16], [u8; 16])> {
    let mut matched = 0;
    while matched < MAGIC.len() {
        let byte = io.read_u8().await?;
        // No proper prefix of the magic is also its suffix but "R", so falling back to that is exact.
        matched = if byte == MAGIC[matched] {
            matched + 1
        } else {
            usize::from(byte == MAGIC[0])
        };
    }
    let mut rest = [0; PREFACE - 8];
    io.read_exact(&mut rest).await?;
    let nonce = |range: std::ops::Range<usize>| rest[range].try_into().expect("16 bytes");
    Ok((nonce(4..20), nonce(20..36)))
}

async fn drive<T>(
    mut connection: yamux::Connection<T>,
    mut requests: mpsc::Receiver<oneshot::Sender<io::Result<LinkStream>>>,
    incoming: mpsc::Sender<LinkStream>,
) where
    T: futures::AsyncRead + futures::AsyncWrite + Unpin,
{
    let mut waiting: Option<oneshot::Sender<io::Result<LinkStream>>> = None;
    let mut no_more_requests = false;
    poll_fn(|context| {
        loop {
            if waiting.is_none() && !no_more_requests {
                match requests.poll_recv(context) {
                    Poll::Ready(Some(request)) => waiting = Some(request),
                    Poll::Ready(None) => no_more_requests = true,
                    Poll::Pending => {}
                }
            }
            if no_more_requests && incoming.is_closed() {
                return Poll::Ready(());
            }
            if waiting.is_some()
                && let Poll::Ready(opened) = connection.poll_new_outbound(context)
            {
                let request = waiting.take().expect("checked above");
                // A caller that has gone away drops its stream, which closes it.
                let _ = request.send(
                    opened
                        .map(|stream| stream.compat())
                        .map_err(io::Error::other),
                );
                continue;
            }
            return match connection.poll_next_inbound(context) {
                Poll::Ready(Some(Ok(stream))) => {
                    // Nobody takes streams fast enough, or at all: dropping it resets it.
                    let _ = incoming.try_send(stream.compat());
                    continue;
                }
                Poll::Ready(Some(Err(_)) | None) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            };
        }
    })
    .await;
    let _ = poll_fn(|context| connection.poll_close(context)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair(
        stale_to_host: &[u8],
        stale_to_guest: &[u8],
    ) -> ((Link, Incoming), (Link, Incoming)) {
        let (mut host, mut guest) = tokio::io::duplex(64 * 1024);
        guest.write_all(stale_to_host).await.unwrap();
        host.write_all(stale_to_guest).await.unwrap();
        let (host, guest) = tokio::join!(
            connect(host, Side::Host, [1; 16]),
            connect(guest, Side::Guest, [2; 16])
        );
        (host.unwrap(), guest.unwrap())
    }

    #[tokio::test]
    async fn both_sides_open_streams() {
        let ((host, mut to_host), (guest, mut to_guest)) = pair(b"", b"").await;
        let mut opened = host.open().await.unwrap();
        opened.write_all(b"to the guest").await.unwrap();
        opened.shutdown().await.unwrap();
        let mut text = String::new();
        to_guest
            .recv()
            .await
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text, "to the guest");

        let mut opened = guest.open().await.unwrap();
        opened.write_all(b"to the host").await.unwrap();
        opened.shutdown().await.unwrap();
        text.clear();
        to_host
            .recv()
            .await
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text, "to the host");
    }

    #[tokio::test]
    async fn bytes_of_an_earlier_life_are_thrown_away() {
        let mut old_preface = Vec::new();
        send_preface(&mut old_preface, [7; 16], [9; 16])
            .await
            .unwrap();
        let stale = [b"RROOSROOSTLKgarbage", old_preface.as_slice(), b"ROO"].concat();
        let ((host, _to_host), (_guest, mut to_guest)) = pair(&stale, &stale).await;
        let mut opened = host.open().await.unwrap();
        opened.write_all(b"fresh").await.unwrap();
        opened.shutdown().await.unwrap();
        let mut text = String::new();
        to_guest
            .recv()
            .await
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text, "fresh");
    }

    #[tokio::test]
    async fn a_guest_in_the_midst_of_a_frame_of_its_old_link_is_reached() {
        let (host, mut guest) = tokio::io::duplex(64 * 1024);
        // What the old link still wants of its frame.
        let old = async {
            let mut rest = vec![0; 16 * 1024];
            guest.read_exact(&mut rest).await.unwrap();
            connect(guest, Side::Guest, [2; 16]).await
        };
        let (host, guest) = tokio::join!(connect(host, Side::Host, [1; 16]), old);
        let (host, _to_host) = host.unwrap();
        let (_guest, mut to_guest) = guest.unwrap();
        let mut opened = host.open().await.unwrap();
        opened.write_all(b"fresh").await.unwrap();
        opened.shutdown().await.unwrap();
        let mut text = String::new();
        let mut stream = to_guest.recv().await.unwrap();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "fresh");
    }

    #[tokio::test]
    async fn a_stream_that_nobody_reads_holds_up_no_other() {
        let ((host, _to_host), (_guest, mut to_guest)) = pair(b"", b"").await;
        let mut stuck = host.open().await.unwrap();
        let writer = tokio::spawn(async move {
            let _ = stuck.write_all(&vec![0; 4 << 20]).await;
        });
        let _unread = to_guest.recv().await.unwrap();
        let mut other = host.open().await.unwrap();
        other.write_all(b"through").await.unwrap();
        other.shutdown().await.unwrap();
        let mut text = String::new();
        to_guest
            .recv()
            .await
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text, "through");
        assert!(!writer.is_finished());
    }

    #[tokio::test]
    async fn the_end_of_the_byte_stream_ends_the_link() {
        let ((host, mut to_host), guest) = pair(b"", b"").await;
        drop(guest);
        assert!(to_host.recv().await.is_none());
        assert!(host.open().await.is_err());
    }
}
