//! What the monitor itself says to the agent: are you there, and shut down. Each over a session of its own.

use std::io;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use guest_protocol::codec::{self, read_message, write_message};
use guest_protocol::frames::{
    ClientFrame, Hello, Ping, Role, ServerFrame, SessionStream, Shutdown, StreamClass, StreamOpen,
    StreamOpened, client_frame::Body, server_frame, stream_open,
};
use guest_protocol::link::LinkStream;
use microvm::driver::LinkClass;
use monitor_protocol::messages::VmStatus;
use monitor_protocol::messages::vm_status::Phase;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::links::Links;

const ASKED_EVERY: Duration = Duration::from_secs(3);
/// See `PHASE_UNRESPONSIVE` in the monitor's contract.
const SILENT_AFTER: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);

/// A session with the agent, as the host itself.
struct Session {
    frames: Framed<LinkStream, LengthDelimitedCodec>,
    calls: u64,
}

impl Session {
    async fn open(links: &Links) -> io::Result<Self> {
        let mut stream = links.open(LinkClass::Interactive).await?;
        let session = SessionStream {
            class: StreamClass::Interactive.into(),
            role: Role::Host.into(),
        };
        let open = StreamOpen {
            kind: Some(stream_open::Kind::Session(session)),
        };
        write_message(&mut stream, &open).await?;
        let opened = read_message::<StreamOpened>(&mut stream)
            .await?
            .ok_or_else(ended)?;
        if let Some(failure) = opened.failure {
            return Err(io::Error::other(failure.message));
        }
        let mut session = Self {
            frames: codec::framed(stream),
            calls: 0,
        };
        let client = concat!("vm-monitor ", env!("CARGO_PKG_VERSION")).to_owned();
        session
            .send(
                0,
                Body::Hello(Hello {
                    generation: guest_protocol::GENERATION,
                    client,
                }),
            )
            .await?;
        session.receive().await?;
        Ok(session)
    }

    async fn send(&mut self, call: u64, body: Body) -> io::Result<()> {
        self.frames
            .send(codec::encode(&ClientFrame {
                call,
                body: Some(body),
            }))
            .await
    }

    async fn receive(&mut self) -> io::Result<ServerFrame> {
        codec::decode(&self.frames.next().await.ok_or_else(ended)??)
    }

    /// Returns when the agent has answered.
    async fn ping(&mut self) -> io::Result<()> {
        self.calls += 1;
        self.send(self.calls, Body::Ping(Ping {})).await?;
        self.receive().await.map(drop)
    }
}

/// Asks the guest to stop everything and power off; `grace` is what its programs get to end by themselves.
/// Returns when the agent has been told.
pub async fn shut_down(links: &Links, grace: Duration) -> io::Result<()> {
    links.ready().await?;
    let mut session = Session::open(links).await?;
    let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
    session
        .send(1, Body::Shutdown(Shutdown { grace_ms }))
        .await?;
    // The stream stays open until the agent ends it: what is sent on a dropped one may be lost.
    while let Ok(frame) = session.receive().await {
        if let Some(server_frame::Body::Failure(failure)) = frame.body {
            return Err(io::Error::other(failure.message));
        }
    }
    Ok(())
}

/// Asks the agent regularly whether it is there; tells when it has fallen silent and when it answers again.
pub async fn watch(links: Links, status: watch::Receiver<VmStatus>, silence: mpsc::Sender<bool>) {
    let mut heard = Instant::now();
    let mut told = false;
    let asking = ask(links);
    tokio::pin!(asking);
    loop {
        tokio::select! {
            answered = asking.next() => {
                // The stream of answers never ends.
                if answered.is_some() {
                    heard = Instant::now();
                }
                if std::mem::take(&mut told) && silence.send(false).await.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep_until(heard + SILENT_AFTER), if !told => {
                if status.borrow().phase() == Phase::Paused {
                    // It cannot answer, and gets its time again when it goes on.
                    heard = Instant::now();
                } else {
                    told = true;
                    if silence.send(true).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// One item for each answer of the agent.
fn ask(links: Links) -> impl futures::Stream<Item = ()> {
    futures::stream::unfold(None::<Session>, move |session| {
        let links = links.clone();
        async move {
            let mut session = session;
            loop {
                match answer(session.take(), &links).await {
                    Ok(open) => return Some(((), Some(open))),
                    Err(error) => {
                        tracing::debug!(%error, "the agent was not asked");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }
    })
}

async fn answer(session: Option<Session>, links: &Links) -> io::Result<Session> {
    match session {
        Some(mut session) => {
            tokio::time::sleep(ASKED_EVERY).await;
            session.ping().await?;
            Ok(session)
        }
        None => Session::open(links).await,
    }
}

fn ended() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}
