//! The installation: what anybody may know, and what those who are signed in see of its host.

use model::{Limits, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /api/v1/server`, without sign-in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Server {
    pub product: String,
    pub version: String,
    /// Where pages and this API are.
    pub origin: String,
    pub workbench_origin: String,
    /// Nobody has an account yet: use the link that the server printed.
    pub needs_setup: bool,
}

/// `GET /api/v1/host`: for the create dialog and the status page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostStatus {
    pub id: String,
    pub version: String,
    /// `kvm`, `tcg` (software emulation: slower, and a weaker boundary) or `process` (tests).
    pub accelerator: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// Promised to workspaces that run or start.
    pub memory_promised_mib: u64,
    pub disk_free_mib: u64,
    pub layers: Vec<HostLayer>,
    pub limits: Limits,
    pub default_size: Size,
    /// Where a preview is: `{port}` and `{workspace}` are to be filled in.
    pub preview_pattern: String,
}

/// One layer of isolation or speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostLayer {
    pub name: String,
    pub on: bool,
    pub isolation: bool,
    pub detail: String,
    pub remedy: Option<String>,
}
