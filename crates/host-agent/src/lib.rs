//! Owns one host: its workspaces' virtual machines, disks, networks, images and git relay.
//!
//! Deliberately does not know users, names of workspaces beyond what it tells a guest, or what *should* run:
//! it does what [`fleet_api::host::Host`] asks and reports what it sees.
//!
//! ```text
//! control plane, gateway ─► LocalHost ─► runner (one task per workspace) ─► monitor process ─► VMM, guest
//!                                          ├─ images, disk   ├─ network   └─ cgroups
//! guest's git ─► monitor ─► git relay ─► Git server
//! ```
//!
//! - [`local_host`]: the service, [`LocalHost`]; start here.
//! - [`config`]: everything that it is told at start, by value.
//! - [`runner`]: the life of a workspace on this host.
//! - [`images`]: guest images, kept by content.
//! - [`disks`]: where disks lie, and with which keys. [`points`]: points in time of those disks.
//! - [`backup`]: what a backup asks of a host.
//! - [`upkeep`]: the store verified and collected, and disks imported.
//! - [`work`]: uncommitted work that the guest has saved, in the store.
//! - [`network`]: a namespace for each virtual machine, and the fences around it.
//! - [`git`]: the host side of the git relay.
//! - [`layers`]: what this host has and lacks, for `roost doctor`.
//! - [`admission`], [`capacity`]: who still has room. [`cgroups`], [`vmm_user`]: what confines a VMM.
//! - [`folders`]: where everything lies. [`address`]: ranges of addresses. [`failure`]: errors in words.
//!
//! Tested part by part against the real thing (namespaces, git, monitors, a real guest agent as a process),
//! see each module and `tests/`.

pub mod address;
pub mod admission;
pub mod backup;
pub mod capacity;
pub mod cgroups;
pub mod config;
pub mod disks;
pub mod failure;
pub mod folders;
pub mod git;
pub mod images;
pub mod layers;
pub mod local_host;
pub mod network;
pub mod points;
pub mod runner;
pub mod upkeep;
pub mod vmm_user;
pub mod work;

pub use config::HostConfig;
pub use local_host::{LocalHost, SetupError};

/// `PATH` for system tools: an ordinary user's often lacks the folders that they lie in.
fn tools_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}
