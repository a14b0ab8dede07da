//! Points in time of a workspace's disk.

use model::WorkspaceId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET …/points`. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointList {
    /// Oldest first.
    pub points: Vec<Point>,
    pub now: DiskNow,
    /// What all of them and the disk as it is take in the store, each byte counted once.
    pub stored: u64,
}

/// One point in time. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Names it within its workspace; grows with time.
    pub number: u64,
    pub name: String,
    pub kind: PointKind,
    pub taken_ms: u64,
    /// Of the disk at that time.
    pub size: u64,
    /// In the store, beyond the base image; what points share is in each of them.
    pub stored: u64,
    /// Of that, what no other point of this workspace needs.
    pub alone: u64,
    /// What the disk went on from to come here.
    pub follows: Option<Follows>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PointKind {
    /// Somebody asked for it; stays until somebody deletes it.
    Manual,
    /// Taken every quarter of an hour while the workspace writes; the older they are, the fewer are kept.
    Automatic,
    /// What a step back left behind; kept for 30 days.
    Branch,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Follows {
    /// The workspace that this one was forked from; absent: a point of its own.
    pub workspace: Option<WorkspaceId>,
    /// Of a point that may have been deleted.
    pub number: u64,
}

/// The disk as it is now. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiskNow {
    pub size: u64,
    pub stored: u64,
    pub alone: u64,
    pub follows: Option<Follows>,
    /// While the workspace runs.
    pub live: Option<LiveDisk>,
}

/// What a running workspace's disk does. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LiveDisk {
    /// On the host's disk.
    pub local: u64,
    /// Of them, not in the store yet.
    pub unsent: u64,
    /// How long the oldest flushed byte has been on the host alone; 0 when there is none.
    pub unsent_age_ms: u64,
    /// Why nothing gets to the store; empty when it does.
    pub store_trouble: String,
    /// Blocks of 4 KiB whose only copy is damaged.
    pub lost_blocks: u64,
}

/// `POST …/points`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TakePoint {
    /// One line of at most 200 bytes; `By hand` when absent.
    pub name: Option<String>,
}

/// `{workspace}` and `{point}` in a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InPoint {
    /// Id or name of the workspace.
    pub workspace: String,
    /// Number of the point.
    pub point: u64,
}

/// `GET …/disk`: a qcow2 file that stands alone, which is refused if anything of it is damaged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiskImageQuery {
    /// Number of a point; absent: what the store has now, which is all that was written when the workspace is stopped.
    pub point: Option<u64>,
}

/// `GET …/disk/files`: read from the disk itself, so that it takes no machine. What cannot be read is listed in a file
/// of the archive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiskFilesQuery {
    /// As for the whole disk.
    pub point: Option<u64>,
    /// Absolute path; `/workspaces` when absent.
    pub folder: Option<String>,
}

/// What a new workspace begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// Id or name of one of your workspaces.
    pub workspace: String,
    /// Number of one of its points; absent: one that is taken now.
    #[serde(default)]
    pub point: Option<u64>,
}
