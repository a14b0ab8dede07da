//! Who takes how much, and how much somebody may.

use model::{Quota, UserId, WorkspaceId, WorkspaceName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /usage`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UsageQuery {
    /// Of all users and the organisation too; for administrators.
    pub everybody: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// The caller's.
    pub own: Account,
    /// The caller's; the one that stores most comes first.
    pub workspaces: Vec<WorkspaceUsage>,
    pub everybody: Option<Everybody>,
    /// Hosts that did not answer: what is on them, and in their stores, is not counted.
    pub missing_hosts: Vec<String>,
}

/// What there is and what there may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    pub used: Used,
    pub quota: Quota,
}

/// Bytes but for the number of workspaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Used {
    pub workspaces: u64,
    /// Sizes of the disks, as guests see them.
    pub logical: u64,
    /// What the disks have on their hosts of their own; the store has it too, or is about to.
    pub physical: u64,
    /// Base images on the hosts that the disks lie over, each once however many use it.
    pub shared: u64,
    /// In the store, with points and saved work, each byte once.
    pub stored: u64,
}

/// Bytes, as in [`Used`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceUsage {
    pub id: WorkspaceId,
    pub name: WorkspaceName,
    pub logical: u64,
    pub physical: u64,
    pub shared: u64,
    pub stored: u64,
    /// Of what is stored, what goes when the workspace is deleted.
    pub alone: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Everybody {
    pub organization: Account,
    /// In the store, needed by nobody: goes with the collections. Nobody's quota has it.
    pub unneeded: u64,
    /// The one that stores most comes first.
    pub users: Vec<UserUsage>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserUsage {
    pub user: UserId,
    pub email: String,
    pub name: String,
    pub account: Account,
}
