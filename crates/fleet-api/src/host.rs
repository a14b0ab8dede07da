//! What the control plane and the gateways ask of a host, and what a host reports.

use std::collections::BTreeMap;

use model::{OrganizationId, Size, WorkspaceId, WorkspaceName};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast;

use crate::points::{DiskPart, Origin, Point, Points};
use crate::upkeep::{Collection, Compaction, DiskCheck, Import, Steps};
use crate::usage::HostUsage;
use crate::work::{WorkListing, WorkName, WorkRestored, WorkSaved};
use crate::{Download, Later};

/// One host. All calls may be repeated: they say what should be, not what should change.
pub trait Host: Send + Sync + 'static {
    /// What this host is and has. Cheap; asked before every placement.
    fn describe(&self) -> Later<'_, HostDescription>;

    /// Wants the workspace to run as `spec` says. Returns when the host has taken it on (room reserved,
    /// spec saved); progress and outcome come as [`HostEvent`]s and from [`Host::observe`]. Wanting it again
    /// while it starts or runs changes nothing, but a lower epoch than the one known is refused.
    fn run(&self, spec: RunSpec) -> Later<'_, Result<(), HostError>>;

    /// Stops the VM in order, by force after `grace_ms`; the disk stays. Returns when it has stopped.
    fn stop(&self, workspace: &WorkspaceId, grace_ms: u64) -> Later<'_, Result<(), HostError>>;

    /// Leaves no trace: VM, network, files. Returns when it is done; nothing to delete is a success.
    fn delete(&self, workspace: &WorkspaceId) -> Later<'_, Result<(), HostError>>;

    /// What is known of the workspace here; [`Observed::Absent`] only when that is certain.
    fn observe(&self, workspace: &WorkspaceId) -> Later<'_, Observed>;

    /// All workspaces with anything on this host.
    fn inventory(&self) -> Later<'_, Vec<(WorkspaceId, Observed)>>;

    /// Everything that happens here from now on. A receiver that lags must look at [`Host::inventory`].
    fn events(&self) -> broadcast::Receiver<HostEvent>;

    /// A stream to the workspace's guest.
    fn connect(
        &self,
        workspace: &WorkspaceId,
        stream: GuestStream,
    ) -> Later<'_, Result<Box<dyn ByteStream>, HostError>>;

    /// Runs the part of the start again that fetches the repository, after credentials were given.
    fn retry_clone(&self, workspace: &WorkspaceId) -> Later<'_, Result<(), HostError>>;

    /// What would be lost with this workspace: its repositories' uncommitted and unpushed work.
    fn repositories(
        &self,
        workspace: &WorkspaceId,
    ) -> Later<'_, Result<Vec<RepositoryStatus>, HostError>>;

    /// The uncommitted work that was saved; of a workspace that does not run, what the store has. `owner`: whose
    /// it is, so that it is found where nothing else of the workspace is left.
    fn saved_work(
        &self,
        workspace: &WorkspaceId,
        owner: &OrganizationId,
    ) -> Later<'_, Result<WorkListing, HostError>>;

    /// Saves the uncommitted work of every repository now, in the guest and in the store.
    fn save_work(&self, workspace: &WorkspaceId) -> Later<'_, Result<Vec<WorkSaved>, HostError>>;

    /// Makes a working tree as it was saved; what is there is saved first.
    fn restore_work(
        &self,
        workspace: &WorkspaceId,
        work: &WorkName,
    ) -> Later<'_, Result<WorkRestored, HostError>>;

    /// Saved work as a git bundle.
    fn bundle_work(
        &self,
        workspace: &WorkspaceId,
        owner: &OrganizationId,
        work: &WorkName,
    ) -> Later<'_, Result<Download, HostError>>;

    /// What a running workspace uses now.
    fn figures(&self, workspace: &WorkspaceId) -> Later<'_, Result<GuestFigures, HostError>>;

    /// The folders that take most of a running machine's disk, the largest first. Looks at every file: takes seconds.
    fn largest_folders(
        &self,
        workspace: &WorkspaceId,
    ) -> Later<'_, Result<Vec<FolderSize>, HostError>>;

    /// The last `bytes` of the VM's console, of the running or the last start.
    fn console(&self, workspace: &WorkspaceId, bytes: u64) -> Later<'_, Result<String, HostError>>;

    /// Makes the disk of a machine that runs so large, GiB, and its file system with it. A smaller size changes
    /// nothing.
    fn grow_disk(&self, workspace: &WorkspaceId, disk_gib: u64)
    -> Later<'_, Result<(), HostError>>;

    /// The points in time of the workspace's disk.
    fn points(&self, workspace: &WorkspaceId) -> Later<'_, Result<Points, HostError>>;

    /// Takes a point now, of a machine that runs or rests. Returns when the store has it.
    fn take_point(
        &self,
        workspace: &WorkspaceId,
        name: String,
    ) -> Later<'_, Result<Point, HostError>>;

    /// Gives a point up; what nobody else needs of it goes with time. One that is gone is a success.
    fn remove_point(
        &self,
        workspace: &WorkspaceId,
        number: u64,
    ) -> Later<'_, Result<(), HostError>>;

    /// A point of the workspace's disk as a file, or without a number what the store has of it now: all that was
    /// written, if the machine rests. Whether the machine can start does not matter.
    fn download_disk(
        &self,
        workspace: &WorkspaceId,
        number: Option<u64>,
        part: DiskPart,
    ) -> Later<'_, Result<Download, HostError>>;

    /// Makes a point the content of the disk of a machine that rests. What the disk had is kept as the branch
    /// that is answered.
    fn go_back(&self, workspace: &WorkspaceId, number: u64) -> Later<'_, Result<Point, HostError>>;

    /// Reads everything that a point refers to in the store, or without a number the disk as it is there with all of its
    /// points, and compares it with what was written.
    fn check_disk(
        &self,
        workspace: &WorkspaceId,
        number: Option<u64>,
    ) -> Later<'_, Result<Steps<DiskCheck>, HostError>>;

    /// Writes packs again of which the disk of a machine that rests needs little. What they had goes with the
    /// collections, once nobody else needs it.
    fn compact_disk(&self, workspace: &WorkspaceId) -> Later<'_, Result<Compaction, HostError>>;

    /// Collects the store once, as it is collected from time to time anyway: condemns what nobody needs, and deletes
    /// what was condemned before. `dry`: only says what it would do.
    fn collect(&self, dry: bool) -> Later<'_, Result<Vec<Collection>, HostError>>;

    /// What the organisation's disks take here and in the store.
    fn usage(&self, owner: &OrganizationId) -> Later<'_, Result<HostUsage, HostError>>;

    /// Takes a disk from elsewhere as one that a new workspace can begin with, in the place of a point; answers that
    /// and its size. One that no workspace has begun with within a day is removed.
    fn import_disk(&self, import: Import) -> Later<'_, Result<Steps<(Origin, u64)>, HostError>>;
}

