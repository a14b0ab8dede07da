//! A session of our own with a guest, and its failures as problems.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use fleet_api::host::{GuestStream, HostError};
use guest_protocol::client::{Error, Session};
use guest_protocol::frames::StreamClass;
use guest_protocol::frames::failure::Kind;
use tokio::time::timeout;

use super::{admit, not_running};
use crate::Gateway;
use crate::answers::Problem;
use crate::guest_session::connect;

const CLIENT: &str = concat!("gateway ", env!("CARGO_PKG_VERSION"));

/// For the guest's welcome.
const WELCOME: Duration = Duration::from_secs(30);

/// Admits the program and opens a session of this class in its name.
pub async fn session(
    gateway: &Gateway,
    headers: &HeaderMap,
    workspace: &str,
    class: StreamClass,
) -> Result<Session, Problem> {
    let guest = admit(gateway, headers, workspace).await?;
    if let Some(problem) = not_running(&guest.route) {
        return Err(problem);
    }
    let stream = GuestStream::Session {
        bulk: class == StreamClass::Bulk,
        role: guest.role,
    };
    let stream = connect(&guest.route, stream)
        .await
        .map_err(|error| match error {
            HostError::NotRunning => Problem::not_running(&guest.route.state, &guest.route.detail),
            error => host_failed(error.to_string()),
        })?;
    gateway.directory.touch(&guest.route.workspace);
    match timeout(WELCOME, Session::connect(stream, class, CLIENT)).await {
        Ok(session) => session.map_err(problem),
        Err(_) => Err(host_failed(
            "The workspace does not answer; it may be overloaded.".into(),
        )),
    }
}

fn host_failed(detail: String) -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "host-failed",
        "The host could not do it",
        detail,
    )
}

/// What a guest's failure means to a program.
pub fn problem(error: Error) -> Problem {
    let detail = error.to_string();
    let Some(kind) = error.kind() else {
        return host_failed(detail);
    };
    let (status, kind, title) = match kind {
        Kind::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
        Kind::AlreadyExists => (StatusCode::CONFLICT, "already-exists", "It exists already"),
        Kind::NotADirectory => (StatusCode::CONFLICT, "not-a-directory", "It is no folder"),
        Kind::IsADirectory => (StatusCode::CONFLICT, "is-a-directory", "It is a folder"),
        Kind::DirectoryNotEmpty => (
            StatusCode::CONFLICT,
            "directory-not-empty",
            "The folder is not empty",
        ),
        Kind::Permission | Kind::Refused => {
            (StatusCode::FORBIDDEN, "forbidden", "You may not do this")
        }
        Kind::NoSpace => (
            StatusCode::INSUFFICIENT_STORAGE,
            "no-space",
            "The workspace's disk is full",
        ),
        Kind::Invalid => (
            StatusCode::BAD_REQUEST,
            "invalid-request",
            "The request is not valid",
        ),
        Kind::Conflict => (
            StatusCode::PRECONDITION_FAILED,
            "conflict",
            "It has changed in between",
        ),
        Kind::Unsupported => (
            StatusCode::NOT_IMPLEMENTED,
            "unsupported",
            "This workspace is too old for that",
        ),
        Kind::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy", "Too much at once"),
        Kind::Cancelled | Kind::Internal | Kind::Unspecified => (
            StatusCode::BAD_GATEWAY,
            "host-failed",
            "The host could not do it",
        ),
    };
    Problem::new(status, kind, title, detail)
}
