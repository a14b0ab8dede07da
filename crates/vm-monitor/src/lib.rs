//! One small process per VM: starts the VMM and the server of its disk as its children, watches them, and carries
//! streams to the guest.
//!
//! Outlives the host agent that started it and is found again by its folder. Does not know users, what a
//! workspace is, or what is said inside a stream.
//!
//! ```text
//! DIR/spec.json     what to run; written by spawn()
//!     disk.json     what the disk's server is told, if somebody has to serve it
//!     monitor.sock  where it listens, speaking monitor-protocol
//!     monitor.pid   process id and start time; locked while the monitor lives
//!     console.log   the end of what the guest wrote to its console
//!     monitor.log   the end of what the monitor had to say
//!     exit.json     how the last run ended
//! ```
//!
//! ```text
//! host agent ── monitor.sock ── server ── Command ──► monitor (owns the VM) ◄── VmEvent ── microvm
//!      │                          │                     │ State → VmStatus, to everybody who watches
//!      │                          └── streams ── links ─┴── agent (are you there; shut down)
//!      └── relay socket ◄── relay ◄──────────────┘
//! ```
//!
//! - [`spec`]: what stands in `spec.json`.
//! - [`folder`]: the files above, for both sides.
//! - [`sleep`]: a machine at one moment, in the store, while it runs or when it is to end; [`capture`] is the process that
//!   writes its memory.
//! - [`spawn()`]: starts a monitor, for the host agent; [`run()`] is the monitor itself.
//!
//! Tested with a small agent as a plain process (`tests/monitor.rs`), and with real VMs (`tests/real_vm.rs` and
//! `tests/sleep.rs`, which need `ROOST_IMAGES`).

mod agent;
mod bounded_file;
pub mod capture;
mod console;
mod disk;
pub mod folder;
mod links;
mod monitor;
mod pipe;
mod relay;
mod run;
mod server;
pub mod sleep;
mod spawn;
pub mod spec;
mod state;
mod sys;

pub use run::{RunError, run};
pub use spawn::spawn;
pub use spec::MonitorSpec;

/// Environment variable without which, set to 1, a monitor refuses the `process` driver: it isolates nothing
/// and exists for tests.
pub const ALLOW_PROCESS_DRIVER: &str = "ROOST_ALLOW_PROCESS_DRIVER";
