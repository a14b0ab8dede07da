//! Frames spoken with the agent inside the VM, and the link that carries them.
//!
//! Does not know what a workspace, a user or a VMM is. The definition is `proto/guest.proto`; the Rust side
//! of it is generated into `src/generated.rs` and checked in (`cargo xtask generate` writes it anew; a test of
//! xtask fails on drift).
//!
//! - [`frames`]: the messages.
//! - [`codec`]: length-delimited framing of messages on a byte stream.
//! - [`link`]: preface with nonces, then multiplexed streams with credits, over a bare byte stream such as
//!   a virtio-serial port.
//! - [`client`]: a session's client side for native programs: the host agent, the command line, benchmarks.
//!
//! Tested by round trips over in-memory pipes and by `tests/fixtures`: a frame of every kind and
//! generation that must stay decodable.

pub mod client;
pub mod codec;
pub mod link;

#[allow(clippy::all, missing_docs)]
#[rustfmt::skip] // As prost writes it.
mod generated;

/// The messages of `proto/guest.proto`.
pub mod frames {
    pub use crate::generated::*;
}

/// Highest generation of the session protocol that this code speaks.
pub const GENERATION: u32 = 1;

/// Bytes of `Data` that each side may send on a call before it is granted more.
pub const INITIAL_CREDIT: u64 = 256 * 1024;

/// Largest `Data.bytes` on an interactive stream.
pub const MAX_INTERACTIVE_DATA: usize = 64 * 1024;

/// Largest `Data.bytes` on a bulk stream.
pub const MAX_BULK_DATA: usize = 256 * 1024;
