//! What a workspace is: ids, names, sizes, remotes, states and their transitions. Pure.
//!
//! Knows no clock, no randomness, no I/O and no VMM: ids and times are arguments.
//!
//! - [`ids`]: who and what, as opaque text.
//! - [`name`]: names that are also host names.
//! - [`size`]: what a workspace gets, and the limits of it.
//! - [`quota`]: how much somebody may have.
//! - [`remote`]: Git URLs in all the forms that people paste.
//! - [`state`]: the life of a workspace; start there.
//!
//! Tested by tables and random sequences, and by the printed table of all states and events.

pub mod ids;
pub mod name;
pub mod quota;
pub mod remote;
pub mod size;
pub mod state;

pub use ids::{OrganizationId, UserId, WorkspaceId};
pub use name::{NameError, WorkspaceName};
pub use quota::Quota;
pub use remote::{Remote, RemoteError};
pub use size::{Limits, Size, SizeError};
