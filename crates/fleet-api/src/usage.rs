//! What workspaces take of a host and its store.

use std::collections::{BTreeMap, BTreeSet};

use model::WorkspaceId;
use serde::{Deserialize, Serialize};

/// What one organisation's disks take. Bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostUsage {
    /// Which store it is: hosts that name the same one count the same bytes.
    pub store: String,
    pub shares: Vec<Share>,
    /// In the store, needed by nobody: goes with the collections.
    pub unneeded: u64,
    /// On the host's disk, of each workspace's own.
    pub local: BTreeMap<WorkspaceId, u64>,
    pub bases: Vec<Base>,
}

/// Bytes in the store that exactly these disks refer to, each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub disks: BTreeSet<WorkspaceId>,
    pub bytes: u64,
}

/// A base image on the host's disk, and whose disks lie over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    pub name: String,
    pub bytes: u64,
    pub workspaces: BTreeSet<WorkspaceId>,
}
