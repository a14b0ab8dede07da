//! Owns one host: its workspaces' virtual machines, disks, networks, images and git relay.
//!
//! Deliberately does not know users, names of workspaces beyond what it tells a guest, or what *should* run:
//! it does what [`fleet_api::host::Host`] asks and reports what it sees.
//!
//! - [`local_host`]: the service, [`LocalHost`]; start here.
//! - [`config`]: everything that it is told at start, by value.
//! - [`admission`]: who still has room. Pure.
//! - [`address`]: ranges of addresses and which of them are private. Pure.
//! - [`network`]: a namespace for each virtual machine, and the fences around it.
//! - [`git`]: the host side of the git relay.
//!
//! Tested part by part against the real thing (namespaces, git, a real guest agent as a process), see each
//! module and `tests/`.

pub mod address;
pub mod admission;
pub mod config;
pub mod git;
pub mod local_host;
pub mod network;

pub use config::HostConfig;
pub use local_host::{LocalHost, SetupError};

/// `PATH` for system tools: an ordinary user's often lacks the folders that they lie in.
fn tools_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}
