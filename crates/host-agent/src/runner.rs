//! One owner task per workspace: takes what is asked and what happens, asks the state machine, does what
//! follows.
//!
//! ```text
//! LocalHost ──Mail──► Owner ──(state, event)──► state::step ──► next state, effects
//!                      ▲  └─ effects ─► start job, clone job, end job, watcher ─┐
//!                      └────────────────── events of the same life ─────────────┘
//! ```
//!
//! - [`state`]: the machine. Pure; its whole table is a snapshot.
//! - [`handle`]: asks the owner, and starts it; begin here.
//! - [`owner`]: the task.
//! - [`record`]: what of it is on disk, so that a restart takes it up again.
//! - [`start`]: from a spec to a configured guest, step by step, each with its deadline.
//! - [`disk`]: the workspace's disk.
//! - [`clone`]: fetches the repository inside the guest.
//! - [`end`]: ends a virtual machine and clears away what it had.
//! - [`watch`]: follows a virtual machine that runs.
//! - [`folders`]: what takes the room on a guest's disk.
//! - [`guest`]: streams and sessions to the guest.
//! - [`steps`]: tells what happens.
//! - [`context`]: what all runners share.
//!
//! Tested by the table, and in `tests/lifecycle.rs` with real monitors and real agents.

pub mod clone;
pub mod context;
pub mod disk;
pub mod end;
pub mod folders;
pub mod guest;
pub mod handle;
mod owner;
pub mod record;
pub mod start;
pub mod state;
pub mod steps;
pub mod watch;

pub use context::Context;
pub use handle::{Mail, Runner};
