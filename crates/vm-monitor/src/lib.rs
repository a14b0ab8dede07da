//! One small process per VM: starts the VMM as its child, watches it, and carries streams to the guest.
//!
//! Outlives the host agent that started it and is found again by its folder. Does not know users, what a
//! workspace is, or what is said inside a stream.
//!
//! ```text
//! DIR/spec.json     what to run; written by spawn()
//!     monitor.sock  where it listens, speaking monitor-protocol
//!     monitor.pid   process id and start time; locked while the monitor lives
//!     console.log   the end of what the guest wrote to its console
//!     monitor.log   the end of what the monitor had to say
//!     exit.json     how the last run ended
//! ```
//!
//! - [`spec`]: what stands in `spec.json`.
//! - [`folder`]: the files above, for both sides.
//! - [`spawn()`]: starts a monitor, for the host agent.

pub mod folder;
mod spawn;
pub mod spec;
mod sys;

pub use spawn::spawn;
pub use spec::MonitorSpec;

/// Environment variable without which, set to 1, a monitor refuses the `process` driver: it isolates nothing
/// and exists for tests.
pub const ALLOW_PROCESS_DRIVER: &str = "ROOST_ALLOW_PROCESS_DRIVER";
