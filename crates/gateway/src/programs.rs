//! Doors for programs on the main origin. They sign in with a token or a ticket in a header; no cookie is
//! looked at, so no page of anybody's can use them in a user's name.

mod exec;
mod files;
mod guest;

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use fleet_api::control::Route;
use fleet_api::host::GuestRole;
use fleet_api::ticket::Door;

use crate::Gateway;
use crate::answers::Problem;
use crate::guest_session::{self, Class, Guest};

/// Requests of programs; the paths are described in [`control_api::programs`].
pub fn routes() -> Router<Arc<Gateway>> {
    const WORKSPACE: &str = "/api/v1/workspaces/{workspace}";
    let at = |path: &str| format!("{WORKSPACE}/{path}");
    Router::new()
        .route("/api/v1/session/{workspace}/{class}", get(session))
        .route(
            "/api/v1/tunnel/{workspace}/{port}",
            get(crate::tunnel::open),
        )
        .route(&at("exec"), post(exec::start))
        .route(&at("exec/{exec}"), get(exec::attach))
        .route(&at("exec/{exec}/signal"), post(exec::signal))
        .route(
            &at("files"),
            get(files::read).put(files::write).delete(files::remove),
        )
        .route(&at("files/list"), get(files::list))
        .route(&at("archive"), get(files::archive).put(files::extract))
}

/// Whom the `Authorization` header lets in.
pub async fn admit(gateway: &Gateway, headers: &HeaderMap, name: &str) -> Result<Guest, Problem> {
    let text = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| Problem::sign_in("Send an API token: \"Authorization: Bearer TOKEN\"."))?;
    let Some(route) = gateway.directory.route(name).await else {
        // Nobody learns without signing in which names there are.
        return match gateway.directory.bearer(text).await {
            Some(_) => Err(Problem::unknown_workspace(name)),
            None => Err(wrong_token()),
        };
    };
    let ticket = gateway
        .tickets
        .check(std::iter::once(text), &route.workspace, Door::Program)
        .await;
    if let Ok(ticket) = ticket {
        return Ok(Guest {
            route,
            role: ticket.role,
            session: ticket.session,
        });
    }
    let Some(caller) = gateway.directory.bearer(text).await else {
        return Err(wrong_token());
    };
    if caller.user != route.owner {
        return Err(Problem::unknown_workspace(name));
    }
    Ok(Guest {
        route,
        role: GuestRole::Editor,
        session: caller.session,
    })
}

fn wrong_token() -> Problem {
    Problem::sign_in("This token is not valid, or no longer. Make a new one, or run `roost login`.")
}

/// `GET /api/v1/session/WORKSPACE/interactive|bulk`: a guest session over a WebSocket.
async fn session(
    State(gateway): State<Arc<Gateway>>,
    Path((name, class)): Path<(String, Class)>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let guest = match admit(&gateway, &headers, &name).await {
        Ok(guest) => guest,
        Err(problem) => return problem.into_response(),
    };
    if let Some(problem) = not_running(&guest.route) {
        return problem.into_response();
    }
    guest_session::serve(gateway, guest_session::bounded(upgrade), guest, class)
}

/// A program can read the status of a handshake, so it is told there.
pub fn not_running(route: &Route) -> Option<Problem> {
    route
        .host
        .is_none()
        .then(|| Problem::not_running(&route.state, &route.detail))
}
