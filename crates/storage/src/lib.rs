//! Disks that lose nothing: layers, a log on this host, and a store that has it all within seconds.
//!
//! Knows nothing of workspaces, virtual machines, users or Roost's other parts.
//!
//! - [`disk`]: a disk that is written to; start here.
//! - [`base`]: the immutable image below it.
//! - [`door`]: how a VMM opens one.
//! - [`store`]: objects in a folder or in S3; [`object`] is the one container that they are.
//! - [`pack`], [`index`], [`manifest`]: blocks, where they are, and the versions of an image.
//! - [`memory`]: images that are the memory of a machine.
//! - [`snapshot`]: a version as it lies in the store, to be read; [`verify`]: whether all of it is there.
//! - [`export`], [`import`]: images as files that other programs know; [`qcow2`] is one kind of them.
//! - [`collect`]: what nobody needs any more; [`accounts`]: who takes how much.
//! - [`map`]: from a block's number to its place, on this host.
//! - [`keys`]: sealing, and what tells blocks apart.
//! - [`files`]: the host's files, as an argument.
//! - [`spec`]: a disk by its description, for another process.
//!
//! `docs/storage-format.md` has the formats for somebody who wants to read them without this crate.
//!
//! Tested part by part here, and whole in `crates/storage-crash`: a simulation that crashes the same code at
//! any step.

pub mod accounts;
pub mod base;
pub mod block;
pub mod collect;
pub mod disk;
pub mod door;
pub mod error;
pub mod export;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod import;
pub mod index;
pub mod keys;
pub mod manifest;
pub mod map;
pub mod memory;
mod name;
pub mod object;
pub mod pack;
mod parallel;
pub mod planted;
pub mod qcow2;
pub mod ranges;
pub mod snapshot;
pub mod spec;
pub mod store;
mod sys;
pub mod verify;

pub use disk::{Disk, OpenDisk, World};
pub use error::{Result, StorageError};
