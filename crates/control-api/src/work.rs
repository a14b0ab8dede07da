//! Saved work: what was in no commit of a workspace's repositories, saved once a minute and before a stop.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET …/work`: what is saved of a workspace, running or not; the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkList {
    pub work: Vec<SavedWork>,
    /// The workspace runs and was asked. Else this is what the store has: the newest of each repository.
    pub current: bool,
    /// What could not be looked at or kept.
    pub problems: Vec<WorkProblem>,
}

/// One state of one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SavedWork {
    /// Of the repository, in the workspace.
    pub path: String,
    /// Name of the commit in the repository: `refs/roost/wip/BRANCH/TIME`.
    pub reference: String,
    pub commit: String,
    /// Absent: HEAD was detached.
    pub branch: Option<String>,
    pub saved_ms: u64,
    /// `timer`, `stop`, `restore`, or what was asked.
    pub reason: String,
    /// What git was in the middle of, such as `merge`.
    pub operation: Option<String>,
    /// Files that differ from the last commit.
    pub files: u32,
    /// Bytes of those files.
    pub bytes: u64,
    /// Lines that differ.
    pub insertions: u64,
    pub deletions: u64,
    /// Bytes of its bundle in the store; absent: only the workspace's disk has it.
    pub bundle_bytes: Option<u64>,
    /// What it is, in words.
    pub summary: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkProblem {
    /// Of the repository; absent: it is about all of them.
    pub path: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

/// `POST …/work/save`: what it came to, for each repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkSaved {
    pub repositories: Vec<SavedRepository>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SavedRepository {
    pub path: String,
    pub outcome: SaveOutcome,
    /// Name of the saved work.
    pub reference: Option<String>,
    /// Files that differ from the last commit.
    pub files: u32,
    /// The store has it too, so that it outlives the workspace's disk.
    pub stored: bool,
    /// What was not saved: too large, unreadable, or a repository of its own; the first hundred.
    pub left_out: Vec<String>,
    /// `failed`: why.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SaveOutcome {
    /// Nothing is uncommitted.
    Clean,
    Saved,
    /// The same had been saved before.
    Unchanged,
    Failed,
}

/// `POST …/work/restore`, and the query of `GET …/work/bundle`: which saved work is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkName {
    /// Of the repository, in the workspace.
    pub path: String,
    /// `refs/roost/wip/BRANCH/TIME`.
    pub reference: String,
}

/// What a restore did. HEAD and the index are as they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkRestored {
    /// What was there before, as saved work: restore it to go back.
    pub before: String,
    /// Files that were written or removed.
    pub files: u32,
}
