//! The service that knows every user and every workspace, and drives hosts to what people asked for.
//!
//! Deliberately carries no editor traffic and knows no VMM: it calls a [`fleet_api::host::Host`] and answers
//! a gateway's [`fleet_api::control::Directory`].
//!
//! ```text
//! request ─► http ─► app: one function ─► model: the step ─► store: compare-and-set ─► answer
//!                                                              │ nudge
//!                                  reconcile: look ─► model ─► store ─► ask the host ─┘
//! ```
//!
//! - [`http`]: the public API under `/api/v1`, its document, and the ways into workspaces. Start there.
//! - [`app`]: what requests do, without HTTP.
//! - [`reconcile`]: drives hosts to the rows.
//! - [`store`]: SQLite and PostgreSQL.
//! - [`directory`]: what gateways and hosts ask.
//! - [`secrets`], [`attempts`], [`world`], [`events`], [`inbox`], [`hosts`], [`fault`]: what these share.
//!
//! Tested in `tests/`: the store on SQLite and a real PostgreSQL; the API through a socket against a scripted
//! host; the reconciler killed between any two calls to it.

pub mod app;
pub mod attempts;
pub mod directory;
pub mod events;
pub mod fault;
pub mod hosts;
pub mod http;
pub mod inbox;
pub mod reconcile;
pub mod secrets;
pub mod store;
pub mod world;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use control_api::identity::{AddUser, User};
use fleet_api::control::{Directory, GitCredentials};
use fleet_api::host::Host;
use fleet_api::ticket::TicketKey;
use model::{Limits, Size, UserId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use app::links::NewLink;
use app::{App, Settings};
use directory::Desk;
use fault::{Fault, Outcome};
use secrets::{SealError, Sealer};
use store::{Store, StoreError};
use world::World;

/// What a control plane is told at start.
pub struct ControlConfig {
    /// Where `roost.db` is, unless `database` says otherwise.
    pub folder: PathBuf,
    /// `postgres://…` or `sqlite:…`.
    pub database: Option<String>,
    /// Host name of the main origin; the others are below it.
    pub domain: String,
    pub limits: Limits,
    /// Of a workspace that asks for none.
    pub default_size: Size,
    /// Seals secrets at rest; 32 bytes that are not in the database.
    pub seal_key: Vec<u8>,
    /// Shared with gateways.
    pub tickets: TicketKey,
    pub version: String,
    pub world: World,
}

/// Why a control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the key for secrets cannot be used")]
    Key(#[from] SealError),
}

/// The service. Nothing happens before [`ControlPlane::run`], so the command line may open one as well.
pub struct ControlPlane {
    app: Arc<App>,
}

impl ControlPlane {
    pub async fn open(config: ControlConfig) -> Result<Self, OpenError> {
        let sealer = Sealer::new(&config.seal_key)?;
        let (id, now) = (config.world.id(), config.world.now_ms());
        let store = Store::open(&config.folder, config.database.as_deref(), &id, now).await?;
        Ok(Self {
            app: Arc::new(App {
                store,
                world: config.world,
                sealer,
                tickets: config.tickets,
                hosts: hosts::Hosts::default(),
                inbox: inbox::Inbox::default(),
                events: events::Events::default(),
                settings: Settings {
                    limits: config.limits,
                    default_size: config.default_size,
                    version: config.version,
                    domain: config.domain,
                },
                attempts: Mutex::default(),
                hashing: Semaphore::new(2),
                growing: Semaphore::new(1),
            }),
        })
    }

    /// From now on the host is asked to run workspaces. It needs [`ControlPlane::credentials`] first.
    pub async fn attach_host(&self, host: Arc<dyn Host>) {
        let id = host.describe().await.id;
        self.app.hosts.attach(id, host);
        self.app.inbox.all();
    }

    /// Everything under `/api/v1`, `/open` and `/preview-entry`. It believes the `x-forwarded-*` headers,
    /// which the gateway before it writes.
    pub fn router(&self) -> Router {
        http::router(self.app.clone())
    }

    pub fn directory(&self) -> Arc<dyn Directory> {
        Arc::new(Desk(self.app.clone()))
    }

    pub fn credentials(&self) -> Arc<dyn GitCredentials> {
        Arc::new(Desk(self.app.clone()))
    }

    /// Drives hosts to the rows until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        reconcile::run(self.app.clone(), stop).await;
    }

    /// Stops every workspace and waits until they have stopped, no longer than `within`. [`ControlPlane::run`] has to
    /// be running.
    pub async fn stop_workspaces(&self, within: Duration) -> Outcome<()> {
        self.app.stop_all(within).await
    }

    /// Closes the database.
    pub async fn close(&self) {
        self.app.store.close().await;
    }

    /// For `roost up` on its first starts: `<main origin>/welcome#<token>`. None: somebody can sign in.
    pub async fn first_link(&self) -> Outcome<Option<NewLink>> {
        self.app.first_link().await
    }

    /// For `roost users add`, by whoever may read the data folder.
    pub async fn add_user(&self, add: &AddUser) -> Outcome<(User, NewLink)> {
        self.app.add_user(&operator(), add).await
    }

    /// For `roost users reset-password`.
    pub async fn reset_password(&self, email: &str) -> Outcome<(User, NewLink)> {
        let email = app::identity::check_email(email)?;
        let user = self.app.store.user_by_email(&email).await?.ok_or_else(|| {
            Fault::new(
                control_api::problem::Kind::NotFound,
                format!("There is no user {email}; `roost users list` shows all."),
            )
        })?;
        self.app.reset_password(&operator(), &user.id).await
    }

    pub async fn users(&self) -> Outcome<Vec<User>> {
        let users = self.app.store.users().await?;
        Ok(users.iter().map(app::links::present).collect())
    }
}

/// Stands in the audit log for somebody at the machine itself.
fn operator() -> UserId {
    UserId::new("operator")
}
