//! The public HTTP contract: what `/api/v1` accepts and answers, and the body of an error.
//!
//! Knows nothing of how requests are served. Servers convert to these types by hand at the edge; the command
//! line, the tests and, through `openapi/roost.json`, the web pages use them as they are. Times are
//! milliseconds since 1970 and end in `_ms`.
//!
//! - [`problem`]: errors (RFC 9457); start there to see what can go wrong.
//! - [`workspaces`]: workspaces and requests that change them.
//! - [`points`]: points in time of a workspace's disk.
//! - [`upkeep`]: looking after what lies in the store; disks from elsewhere.
//! - [`usage`]: who takes how much, and how much somebody may.
//! - [`work`]: uncommitted work that was saved.
//! - [`starts`]: the timeline of each start.
//! - [`events`]: what the event streams carry.
//! - [`identity`]: sign-in, users, tokens, profile.
//! - [`git`]: credentials of git servers.
//! - [`programs`]: commands and files in a workspace, which the gateway answers.
//! - [`server`]: the installation and its host.
//!
//! Tested where it is served: the document made from these types is checked in, and a test compares.

pub mod events;
pub mod git;
pub mod identity;
pub mod points;
pub mod problem;
pub mod programs;
pub mod server;
pub mod starts;
pub mod upkeep;
pub mod usage;
pub mod work;
pub mod workspaces;
