//! What the event streams (`text/event-stream`) carry. The `event:` field is the variant's name.
//!
//! A stream begins with `hello`; whoever has seen it may fetch lists and misses nothing. After `resync` too
//! much happened at once: fetch again.

use model::{WorkspaceId, WorkspaceName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::starts::Step;
use crate::workspaces::Workspace;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The stream is open.
    Hello,
    /// Events were dropped: fetch what you show again.
    Resync,
    /// The workspace is new or has changed; this is all of it.
    Workspace { workspace: Box<Workspace> },
    /// It is gone.
    Deleted {
        id: WorkspaceId,
        name: WorkspaceName,
    },
    /// A step of a start has begun, moved or ended.
    Step {
        workspace: WorkspaceId,
        epoch: u64,
        step: Box<Step>,
    },
}

impl Event {
    /// The `event:` field.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Resync => "resync",
            Self::Workspace { .. } => "workspace",
            Self::Deleted { .. } => "deleted",
            Self::Step { .. } => "step",
        }
    }
}
