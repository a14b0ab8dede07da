//! Points in time of a workspace's disk.

use model::WorkspaceId;
use serde::{Deserialize, Serialize};

/// Every point that is kept, and where the disk is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Points {
    /// Oldest first.
    pub points: Vec<Point>,
    pub now: DiskNow,
    /// Bytes in the store of all of them and of the disk as it is, each counted once.
    pub stored: u64,
}

/// One point in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Names it within its disk; grows with time.
    pub number: u64,
    pub name: String,
    pub kind: PointKind,
    /// Milliseconds since 1970.
    pub taken_ms: u64,
    /// Size of the disk at that time, bytes.
    pub size: u64,
    /// Bytes in the store that it refers to, beyond its base.
    pub stored: u64,
    /// Of them, those that go when it goes.
    pub alone: u64,
    /// What the disk went on from to come here.
    pub follows: Option<Follows>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointKind {
    /// Somebody asked for it.
    Manual,
    /// Taken by the host, and given up by its rules.
    Automatic,
    /// Keeps what a step back left behind.
    Branch,
}

/// An earlier point in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follows {
    /// Another workspace than the point's own: it was forked from there.
    pub workspace: Option<WorkspaceId>,
    pub number: u64,
}

/// A disk as it is now. Bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskNow {
    pub size: u64,
    /// What it refers to in the store.
    pub stored: u64,
    pub alone: u64,
    pub follows: Option<Follows>,
    /// While it runs.
    pub live: Option<LiveDisk>,
}

/// What a running machine's disk does. Bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveDisk {
    /// On the host's disk.
    pub local: u64,
    /// Of them, not in the store yet.
    pub unsent: u64,
    /// Milliseconds since the oldest flush whose data is on the host alone; 0 when there is none.
    pub unsent_age_ms: u64,
    /// Why nothing gets to the store; empty when it does.
    pub store_trouble: String,
    /// Blocks of 4 KiB whose only copy is damaged.
    pub lost_blocks: u64,
}

/// What is given out of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case")]
pub enum DiskPart {
    /// All of it, as a qcow2 file that stands alone.
    Image,
    /// What is below a folder, an absolute path, as a tar archive packed with gzip.
    Files { folder: String },
}

/// What the ids of disks begin with that were imported, and are there for a new workspace to begin with.
pub const IMPORTED: &str = "import-";

/// The point that a new workspace's disk begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub workspace: WorkspaceId,
    pub number: u64,
}

impl Origin {
    /// It is a disk that came from elsewhere, and no workspace's.
    pub fn is_import(&self) -> bool {
        is_import(&self.workspace)
    }
}

pub fn is_import(disk: &WorkspaceId) -> bool {
    disk.as_str().starts_with(IMPORTED)
}
