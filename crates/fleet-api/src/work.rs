//! Saved work: what of a workspace's repositories was in no commit of the user's, as it was at some moment.
//!
//! The guest keeps it in the repository itself, below `refs/roost/wip`; the host keeps bundles of the newest beside
//! the disk, so that it is there when the machine, or its disk, is not.

use serde::{Deserialize, Serialize};

/// Which saved work is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkName {
    /// Of the repository, absolute in the guest.
    pub path: String,
    /// `refs/roost/wip/BRANCH/TIME`.
    pub reference: String,
}

/// One state of one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedWork {
    #[serde(flatten)]
    pub name: WorkName,
    pub commit: String,
    /// Empty: there was no branch.
    pub branch: String,
    /// Milliseconds since 1970.
    pub saved_ms: u64,
    /// Why it was saved: `timer`, `stop`, `restore`, or what was asked.
    pub reason: String,
    /// What git was in the middle of, such as `merge`; empty: nothing.
    pub operation: String,
    /// Files that differ from HEAD, their bytes, and the lines that do.
    pub files: u32,
    pub bytes: u64,
    pub insertions: u64,
    pub deletions: u64,
}

/// All that is saved of a workspace, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkListing {
    pub saved: Vec<ListedWork>,
    /// The guest was asked too: what it alone has is among it.
    pub current: bool,
    pub problems: Vec<WorkProblem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedWork {
    #[serde(flatten)]
    pub saved: SavedWork,
    /// Bytes of its bundle in the store; absent: only the workspace's disk has it.
    pub bundle: Option<u64>,
}

/// What could not be done with one repository, or with the store when the path is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkProblem {
    pub path: String,
    pub message: String,
}

/// What saving came to, for one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkSaved {
    pub path: String,
    pub outcome: SaveOutcome,
    /// Files that were not saved, being too large or unreadable, and repositories within; the first hundred.
    pub left_out: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum SaveOutcome {
    /// Nothing is uncommitted.
    Clean,
    Saved {
        reference: String,
        files: u32,
        /// The same had been saved before.
        before: bool,
        /// The store has it too.
        stored: bool,
    },
    Failed {
        message: String,
    },
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkRestored {
    /// What was there before, as it was saved.
    pub before: String,
    /// Written or removed.
    pub files: u32,
}
