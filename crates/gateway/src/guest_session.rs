//! From a client that was let in to its guest: finds the host, connects, and watches while bytes pass.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use control_api::programs::SessionClass;
use fleet_api::control::Route;
use fleet_api::host::{ByteStream, GuestRole, GuestStream, HostError};
use model::WorkspaceId;

use crate::Gateway;
use crate::session::{Close, MAX_MESSAGE, Watcher, framed, pipe, refuse};

/// Sessions at a time in one workspace: tabs, two each, and programs.
const MOST_SESSIONS: usize = 128;

/// Between two notes to the control plane that somebody works here.
const TOUCH: Duration = Duration::from_secs(30);

/// Whom a client may speak to, and how.
#[derive(Clone)]
pub struct Guest {
    pub route: Route,
    pub role: GuestRole,
    /// Sign-in or token that this came from.
    pub session: String,
}

/// A WebSocket with our bounds.
pub fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
}

/// Answers the handshake and carries the session in a task of its own.
pub fn serve(
    gateway: Arc<Gateway>,
    upgrade: WebSocketUpgrade,
    guest: Guest,
    class: SessionClass,
) -> Response {
    let span = tracing::Span::current();
    upgrade.on_upgrade(move |socket| {
        tracing::Instrument::instrument(run(gateway, socket, guest, class), span)
    })
}

async fn run(gateway: Arc<Gateway>, socket: WebSocket, guest: Guest, class: SessionClass) {
    let Some(_place) = gateway.crowd.enter(&guest.route.workspace) else {
        let close = Close::new(Close::BUSY, "too many sessions are open in this workspace");
        return refuse(socket, &close).await;
    };
    let stream = GuestStream::Session {
        bulk: class == SessionClass::Bulk,
        role: guest.role,
    };
    let connected = match connect(&guest.route, stream).await {
        Ok(connected) => connected,
        Err(error) => return refuse(socket, &close_for(&guest.route, &error)).await,
    };
    let sign_in = guest.session.clone();
    let watcher = Watch {
        gateway: gateway.clone(),
        guest,
        touched: None,
    };
    let must_end = async {
        gateway.tickets.signed_out(&sign_in).await;
        Close::new(Close::SIGN_IN, "the sign-in has ended")
    };
    let close = pipe(
        socket,
        framed(connected),
        watcher,
        must_end,
        gateway.patience,
    )
    .await;
    tracing::debug!(code = close.code, reason = close.reason, "session ended");
}

/// A stream to the guest of this workspace.
pub async fn connect(route: &Route, stream: GuestStream) -> Result<Box<dyn ByteStream>, HostError> {
    match &route.host {
        Some(host) => host.connect(&route.workspace, stream).await,
        None => Err(HostError::NotRunning),
    }
}

fn close_for(route: &Route, error: &HostError) -> Close {
    match error {
        HostError::NotRunning => not_running(route),
        HostError::NoRoom { message } => Close::new(Close::BUSY, message),
        HostError::NotAtRest
        | HostError::NoPoint { .. }
        | HostError::PortClosed { .. }
        | HostError::Fenced { .. }
        | HostError::Guest { .. }
        | HostError::Unusable { .. }
        | HostError::Missing { .. }
        | HostError::Conflict { .. }
        | HostError::Failed { .. } => Close::new(Close::FAILED, error.to_string()),
    }
}

fn not_running(route: &Route) -> Close {
    let detail = if route.detail.is_empty() {
        String::new()
    } else {
        format!(": {}", route.detail)
    };
    Close::new(Close::NOT_RUNNING, format!("{}{detail}", route.state))
}

struct Watch {
    gateway: Arc<Gateway>,
    guest: Guest,
    touched: Option<Instant>,
}

impl Watcher for Watch {
    fn active(&mut self) {
        if self.touched.is_none_or(|at| at.elapsed() >= TOUCH) {
            self.touched = Some(Instant::now());
            self.gateway.directory.touch(&self.guest.route.workspace);
        }
    }

    async fn guest_ended(&mut self) -> Close {
        match self
            .gateway
            .directory
            .route(self.guest.route.workspace.as_str())
            .await
        {
            None => Close::new(Close::UNKNOWN_WORKSPACE, "the workspace was deleted"),
            Some(route) if route.state != "running" => not_running(&route),
            Some(_) => Close::new(Close::FAILED, "the workspace closed the session"),
        }
    }
}

/// How many sessions each workspace has.
#[derive(Clone, Debug, Default)]
pub struct Crowd(Arc<Mutex<HashMap<WorkspaceId, usize>>>);

/// One of a workspace's places, until dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Crowd,
    workspace: WorkspaceId,
}

impl Crowd {
    pub fn enter(&self, workspace: &WorkspaceId) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(workspace.clone()).or_default();
        if *count >= MOST_SESSIONS {
            return None;
        }
        *count += 1;
        Some(Place {
            crowd: self.clone(),
            workspace: workspace.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.workspace) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.workspace);
            }
        }
    }
}
