//! Sessions with a workspace's guest, over a WebSocket of the server.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use control_api::problem::Problem;
use futures::{SinkExt, StreamExt};
use guest_protocol::client::Session;
use guest_protocol::frames::StreamClass;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::Api;
use super::api::{Refused, path_segment};

const CLIENT: &str = concat!("roost ", env!("CARGO_PKG_VERSION"));

/// A WebSocket to the server.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a session of a class with a workspace that runs.
pub async fn session(api: &Api, workspace: &str, class: StreamClass) -> anyhow::Result<Session> {
    let kind = match class {
        StreamClass::Bulk => "bulk",
        StreamClass::Interactive | StreamClass::Unspecified => "interactive",
    };
    let socket = socket(api, &format!("/session/{}/{kind}", path_segment(workspace))).await?;
    let messages = socket
        .filter_map(async |message| match message {
            Ok(Message::Binary(bytes)) => Some(Ok::<Bytes, Error>(bytes)),
            Ok(Message::Close(Some(close))) if !close.reason.is_empty() => Some(Err(Error::Io(
                std::io::Error::other(close.reason.to_string()),
            ))),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
        .with(async |bytes: Bytes| Ok::<Message, Error>(Message::Binary(bytes)));
    Session::over(Box::pin(messages), class, CLIENT)
        .await
        .with_context(|| format!("opening a session with {workspace}"))
}

/// Opens a WebSocket below `/api/v1`.
pub async fn socket(api: &Api, path: &str) -> anyhow::Result<Socket> {
    let url = format!("{}/api/v1{path}", api.url().replacen("http", "ws", 1));
    let mut request = url.as_str().into_client_request()?;
    if let Some(token) = api.token() {
        request.headers_mut().insert(
            "authorization",
            HeaderValue::try_from(format!("Bearer {token}"))?,
        );
    }
    let uri = request.uri().clone();
    let host = uri.host().context("the URL has a host")?;
    let port = uri
        .port_u16()
        .unwrap_or(if uri.scheme_str() == Some("wss") {
            443
        } else {
            80
        });
    let stream = TcpStream::connect((host, port)).await.with_context(|| {
        format!(
            "{} does not answer: is `roost up` running there?",
            api.url()
        )
    })?;
    stream.set_nodelay(true)?;
    let connector = Connector::Rustls(Arc::new(tls_config()?));
    match client_async_tls_with_config(request, stream, None, Some(connector)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            Err(refusal(response.status().as_u16(), body))
        }
        Err(error) => Err(error).context("opening a connection to the workspace"),
    }
}

/// What a server says against an upgrade: a problem document, or plain text.
fn refusal(status: u16, body: &[u8]) -> anyhow::Error {
    if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
        return Refused(Box::new(problem)).into();
    }
    match String::from_utf8_lossy(body).trim() {
        "" => anyhow::anyhow!("the server answered {status}"),
        text => anyhow::anyhow!("{text}"),
    }
}

/// Trusts what the system trusts, and what `SSL_CERT_FILE` adds.
pub fn tls_config() -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
