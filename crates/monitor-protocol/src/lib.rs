//! The contract between a host agent and the monitors of its VMs, which outlive its upgrades.
//!
//! Knows nothing of users, images or what is said inside a stream. `proto/monitor.proto` is the definition;
//! `src/generated.rs` is generated from it and checked in (`cargo xtask generate`).
//!
//! - [`messages`]: requests and answers.
//! - [`client`]: asks a monitor over its Unix socket.
//!
//! Tested against a listener in the same process; the real other side is in `vm-monitor`.

pub mod client;

#[allow(clippy::all, missing_docs)]
#[rustfmt::skip] // As prost writes it.
mod generated;

/// The messages of `proto/monitor.proto`.
pub mod messages {
    pub use crate::generated::*;
}

/// Highest generation that this code speaks.
pub const GENERATION: u32 = 1;
