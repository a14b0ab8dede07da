//! The network of each virtual machine: a namespace of its own, in which every guest has the same address.
//!
//! ```text
//! guest 172.31.255.2 ── tap0 │ namespace roost-ID: nft table roost_guest │ uplink ── roost-ID │ host: nft
//!                            │ filter, DNS, NAT                          │   a /30 of the pool │ table
//!                                                                                              roost_host
//! ```
//!
//! Two fences, each enough alone for what it names: inside the namespace nothing private passes (but what an
//! operator allows, and DNS to the one resolver); outside, `roost_host` lets nothing from a guest's link
//! into this host or to another guest's link. IPv6 is off. The host's own tables are never touched.
//!
//! - [`script`]: the texts given to `ip` and `nft`. Pure.
//! - [`resolver`]: which resolver the host really uses.
//! - [`namespace`]: makes and removes all of it.
//!
//! Tested in `tests/network.rs` as root, with a namespace that plays the guest.

pub mod namespace;
pub mod resolver;
pub mod script;

pub use namespace::{Network, NetworkError, Networks};
