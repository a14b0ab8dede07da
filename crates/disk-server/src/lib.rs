//! The process that serves one VM's disk, and its supervisor in the VM's monitor.
//!
//! The disk is `storage`'s; here is what lets it outlive the death of whoever serves it. The supervisor makes
//! the door (a file of the kernel's, or a socket) and keeps it, so that a successor serves through the same
//! one, and the VM notices a pause and nothing else. It starts a successor only when the one before has been
//! reaped: two that serve one disk would both write it.
//!
//! ```text
//! monitor: Supervisor ── door's descriptor (stdout), control socket (stdin) ──► process: run()
//!     ▲  Status                                    lines of JSON both ways        │ door threads, keeper
//!     └─────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! - [`spec`]: what a server is told in its file.
//! - [`protocol`]: what is said on the control socket.
//! - [`supervisor`]: the monitor's side; [`run()`] is the process.
//! - [`memory`]: the process that serves the memory of a machine that slept, supervised in the same way.
//! - [`lock`]: who may have a disk's folder open, for whoever opens one beside.
//!
//! Tested with real processes in `tests/`, which kill them.

pub mod lock;
pub mod memory;
pub mod protocol;
mod server;
pub mod spec;
pub mod supervisor;
mod telling;

pub use server::{ServerError, run};
pub use spec::{DoorChoice, MemorySpec, ServerSpec};
pub use supervisor::{Door, Serves, Status, Supervisor};
pub use telling::chain;
