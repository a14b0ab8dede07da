//! The timeline of a start: its steps, how long each took, and its log.

use model::WorkspaceId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::workspaces::Failure;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StartList {
    /// Newest first.
    pub starts: Vec<Start>,
}

/// One start of a workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Start {
    pub workspace: WorkspaceId,
    pub epoch: u64,
    pub began_ms: u64,
    /// When the machine ran, or the start was given up.
    pub ended_ms: Option<u64>,
    pub outcome: StartOutcome,
    pub failure: Option<Failure>,
    /// In their order; those that did not begin yet are `waiting`.
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StartOutcome {
    InProgress,
    Running,
    Failed,
    /// Stopped or deleted before it ran.
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Stable: `place`, `disk`, `network`, `vmm`, `boot`, `configure`, `clone`.
    pub step: String,
    /// For a person.
    pub title: String,
    pub state: StepState,
    pub began_ms: Option<u64>,
    pub took_ms: Option<u64>,
    /// 0–100, where known.
    pub percent: Option<u8>,
    /// What it does now, or did last.
    pub detail: String,
    pub failure: Option<Failure>,
    /// What it said while it ran, a line each; the first lines go when it gets long.
    pub log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    Waiting,
    Running,
    Done,
    Failed,
    /// The start ended before it was over.
    Skipped,
}
