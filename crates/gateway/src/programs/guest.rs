//! A session of our own with a guest, and its failures as problems.

use std::time::Duration;

use axum::http::HeaderMap;
use control_api::problem::Kind;
use fleet_api::host::{GuestStream, HostError};
use guest_protocol::client::{Error, Session};
use guest_protocol::frames::StreamClass;
use guest_protocol::frames::failure::Kind as GuestKind;
use tokio::time::timeout;

use super::{admit, not_running};
use crate::Gateway;
use crate::answers::Problem;
use crate::guest_session::{Guest, connect};

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
    open(gateway, &guest, class).await
}

/// Opens a session of this class in the name of who was admitted.
pub async fn open(
    gateway: &Gateway,
    guest: &Guest,
    class: StreamClass,
) -> Result<Session, Problem> {
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
    Problem::new(Kind::HostFailed, detail)
}

/// What a guest's failure means to a program.
pub fn problem(error: Error) -> Problem {
    let detail = error.to_string();
    let Some(kind) = error.kind() else {
        return host_failed(detail);
    };
    let kind = match kind {
        GuestKind::NotFound => Kind::NotFound,
        GuestKind::AlreadyExists => Kind::AlreadyExists,
        GuestKind::NotADirectory => Kind::NotADirectory,
        GuestKind::IsADirectory => Kind::IsADirectory,
        GuestKind::DirectoryNotEmpty => Kind::DirectoryNotEmpty,
        GuestKind::Permission | GuestKind::Refused => Kind::Forbidden,
        GuestKind::NoSpace => Kind::NoSpace,
        GuestKind::Invalid => Kind::InvalidRequest,
        GuestKind::Conflict => Kind::VersionChanged,
        GuestKind::Unsupported => Kind::Unsupported,
        GuestKind::Busy => Kind::Busy,
        GuestKind::Cancelled | GuestKind::Internal | GuestKind::Unspecified => Kind::HostFailed,
    };
    Problem::new(kind, detail)
}
