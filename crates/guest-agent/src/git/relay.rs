//! Git's way out: what connects to the relay's port within the machine becomes a stream to the host, which
//! adds what this machine must not hold.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use guest_protocol::client::open_stream;
use guest_protocol::frames::{GitStream, stream_open};
use guest_protocol::link::Link;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::machine::Machine;

/// Connections at a time; more wait.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection waits for the host to come back.
const PATIENCE: Duration = Duration::from_secs(20);
/// A lost port is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Listens for ever, where there is a port to listen on.
pub async fn run(machine: &'static Machine) {
    let Some(port) = machine.settings().git_relay_port else {
        return;
    };
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => listener,
            Err(error) => {
                warn!(port, %error, "git's relay cannot listen");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        loop {
            let Ok(place) = room.clone().acquire_owned().await else {
                return;
            };
            let Ok((connection, _)) = listener.accept().await else {
                break;
            };
            tokio::spawn(async move {
                carry(machine, connection).await;
                drop(place);
            });
        }
        // Out of descriptors, most likely.
        tokio::time::sleep(RETRY).await;
    }
}

async fn carry(machine: &'static Machine, mut connection: TcpStream) {
    let opened = tokio::time::timeout(PATIENCE, async {
        let link = link(machine).await?;
        let mut stream = link.open().await.ok()?;
        open_stream(&mut stream, stream_open::Kind::Git(GitStream {}))
            .await
            .ok()?;
        Some(stream)
    });
    let Ok(Some(mut stream)) = opened.await else {
        debug!("the host does not take git's connections now");
        let _ = connection.write_all(UNAVAILABLE).await;
        return;
    };
    // Either side may end it at any time.
    let _ = tokio::io::copy_bidirectional(&mut connection, &mut stream).await;
}

const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
    Content-Length: 63\r\nConnection: close\r\n\r\n\
    The host of this workspace cannot be reached; please try again\n";

/// The link to the host, as soon as there is one.
async fn link(machine: &'static Machine) -> Option<Link> {
    let mut links = machine.bulk_link.subscribe();
    let link = links.wait_for(Option::is_some).await.ok()?;
    link.clone()
}
