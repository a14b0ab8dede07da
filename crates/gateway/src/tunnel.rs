//! TCP to a port in a guest over a WebSocket, for `roost port-forward`: raw bytes in binary messages; an
//! empty message is the end of one direction.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use control_api::problem::Kind;
use control_api::programs::InTunnel;
use fleet_api::host::{ByteStream, GuestStream, HostError};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http_api::inputs::InPath;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, interval_at, timeout};

use crate::Gateway;
use crate::answers::Problem;
use crate::guest_session::{bounded, connect};
use crate::programs;
use crate::session::Patience;

/// `GET /api/v1/tunnel/WORKSPACE/PORT`.
pub async fn open(
    State(gateway): State<Arc<Gateway>>,
    InPath(path): InPath<InTunnel>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let guest = programs::admit(&gateway, &headers, &path.workspace).await?;
    let port = path.port;
    let stream = connect(&guest.route, GuestStream::Tcp { port })
        .await
        .map_err(|error| match error {
            HostError::NotRunning => Problem::not_running(&guest.route.state, &guest.route.detail),
            HostError::PortClosed { .. } => Problem::new(
                Kind::PortClosed,
                format!("{error}. Start a program that does."),
            ),
            error => Problem::new(Kind::HostFailed, error.to_string()),
        })?;
    let upgrade = bounded(programs::upgraded(upgrade)?);
    gateway.directory.touch(&guest.route.workspace);
    let patience = gateway.patience;
    Ok(upgrade.on_upgrade(move |socket| async move {
        tokio::select! {
            () = carry(socket, stream, patience) => {}
            () = gateway.tickets.signed_out(&guest.session) => {}
        }
    }))
}

async fn carry(socket: WebSocket, stream: Box<dyn ByteStream>, patience: Patience) {
    let (mut to_client, from_client) = socket.split();
    let (from_guest, to_guest) = tokio::io::split(stream);
    let up = upload(from_client, to_guest, patience);
    let down = download(&mut to_client, from_guest, patience);
    // Either direction may end first and the other go on; a broken connection ends both.
    let _ = tokio::try_join!(up, down);
    let _ = timeout(patience.ping, to_client.send(Message::Close(None))).await;
}

/// The connection broke, or was silent for too long.
struct Broken;

async fn upload(
    mut client: SplitStream<WebSocket>,
    mut guest: WriteHalf<Box<dyn ByteStream>>,
    patience: Patience,
) -> Result<(), Broken> {
    let mut ended = false;
    loop {
        match timeout(patience.silence, client.next()).await {
            Ok(Some(Ok(Message::Binary(bytes)))) if bytes.is_empty() => {
                ended = true;
                guest.shutdown().await.map_err(|_| Broken)?;
            }
            Ok(Some(Ok(Message::Binary(bytes)))) if !ended => {
                guest.write_all(&bytes).await.map_err(|_| Broken)?;
                guest.flush().await.map_err(|_| Broken)?;
            }
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(_) | Err(_) => return Err(Broken),
        }
    }
}

async fn download(
    client: &mut SplitSink<WebSocket, Message>,
    mut guest: ReadHalf<Box<dyn ByteStream>>,
    patience: Patience,
) -> Result<(), Broken> {
    let mut ping = interval_at(Instant::now() + patience.ping, patience.ping);
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(64 * 1024);
        let (message, last) = tokio::select! {
            read = guest.read_buf(&mut buffer) => match read {
                Ok(0) => (Message::Binary(Bytes::new()), true),
                Ok(_) => (Message::Binary(buffer.split().freeze()), false),
                Err(_) => return Err(Broken),
            },
            _ = ping.tick() => (Message::Ping(Bytes::new()), false),
        };
        match timeout(patience.silence, client.send(message)).await {
            Ok(Ok(())) if last => return Ok(()),
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(Broken),
        }
    }
}
