//! Sessions of a browser's tab.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};

use control_api::programs::SessionClass;

use super::gate;
use crate::Gateway;
use crate::answers::Problem;
use crate::guest_session::{self, Guest};
use crate::session::{Close, refuse};

/// A browser cannot read the status of a handshake that failed, so everything but a hostile origin is let in
/// and then told by close code.
pub async fn open(
    State(gateway): State<Arc<Gateway>>,
    Path((name, class)): Path<(String, SessionClass)>,
    request: Request,
) -> Response {
    let arrival = crate::arrival(&request).clone();
    if !gate::is_own_page(request.headers(), &arrival) {
        return Problem::refused("Only the workbench's own page may open sessions here.")
            .into_response();
    }
    let found = gate_of(&gateway, request.headers(), &name).await;
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &gateway).await {
        Ok(upgrade) => guest_session::bounded(upgrade),
        Err(rejection) => return rejection.into_response(),
    };
    match found {
        Ok(guest) => guest_session::serve(gateway, upgrade, guest, class),
        Err(close) => upgrade.on_upgrade(async move |socket| refuse(socket, &close).await),
    }
}

async fn gate_of(
    gateway: &Gateway,
    headers: &axum::http::HeaderMap,
    name: &str,
) -> Result<Guest, Close> {
    let Some(route) = gateway.directory.route(name).await else {
        return Err(Close::new(
            Close::UNKNOWN_WORKSPACE,
            "there is no such workspace",
        ));
    };
    match gate::ticket(gateway, headers, &route).await {
        Ok(ticket) => Ok(Guest {
            route,
            role: ticket.role,
            session: ticket.session,
        }),
        Err(refusal) => Err(Close::new(Close::SIGN_IN, refusal.to_string())),
    }
}