/// A connection in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Everything a host needs to know to run a workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    pub workspace: WorkspaceId,
    pub name: WorkspaceName,
    /// Whose data it is; absent in what the first version wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationId>,
    /// Of this placement; increases for ever.
    pub epoch: u64,
    pub size: Size,
    pub repository: Option<Repository>,
    /// What its disk begins with; absent: the base image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// `user.name` and `user.email` for git in the VM.
    pub git_identity: Option<GitIdentity>,
    /// For terminals and programs.
    pub environment: BTreeMap<String, String>,
}

/// What to clone at the first start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repository {
    /// As the user gave it: https, http, ssh or git@ form.
    pub url: String,
    pub branch: Option<String>,
    /// Folder below /workspaces.
    pub folder: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GitIdentity {
    pub name: String,
    pub email: String,
}

/// What a host is and has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostDescription {
    pub id: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// Memory promised to workspaces that run or start.
    pub memory_promised_mib: u64,
    pub disk_free_mib: u64,
    pub accelerator: Accelerator,
    pub layers: Vec<Layer>,
    pub version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    Kvm,
    /// Software emulation: slower, and not a security boundary of the same strength.
    Tcg,
    /// The guest agent as a plain process: tests only.
    Process,
}

/// One layer of isolation or speed, on or off on this host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layer {
    pub name: String,
    pub on: bool,
    /// Off: an isolation layer, without which Roost does not listen beyond loopback.
    pub isolation: bool,
    /// What it is now.
    pub detail: String,
    /// What to do when it is off.
    pub remedy: Option<String>,
}

