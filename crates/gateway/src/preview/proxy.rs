//! One HTTP/1.1 exchange with a program in a guest, over a stream of its own. Bodies flow both ways as they
//! come; an upgrade makes a tunnel of it.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, Version, header};
use axum::response::Response;
use fleet_api::control::Route;
use fleet_api::host::{GuestStream, HostError};
use futures::StreamExt;
use hyper_util::rt::TokioIo;

use crate::guest_session::connect;

/// Headers about one connection, which the other connection has of its own.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no connection to the port")]
    Connect(#[source] HostError),
    #[error("the program does not speak HTTP: {0}")]
    Talk(#[source] hyper::Error),
}

/// Sends the request to the port and gives the answer back as it comes. What may never end by itself, an upgraded
/// connection or a stream of events, ends with `ended`.
pub async fn forward(
    route: &Route,
    port: u16,
    mut request: Request,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Result<Response, Failure> {
    let stream = connect(route, GuestStream::Tcp { port })
        .await
        .map_err(Failure::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::Talk)?;
    tokio::spawn(async move {
        // Its failure is the request's, where it is told.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a program in a guest");
        }
    });

    let upgrade = upgrade_of(request.headers());
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    clean(request.headers_mut());
    if let Some(protocol) = upgrade {
        let headers = request.headers_mut();
        headers.insert(
            header::CONNECTION,
            header::HeaderValue::from_static("upgrade"),
        );
        headers.insert(header::UPGRADE, protocol);
    }
    *request.version_mut() = Version::HTTP_11;
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::try_from(path).unwrap_or_default();

    let mut response = sender.send_request(request).await.map_err(Failure::Talk)?;
    let upgrade = upgrade_of(response.headers());
    clean(response.headers_mut());
    *response.version_mut() = Version::default();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let (Some(client), Some(protocol)) = (client, upgrade)
    {
        let guest = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            tokio::select! { () = tunnel(client, guest) => {}, () = ended => {} }
        });
        let headers = response.headers_mut();
        headers.insert(
            header::CONNECTION,
            header::HeaderValue::from_static("upgrade"),
        );
        headers.insert(header::UPGRADE, protocol);
    } else if is_event_stream(response.headers()) {
        let ended = Box::pin(ended);
        return Ok(response
            .map(|body| Body::from_stream(Body::new(body).into_data_stream().take_until(ended))));
    }
    Ok(response.map(Body::new))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

async fn tunnel(client: hyper::upgrade::OnUpgrade, guest: hyper::upgrade::OnUpgrade) {
    let (client, guest) = match tokio::try_join!(client, guest) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "an upgrade was not completed"),
    };
    let (mut client, mut guest) = (TokioIo::new(client), TokioIo::new(guest));
    let _ = tokio::io::copy_bidirectional(&mut client, &mut guest).await;
}

fn upgrade_of(headers: &HeaderMap) -> Option<header::HeaderValue> {
    let asked = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    asked
        .then(|| headers.get(header::UPGRADE).cloned())
        .flatten()
}

/// Removes what belongs to one connection, also what its `Connection` header names.
fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| token.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    if headers
        .get(header::TE)
        .is_some_and(|value| value != "trailers")
    {
        headers.remove(header::TE);
    }
}
