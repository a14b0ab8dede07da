//! Looking after what lies in the store: checked, compacted, collected; and disks that come from elsewhere.

use model::{UserId, WorkspaceId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::workspaces::Workspace;

/// `POST …/disk/check`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckQuery {
    /// Number of a point; absent: the disk as the store has it now, and all of its points.
    pub point: Option<u64>,
}

/// One line of the answer to `POST …/disk/check`. The last is `checked` or `failed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum CheckEvent {
    /// Bytes of how many.
    Progress {
        done: u64,
        of: u64,
    },
    Checked {
        check: DiskCheck,
    },
    /// It could not be checked; nothing is known of it.
    Failed {
        problem: Problem,
    },
}

/// What was found: everything that the versions refer to in the store was read and compared with what was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiskCheck {
    /// Nothing of it is damaged.
    pub sound: bool,
    /// Oldest first.
    pub versions: Vec<CheckedVersion>,
    /// That were read, each once.
    pub objects: u64,
    /// Of packs among them.
    pub bytes: u64,
    pub damage: Vec<Damage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedVersion {
    /// Of a point, its number there.
    pub number: u64,
    /// Of the point; absent when it is none, or its name cannot be read.
    pub name: Option<String>,
    /// It is the disk as the store has it now.
    pub is_now: bool,
    pub sound: bool,
}

/// Something in the store that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Damage {
    /// Number of the version that it costs something; what several share is told for each of them.
    pub version: u64,
    /// Its path in the store.
    pub object: String,
    pub detail: String,
    /// Of the disk, that cannot be read because of it; 0: it is not needed for reading.
    pub bytes: u64,
}

/// `POST …/disk/compact`. Bytes in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compaction {
    /// Of the disk, that lie in other packs now.
    pub moved: u64,
    /// That the disk as it is refers to.
    pub before: u64,
    pub after: u64,
    /// The same of the disk with all its points, each byte once: points keep the packs that they were taken with.
    pub all_before: u64,
    pub all_after: u64,
}

/// `POST /store/collect`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CollectStore {
    /// Only say what would be done.
    pub dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CollectionList {
    pub collections: Vec<Collection>,
}

/// What a collection found and did. Bytes in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Collection {
    pub host: String,
    /// Part of the store: an organisation's, or `bases`.
    pub tenant: String,
    pub total: u64,
    /// Needed by nobody, and less than a day old: somebody may be about to refer to it.
    pub young: u64,
    /// Needed by nobody: goes with a collection that comes at least an hour later.
    pub condemned: u64,
    pub deleted: u64,
    /// The largest first.
    pub kept: Vec<Keeper>,
}

/// Who keeps what. Bytes in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Keeper {
    /// Of the workspace; of a disk that is no workspace's, its name in the store.
    pub name: String,
    pub workspace: Option<WorkspaceId>,
    pub owner: Option<UserId>,
    pub points: u64,
    /// With all points, each byte once.
    pub stored: u64,
    /// Of that, what no other disk needs.
    pub alone: u64,
}

/// `POST /workspaces/import`, whose body is a qcow2 file or the plain bytes of a disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImportQuery {
    /// One that is free is made up when there is none.
    pub name: Option<String>,
    pub vcpus: Option<u32>,
    pub memory_mib: Option<u64>,
    /// At least the size of the disk in the file, which it has when this is absent.
    pub disk_gib: Option<u64>,
}

/// One line of the answer to `POST /workspaces/import`, which begins when the file has arrived. The last is `made` or
/// `failed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ImportEvent {
    /// Bytes of the disk that are stored, of how many.
    Progress {
        done: u64,
        of: u64,
    },
    /// There is a workspace, which starts now.
    Made {
        workspace: Box<Workspace>,
    },
    Failed {
        problem: Problem,
    },
}
