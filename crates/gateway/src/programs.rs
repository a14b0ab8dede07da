//! Doors for programs on the main origin. They sign in with a token or a ticket in a header; no cookie is
//! looked at, so no page of anybody's can use them in a user's name.

mod exec;
mod files;
mod guest;

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use aide::openapi::{
    MediaType, OpenApi, ReferenceOr, RequestBody, Response as Described, StatusCode,
};
use aide::transform::{TransformOperation, TransformPathItem};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use control_api::programs::InSession;
use fleet_api::control::Route;
use fleet_api::host::GuestRole;
use fleet_api::ticket::Door;
use http_api::inputs::InPath;
use indexmap::IndexMap;

use crate::Gateway;
use crate::answers::Problem;
use crate::guest_session::{self, Guest};

/// Requests of programs, as [`control_api::programs`] describes them.
fn routes() -> ApiRouter<Arc<Gateway>> {
    const WORKSPACE: &str = "/api/v1/workspaces/{workspace}";
    let at = |path: &str| format!("{WORKSPACE}/{path}");
    ApiRouter::new()
        .api_route_with(
            "/api/v1/session/{workspace}/{class}",
            get_with(session, web_socket),
            named("A guest session over a WebSocket"),
        )
        .api_route_with(
            "/api/v1/tunnel/{workspace}/{port}",
            get_with(crate::tunnel::open, web_socket),
            named("TCP to a port over a WebSocket"),
        )
        .api_route_with(
            &at("exec"),
            post_with(exec::start, bearer),
            named("Run a command"),
        )
        .api_route_with(
            &at("exec/{exec}"),
            get_with(exec::attach, bearer),
            named("Follow a command that runs"),
        )
        .api_route_with(
            &at("exec/{exec}/signal"),
            post_with(exec::signal, |operation| empty(bearer(operation))),
            named("Send a signal to a command"),
        )
        .api_route_with(
            &at("files"),
            get_with(files::read, |operation| {
                bytes(bearer(operation), "application/octet-stream")
            })
            .put_with(files::write, |operation| {
                bytes_given(bearer(operation), "application/octet-stream")
            })
            .delete_with(files::remove, |operation| empty(bearer(operation))),
            named("A file"),
        )
        .api_route_with(
            &at("files/list"),
            get_with(files::list, bearer),
            named("What is in a folder"),
        )
        .api_route_with(
            &at("archive"),
            get_with(files::archive, |operation| {
                bytes(bearer(operation), "application/gzip")
            })
            .put_with(files::extract, |operation| {
                empty(bytes_given(bearer(operation), "application/x-tar"))
            }),
            named("A whole folder"),
        )
}

pub fn router() -> Router<Arc<Gateway>> {
    routes().into()
}

/// Adds what this part of the API says of itself.
pub fn describe(document: &mut OpenApi) {
    let _: Router<Arc<Gateway>> = routes().finish_api(document);
}

fn named(summary: &'static str) -> impl FnOnce(TransformPathItem<'_>) -> TransformPathItem<'_> {
    move |path| path.tag("programs").summary(summary)
}

fn bearer(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.security_requirement("token")
}

fn empty(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.response_with::<204, (), _>(|answer| answer.description("Done."))
}

fn web_socket(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    bearer(operation).response_with::<101, (), _>(|answer| {
        answer.description("The WebSocket is open; its messages are binary.")
    })
}

fn bytes<'a>(mut operation: TransformOperation<'a>, kind: &str) -> TransformOperation<'a> {
    let answer = Described {
        description: "The bytes, as they come.".into(),
        content: media(kind),
        ..Described::default()
    };
    let responses = operation.inner_mut().responses.get_or_insert_default();
    responses
        .responses
        .insert(StatusCode::Code(200), ReferenceOr::Item(answer));
    operation
}

fn bytes_given<'a>(mut operation: TransformOperation<'a>, kind: &str) -> TransformOperation<'a> {
    let body = RequestBody {
        description: Some("The bytes, as they come.".into()),
        content: media(kind),
        required: true,
        ..RequestBody::default()
    };
    operation.inner_mut().request_body = Some(ReferenceOr::Item(body));
    operation
}

fn media(kind: &str) -> IndexMap<String, MediaType> {
    IndexMap::from([(kind.to_owned(), MediaType::default())])
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
    InPath(path): InPath<InSession>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let guest = admit(&gateway, &headers, &path.workspace).await?;
    if let Some(problem) = not_running(&guest.route) {
        return Err(problem);
    }
    let upgrade = guest_session::bounded(upgraded(upgrade)?);
    Ok(guest_session::serve(gateway, upgrade, guest, path.class))
}

/// What a request that opens no WebSocket is told.
pub fn upgraded(
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<WebSocketUpgrade, Problem> {
    upgrade
        .map_err(|error| Problem::invalid(format!("This is a WebSocket: {}.", error.body_text())))
}

/// A program can read the status of a handshake, so it is told there.
pub fn not_running(route: &Route) -> Option<Problem> {
    route
        .host
        .is_none()
        .then(|| Problem::not_running(&route.state, &route.detail))
}
