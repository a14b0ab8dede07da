//! The two byte streams to the host, and what each stream within them is for.

use std::time::Duration;

use guest_protocol::codec;
use guest_protocol::frames::{StreamClass, StreamOpen, StreamOpened, failure, stream_open};
use guest_protocol::link::{self, Incoming, Link, LinkStream, Side};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tracing::{debug, info};

use crate::machine::Machine;
use crate::session::{self, CallError};
use crate::{git, ports};

pub mod port;
pub mod socket;

/// How long a new stream may take to say what it is for.
const OPENING: Duration = Duration::from_secs(10);

/// Serves one connection of the host until it ends.
pub async fn serve<T>(machine: &'static Machine, io: T, class: StreamClass)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match link::connect(io, Side::Guest, link::random_nonce()).await {
        Ok((link, incoming)) => {
            info!(?class, "the host is connected");
            if class == StreamClass::Bulk {
                machine.bulk_link.send_replace(Some(link.clone()));
            }
            serve_streams(machine, incoming, &link, class).await;
            info!(?class, "the host is gone");
        }
        Err(error) => debug!(?class, %error, "no link"),
    }
    if class == StreamClass::Bulk {
        machine.bulk_link.send_replace(None);
    }
}

/// The link lives as long as `_link` is held. Its streams end with it.
async fn serve_streams(
    machine: &'static Machine,
    mut incoming: Incoming,
    _link: &Link,
    class: StreamClass,
) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = incoming.recv() => match stream {
                Some(stream) => {
                    streams.spawn(serve_stream(machine, stream, class));
                }
                None => return,
            },
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn serve_stream(machine: &'static Machine, mut stream: LinkStream, class: StreamClass) {
    let opening = tokio::time::timeout(OPENING, codec::read_message::<StreamOpen>(&mut stream));
    let Ok(Ok(Some(open))) = opening.await else {
        debug!("a stream ended, or said nothing sensible, before it was opened");
        return;
    };
    match open.kind {
        Some(stream_open::Kind::Session(session)) => {
            let Ok(_place) = machine.sessions.try_acquire() else {
                let reason = "too many sessions at a time";
                answer(&mut stream, Err(CallError::busy(reason))).await;
                return;
            };
            if answer(&mut stream, Ok(())).await {
                // What the stream travels on decides, whatever it claims.
                session::serve(machine, stream, class, session.role()).await;
            }
        }
        Some(stream_open::Kind::Tcp(tcp)) => match ports::connect(tcp.port).await {
            Ok(mut connection) => {
                if answer(&mut stream, Ok(())).await {
                    // Either side may end it at any time.
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut connection).await;
                }
            }
            Err(error) => {
                answer(&mut stream, Err(error)).await;
            }
        },
        Some(stream_open::Kind::Git(_)) => {
            let reason = "git's streams are opened by the guest";
            answer(
                &mut stream,
                Err(CallError::failed(failure::Kind::Invalid, reason)),
            )
            .await;
        }
        None => {
            let reason = "this agent does not know such streams";
            answer(
                &mut stream,
                Err(CallError::failed(failure::Kind::Unsupported, reason)),
            )
            .await;
        }
    }
}

/// Whether the other side has been told.
async fn answer(stream: &mut LinkStream, result: Result<(), CallError>) -> bool {
    let failure = match result {
        Ok(()) => None,
        Err(CallError::Failed(failure)) => Some(failure),
        Err(CallError::Gone) => return false,
    };
    codec::write_message(stream, &StreamOpened { failure })
        .await
        .is_ok()
}

/// Runs both links' tasks for ever: the interactive one on this thread, bulk on one of its own.
pub fn run_on_two_threads<F, G>(
    place: crate::machine::Place,
    prepare: impl FnOnce(&'static Machine) -> F,
    bulk: impl FnOnce(&'static Machine) -> G,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
    G: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let build = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let interactive_runtime = build()?;
    let bulk_runtime = build()?;
    let bulk_handle = bulk_runtime.handle().clone();
    let machine = Machine::start(
        place,
        interactive_runtime.handle().clone(),
        bulk_handle.clone(),
    )?;
    std::thread::Builder::new()
        .name("bulk".into())
        .spawn(move || bulk_runtime.block_on(std::future::pending::<()>()))?;
    bulk_handle.spawn(git::relay::run(machine));
    bulk_handle.spawn(git::wip::timer::run(machine));
    let bulk = bulk_handle.spawn(bulk(machine));
    interactive_runtime.block_on(async {
        let reaping = tokio::spawn(machine.processes.reap_all());
        let interactive = prepare(machine);
        tokio::select! {
            result = interactive => result,
            result = bulk => result?,
            result = reaping => Ok(result??),
        }
    })
}
