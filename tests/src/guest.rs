//! Sessions with guests, over a WebSocket of the server.

use anyhow::Context;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use guest_protocol::client::{ExecOutput, Session};
use guest_protocol::frames::{ExecStart, StreamClass};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::api::Api;

/// Opens a session with a running workspace.
pub async fn session(api: &Api, workspace: &str, class: StreamClass) -> anyhow::Result<Session> {
    let kind = if class == StreamClass::Bulk {
        "bulk"
    } else {
        "interactive"
    };
    let socket = socket(api, &format!("/session/{workspace}/{kind}")).await?;
    let messages = socket
        .filter_map(async |message| match message {
            Ok(Message::Binary(bytes)) => Some(Ok::<Bytes, Error>(bytes)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
        .with(async |bytes: Bytes| Ok::<Message, Error>(Message::Binary(bytes)));
    Ok(Session::over(Box::pin(messages), class, "tests").await?)
}

/// Opens a WebSocket below `/api/v1`.
pub async fn socket(api: &Api, path: &str) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let url = format!("{}/api/v1{path}", api.url().replacen("http", "ws", 1));
    let mut request = url.as_str().into_client_request()?;
    request.headers_mut().insert(
        "authorization",
        HeaderValue::try_from(format!("Bearer {}", api.token()))?,
    );
    let port = request.uri().port_u16().context("the URL has a port")?;
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(client_async(request, stream).await?.0)
}

/// Runs a shell line in the guest to its end.
pub async fn shell(session: &Session, line: &str) -> anyhow::Result<ExecOutput> {
    let command = ["bash", "-c", line].map(String::from).to_vec();
    Ok(session
        .exec_output(ExecStart {
            command,
            ..ExecStart::default()
        })
        .await?)
}
