//! Workspaces, and requests that make, change and delete them.

use std::collections::BTreeMap;

use model::{Size, UserId, WorkspaceId, WorkspaceName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::points::{Follows, Fork};

/// One workspace as its owner sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub name: WorkspaceName,
    pub owner: UserId,
    pub state: WorkspaceState,
    /// Where it is going.
    pub desired: DesiredState,
    /// It runs and its repository is there, or the clone has failed: no change is under way.
    pub ready: bool,
    /// What it waits for or why it is as it is, in words; empty when there is nothing to say.
    pub detail: String,
    /// State `failed`: why.
    pub failure: Option<Failure>,
    pub repository: Option<Repository>,
    pub clone: CloneStatus,
    /// Host of the Git server that asks for credentials; give them, then `retry-clone`.
    pub needs_credentials: Option<String>,
    /// The guest does not answer, though its machine runs.
    pub unresponsive: bool,
    /// Its machine stands still and goes on by itself; `detail` says why and when.
    pub paused: bool,
    pub size: Size,
    /// The point in time that its disk began with.
    pub forked_from: Option<Follows>,
    pub labels: BTreeMap<String, String>,
    pub tags: Vec<String>,
    /// Number of the last start; the key of its timeline.
    pub epoch: u64,
    /// Where it runs or its disk is.
    pub host: Option<String>,
    /// What may be asked for now.
    pub actions: Vec<Action>,
    /// Path on this server that opens it in the browser.
    pub open_path: String,
    /// When a state that does not last is given up.
    pub deadline_ms: Option<u64>,
    pub created_ms: u64,
    /// Of the last change of state.
    pub changed_ms: u64,
    /// When somebody used it last.
    pub used_ms: Option<u64>,
    /// Grows with every change.
    pub generation: u64,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum WorkspaceState {
    /// Waits for room on a host.
    Queued,
    /// A host builds it.
    Provisioning,
    Running,
    Stopping,
    /// Only the disk is there.
    Stopped,
    Failed,
    Deleting,
    /// Only in events: a deleted workspace is not found.
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DesiredState {
    Running,
    Stopped,
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Start,
    Stop,
    Delete,
    RetryClone,
}

/// Why something did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Stable, in kebab case, such as `guest-silent` or `clone-credentials`.
    pub kind: String,
    /// What happened and what to do.
    pub message: String,
    /// The end of the console or of the program's output.
    pub log: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Repository {
    /// As it was given.
    pub url: String,
    pub branch: Option<String>,
    /// Absolute path in the workspace.
    pub folder: String,
}

/// How far the clone of a running workspace is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum CloneStatus {
    /// There is no repository, or the workspace does not run.
    None,
    Running,
    Ready,
    Failed {
        failure: Failure,
    },
}

/// `POST /api/v1/workspaces`. An empty object makes an empty workspace of the usual size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateWorkspace {
    /// One that is free is made up when there is none.
    pub name: Option<String>,
    /// `https://`, `http://`, `ssh://`, `git@host:path` or `host/path`.
    pub repository: Option<String>,
    /// The remote's own when there is none.
    pub branch: Option<String>,
    pub size: Option<Size>,
    pub labels: BTreeMap<String, String>,
    pub tags: Vec<String>,
    /// Begin with the disk of another workspace, instead of a repository. Its size is the other's unless given.
    pub fork: Option<Fork>,
}

/// `PATCH /api/v1/workspaces/{workspace}`: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateWorkspace {
    /// Changes the host names of previews at once; the old name stays reserved for this workspace.
    pub name: Option<String>,
    /// Replaces all labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Replaces all tags.
    pub tags: Option<Vec<String>>,
    /// CPUs and memory from the next start on. A disk only grows: at once where that is possible, otherwise with
    /// the next start.
    pub size: Option<Size>,
}

/// Filters of `GET /api/v1/workspaces`; all must fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListWorkspaces {
    /// States, separated by commas.
    pub state: Option<String>,
    /// `key=value` or `key`, separated by commas.
    pub label: Option<String>,
    pub tag: Option<String>,
    /// Part of the name or of the repository's URL.
    pub text: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceList {
    pub workspaces: Vec<Workspace>,
}

/// Whether a request answers at once or when something has come true.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Wait {
    /// `ready`: answer when the workspace is ready or its start has failed, or the time is over.
    pub wait: Option<WaitFor>,
    /// Longest wait, 1–600; 120 when absent.
    pub timeout_s: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaitFor {
    /// [`Workspace::ready`].
    Ready,
    /// The machine runs; the clone may still be under way.
    Running,
    /// Until it has stopped.
    Stopped,
    /// Nothing of it is left; for a workspace whose deletion was asked for.
    Deleted,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeleteWorkspace {
    /// Delete though work would be lost, or though nobody can tell.
    pub force: bool,
}

/// What a deletion would lose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeletePreview {
    /// Something would be lost.
    pub loses_work: bool,
    /// How good this is.
    pub knowledge: Knowledge,
    /// When it was looked at; absent when it never was.
    pub seen_ms: Option<u64>,
    pub repositories: Vec<RepositoryReport>,
    /// States of uncommitted work that were saved, and go too; absent: nobody can tell.
    pub saved_work: Option<u64>,
    /// In words.
    pub summary: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Knowledge {
    /// Seen just now.
    Current,
    /// Seen when it was stopped.
    LastKnown,
    /// Nobody can tell: start it to look.
    Unknown,
    /// It never ran, so there is nothing.
    NeverRan,
}

/// One repository in a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryReport {
    pub path: String,
    pub branch: String,
    /// Changed and new files.
    pub uncommitted: u32,
    /// Commits that no remote has.
    pub unpushed: u32,
    pub stashes: u32,
    pub no_remote: bool,
    /// git could not tell.
    pub error: Option<String>,
}

/// `GET …/figures`: what a running workspace uses now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// Cores busy over the last moments.
    pub cpu: f64,
    pub cpus: u32,
    /// Bytes, without caches.
    pub memory_used: u64,
    pub memory_total: u64,
    /// Bytes of the root file system.
    pub disk_used: u64,
    pub disk_total: u64,
}

/// `GET …/largest-folders`: what takes the room on a running workspace's disk; takes seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LargestFolders {
    /// The largest first; one whose room is nearly all in a folder below it is left out for that.
    pub folders: Vec<FolderSize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FolderSize {
    /// Absolute.
    pub path: String,
    /// With all that is below it.
    pub bytes: u64,
}

/// `GET …/console`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Console {
    /// The end of what the machine printed, of the running or the last start.
    pub text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleQuery {
    /// 64 KiB when absent, at most 1 MiB.
    pub bytes: Option<u64>,
}

/// `POST …/ticket`: for programs that speak to the workspace itself.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgramTicket {
    /// For `Authorization: Bearer` at the addresses below; an API token does as well.
    pub ticket: String,
    pub expires_ms: u64,
    /// WebSocket of a guest session, for what people feel.
    pub session_url: String,
    /// WebSocket of a guest session, for bulk.
    pub bulk_url: String,
    /// WebSocket of a TCP connection; `{port}` is to be filled in.
    pub tunnel_url: String,
}

/// `GET /api/v1/remote?url=`: what a Git URL means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Remote {
    /// What will be fetched from.
    pub url: String,
    /// Host and port of the server: the key of credentials.
    pub authority: String,
    /// Folder below `/workspaces`.
    pub folder: String,
    /// A name for the workspace that is free now.
    pub suggested_name: WorkspaceName,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteQuery {
    pub url: String,
}
