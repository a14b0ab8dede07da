//! What a workspace is: ids, names, sizes, remotes, states and their transitions. Pure.
//!
//! Knows no clock, no randomness, no I/O and no VMM: ids and times are arguments.
//!
//! - [`ids`]: who and what, as opaque text.
//! - [`name`]: names that are also host names.
//! - [`size`]: what a workspace gets, and the limits of it.
//!
//! Tested by tables and random sequences, and by the printed table of all states and events.

pub mod ids;
pub mod name;
pub mod size;

pub use ids::{OrganizationId, UserId, WorkspaceId};
pub use name::{NameError, WorkspaceName};
pub use size::{Limits, Size, SizeError};