/// What a host knows of one workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Observed {
    /// Certain: nothing of it is here.
    Absent,
    /// The host cannot tell now (its monitor does not answer).
    Unknown {
        reason: String,
    },
    Starting {
        epoch: u64,
    },
    Running {
        epoch: u64,
        clone: CloneState,
        unresponsive: bool,
    },
    /// The VM stands still, `reason` says why (the host's disk is full).
    Paused {
        epoch: u64,
        reason: String,
    },
    Stopping {
        epoch: u64,
    },
    /// No VM; the disk is here.
    Stopped {
        epoch: u64,
    },
    /// The VM ended by itself or did not start; the disk is here.
    Failed {
        epoch: u64,
        failure: StartFailure,
    },
}

/// How far the repository of a running workspace is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "clone", rename_all = "kebab-case")]
pub enum CloneState {
    /// None asked for, or there since an earlier start.
    Ready,
    Running,
    Failed {
        failure: StartFailure,
    },
}

/// Why a step did not succeed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartFailure {
    pub kind: FailureKind,
    /// For a person: what happened and what to do.
    pub message: String,
    /// The end of the console or of the program's output.
    pub log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    VmmMissing,
    VmmExited,
    ImageMissing,
    ImageCorrupt,
    DiskFull,
    GuestSilent,
    GuestCrashed,
    NetworkSetup,
    CloneCredentials,
    CloneNotFound,
    CloneBranch,
    CloneFailed,
    Internal,
}

/// One thing that happened on a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostEvent {
    pub workspace: WorkspaceId,
    pub epoch: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub what: HostEventKind,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum HostEventKind {
    /// Look at [`Host::observe`].
    Changed { observed: Observed },
    /// A step of the start begins. Names are stable: see [`STEPS`].
    StepStarted { step: String },
    /// `percent` 0–100 where known.
    StepProgress {
        step: String,
        detail: String,
        percent: Option<u8>,
    },
    StepFinished {
        step: String,
        took_ms: u64,
        failure: Option<StartFailure>,
    },
    /// The workspace is gone from this host.
    Deleted,
}

/// The steps of a start in their order, with what the user reads.
pub const STEPS: [(&str, &str); 7] = [
    ("place", "Find room"),
    ("disk", "Prepare the disk"),
    ("network", "Set up the network"),
    ("vmm", "Start the virtual machine"),
    ("boot", "Boot Linux"),
    ("configure", "Set up the workspace"),
    ("clone", "Clone the repository"),
];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RepositoryStatus {
    pub path: String,
    pub branch: String,
    pub uncommitted: u32,
    pub unpushed: u32,
    pub stashes: u32,
    pub no_remote: bool,
    /// git could not tell.
    pub error: Option<String>,
}

/// What a machine uses, as its agent sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuestFigures {
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

/// A folder with all that is below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderSize {
    /// Absolute.
    pub path: String,
    pub bytes: u64,
}

/// Which stream to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stream", rename_all = "kebab-case")]
pub enum GuestStream {
    /// A session: frames, each with a u32 big-endian length, which nobody between reads.
    Session { bulk: bool, role: GuestRole },
    /// A TCP connection to a port in the guest. Refused when nobody listens there.
    Tcp { port: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestRole {
    Viewer,
    Editor,
}

/// Why a host did not do it.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum HostError {
    #[error("the workspace is not running on this host")]
    NotRunning,
    #[error("the workspace's machine runs: stop it first")]
    NotAtRest,
    #[error("there is no point {number} of this workspace's disk (any more)")]
    NoPoint { number: u64 },
    #[error("nothing listens on port {port} in the workspace")]
    PortClosed { port: u16 },
    #[error("{message}")]
    NoRoom { message: String },
    #[error("epoch {given} is older than {known}")]
    Fenced { given: u64, known: u64 },
    #[error("the guest refused: {message}")]
    Guest { message: String },
    /// What was named is not there.
    #[error("{message}")]
    Missing { message: String },
    /// What was given makes no sense.
    #[error("{message}")]
    Unusable { message: String },
    /// Something is in the way that the caller can move.
    #[error("{message}")]
    Conflict { message: String },
    #[error("{message}")]
    Failed { message: String },
}
