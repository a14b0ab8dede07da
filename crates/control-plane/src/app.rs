//! What requests do, without HTTP: one function for each.
//!
//! - [`identity`], [`links`], [`tokens`]: sign-in, one-time links, API tokens.
//! - [`workspaces`], [`waiting`], [`deletion`], [`lists`]: workspaces.
//! - [`change`]: the one way in which a workspace's row changes.
//! - [`points`]: points in time, going back and forks.
//! - [`upkeep`]: disks checked and compacted, the store collected, disks imported.
//! - [`usage`]: who takes how much; quotas.
//! - [`present`]: a row in the words of the API.
//! - [`credentials`]: of git servers.
//! - [`work`]: uncommitted work that was saved.
//! - [`entry`]: tickets to a workspace's other doors.

pub mod change;
pub mod credentials;
pub mod deletion;
pub mod entry;
pub mod identity;
pub mod links;
pub mod lists;
pub mod machine;
pub mod points;
pub mod present;
pub mod tokens;
pub mod upkeep;
pub mod usage;
pub mod waiting;
pub mod work;
pub mod workspaces;

use std::sync::{Mutex, MutexGuard, PoisonError};

use fleet_api::ticket::TicketKey;
use model::{Limits, Size};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::attempts::Attempts;
use crate::events::Events;
use crate::hosts::Hosts;
use crate::inbox::Inbox;
use crate::secrets::Sealer;
use crate::store::Store;
use crate::world::World;

/// Everything that requests and the reconciler share.
pub struct App {
    pub store: Store,
    pub world: World,
    pub sealer: Sealer,
    pub tickets: TicketKey,
    pub hosts: Hosts,
    pub inbox: Inbox,
    pub events: Events,
    pub settings: Settings,
    pub attempts: Mutex<Attempts>,
    /// Passwords that are being hashed: each takes a core and 19 MiB.
    pub hashing: Semaphore,
    /// Whoever asks for more than there is, until that is saved: two at once would both see room for one.
    pub growing: Semaphore,
}

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    pub default_size: Size,
    pub version: String,
    /// Host name of the main origin; the others are below it.
    pub domain: String,
}

impl App {
    /// Waits until nobody else asks for more.
    async fn growing(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.growing.acquire().await.ok()
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
