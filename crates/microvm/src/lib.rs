//! Starts, pauses, continues and kills one microVM, and says how it ended.
//!
//! Does not know users, workspaces, the control plane, or what is said on the links to the guest.
//!
//! - [`spec`]: everything that a driver needs to know to boot a VM; start here.
//! - [`driver`]: the trait over VMMs, and what a running VM can be asked.
//! - [`qemu`]: the distribution's `qemu-system-x86_64`, machine `microvm`, under KVM or TCG.
//! - [`process`]: the guest agent as a plain child, for tests alone.
//! - [`vmm_store`]: keeps the VMM, its libraries and firmware by content hash, and runs it from there.
//! - [`memory`]: the guest's memory from outside: what it has changed, and what is in it.
//! - [`machine`]: what this host can do for a VM: KVM probed by really booting, the clock's rate.
//!
//! Tested by `cargo test -p microvm` with QEMU's own tools and with real VMs (`tests/sleep.rs`, which needs
//! `ROOST_IMAGES`), and as `vm-monitor` uses it.

pub mod driver;
pub mod machine;
pub mod memory;
pub mod process;
pub mod qemu;
pub mod spec;
mod sys;
pub mod vmm_store;
