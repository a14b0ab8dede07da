//! The door: finds the host of a workspace, checks the ticket, moves bytes.
//!
//! Deliberately knows no user, no database and no VMM, and never reads what a session carries: it copies
//! messages by their length. It holds nothing that a restart loses, beyond one-time tickets of the last
//! minute. (Requests of programs over plain HTTP, in [`programs`], are sessions of its own.)
//!
//! ```text
//! listener ─► server ─► arrival (who, which origin) ─┬─► main_site   dashboard, API of the control plane, programs
//!                                                    ├─► workbench   editor, sessions, settings
//!                                                    ├─► webview     files for extensions' frames
//!                                                    └─► preview     a port in a guest
//! ```
//!
//! - [`origins`], [`arrival`]: which origin a request is for and who sent it; `docs/decisions/0002-origins.md`.
//! - [`tickets`], [`cookies`]: how somebody comes in.
//! - [`session`], [`guest_session`]: a WebSocket and a guest stream back to back.
//! - [`listeners`], [`tunnel`]: other doors to a port.
//! - [`server`], [`tls`]: listening; [`tls::authority`] signs for machines without a certificate.
//! - [`assets`], [`answers`], [`policies`]: what we serve and say ourselves.
//!
//! Tested in `tests/` through real sockets against a scripted host whose guests are servers of this process.

mod answers;
pub mod arrival;
mod assets;
mod cookies;
mod guest_session;
mod listeners;
mod main_site;
pub mod origins;
mod policies;
mod preview;
mod programs;
mod server;
pub mod session;
mod tickets;
pub mod tls;
mod tunnel;
mod workbench;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use fleet_api::control::Directory;
use fleet_api::ticket::TicketKey;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use arrival::{Arrival, TrustedProxy};
use session::Patience;

/// What a gateway is told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Host name of the main origin.
    pub domain: String,
    /// Reverse proxies whose forwarding headers are believed.
    pub proxies: Vec<TrustedProxy>,
    /// Folder of the front end's files; absent: the built-in ones.
    pub web: Option<PathBuf>,
    pub patience: Patience,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domain: "localhost".into(),
            proxies: Vec::new(),
            web: None,
            patience: Patience::default(),
        }
    }
}

/// One gateway. [`Gateway::serve`] may run on several listeners.
pub struct Gateway {
    domain: Arc<str>,
    proxies: Vec<TrustedProxy>,
    patience: Patience,
    assets: assets::Assets,
    directory: Arc<dyn Directory>,
    tickets: tickets::Tickets,
    crowd: guest_session::Crowd,
    listeners: listeners::Listeners,
}

impl Gateway {
    pub fn new(config: Config, directory: Arc<dyn Directory>, key: TicketKey) -> Arc<Self> {
        Arc::new(Self {
            domain: config.domain.to_ascii_lowercase().into(),
            proxies: config.proxies,
            patience: config.patience,
            assets: assets::Assets::from_folder(config.web),
            tickets: tickets::Tickets::new(key, directory.clone(), config.patience.sign_out),
            directory,
            crowd: guest_session::Crowd::default(),
            listeners: listeners::Listeners::default(),
        })
    }

    /// Serves until `stop`, then lets requests under way end for a moment. `control` is the control plane's
    /// own router, for the main origin.
    pub async fn serve(
        self: Arc<Self>,
        control: Router,
        listener: TcpListener,
        tls: Option<tls::Acceptor>,
        stop: CancellationToken,
    ) {
        server::serve(server::Doors::new(self, control), listener, tls, stop).await;
    }
}

/// Adds what the requests of programs say of themselves to the API's document.
pub fn describe(document: &mut aide::openapi::OpenApi) {
    programs::describe(document);
}

/// Facts that [`server`] has put into every request.
fn arrival(request: &Request) -> &Arrival {
    request
        .extensions()
        .get::<Arrival>()
        .expect("the server notes the arrival of every request")
}
