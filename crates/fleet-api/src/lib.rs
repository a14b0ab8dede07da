//! The internal contract among control plane, hosts and gateways.
//!
//! Knows no VMM, no database and no HTTP. In `roost up` all three live in one process and call each other
//! through these traits; every argument and answer is serialisable, so that a fleet can put a wire between.
//!
//! - [`host`]: what the control plane asks of a host, and what a host reports.
//! - [`points`]: points in time of a workspace's disk.
//! - [`upkeep`]: looking after what lies in the store.
//! - [`usage`]: what workspaces take.
//! - [`control`]: what hosts and gateways ask of the control plane.
//! - [`work`]: uncommitted work that was saved.
//! - [`ticket`]: signed proof of who may reach which workspace, checked by gateways without a look-up.
//!
//! Tested here: tickets. The traits are tested where they are implemented.

pub mod control;
pub mod host;
pub mod points;
pub mod ticket;
pub mod upkeep;
pub mod usage;
pub mod work;

/// Something that is given out as a file.
pub struct Download {
    /// Where it is known before it begins.
    pub bytes: Option<u64>,
    /// It is whole only when it has come to its end without an error.
    pub content: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
}

/// A future that can be sent among threads and behind a trait object.
pub type Later<'a, T> = futures::future::BoxFuture<'a, T>;
