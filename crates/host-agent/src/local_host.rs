//! The service: one host, asked through [`Host`].

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fleet_api::control::GitCredentials;
use fleet_api::host::{
    ByteStream, FolderSize, GuestFigures, GuestStream, Host, HostDescription, HostError, HostEvent,
    Layer, Observed, RepositoryStatus, RunSpec,
};
use fleet_api::points::{DiskPart, Origin, Point, PointKind, Points};
use fleet_api::upkeep::{Collection, Compaction, DiskCheck, Import, Steps};
use fleet_api::usage::HostUsage;
use fleet_api::work::{WorkListing, WorkName, WorkRestored, WorkSaved};
use fleet_api::{Download, Later};
use model::{OrganizationId, WorkspaceId};
use tokio::sync::{Mutex as AsyncMutex, broadcast, watch};
use tokio::time::timeout;

use crate::capacity;
use crate::cgroups::Cgroups;
use crate::config::{Driver, HostConfig, NetworkMode};
use crate::disks::Disks;
use crate::folders::{self, Folders};
use crate::git::policy::Allowed;
use crate::git::relay::Relay;
use crate::git::upstream::Upstream;
use crate::images::{ImageError, Images};
use crate::layers;
use crate::network::{Networks, namespace};
use crate::points::service::{Runners, Service, keep_points};
use crate::runner::context::{AtRest, Ledger, Machines};
use crate::runner::folders::largest;
use crate::runner::state::State;
use crate::runner::watch::Monitor;
use crate::runner::{Context, Mail, Runner, disk, end, guest, record};
use crate::upkeep::collection::{self, keep_collecting};
use crate::upkeep::{import, usage};
use crate::work::Work;
use crate::work::requests::Requests;

/// Layers are looked at anew after this.
const LAYERS_LAST: Duration = Duration::from_secs(30);
/// A start that is asked for while the machine still ends waits for so long.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// Looking through all repositories of a workspace.
const REPOSITORIES_WITHIN: Duration = Duration::from_secs(60);
/// Beyond the guest's own deadline.
const STOP_MARGIN: Duration = Duration::from_secs(90);
const DELETED_WITHIN: Duration = Duration::from_secs(120);
/// Events that a slow listener may be behind.
const EVENTS: usize = 4096;

/// This machine as a host. Dropping it lets all virtual machines run on.
pub struct LocalHost {
    context: Arc<Context>,
    runners: Runners,
    layers: AsyncMutex<Option<(Instant, Vec<Layer>)>>,
    /// Closed once images, VMM and accelerator have been looked at.
    prepared: watch::Receiver<()>,
}

/// Why a host agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(
        "the data folder's path {path} is too long for Unix sockets: choose one of at most {most} bytes"
    )]
    PathTooLong { path: PathBuf, most: usize },
    #[error("cannot use {path}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Policy(String),
}

impl LocalHost {
    /// Starts to own this host: finds the workspaces that are here and takes up again those that run.
    pub async fn new(
        config: HostConfig,
        credentials: Arc<dyn GitCredentials>,
    ) -> Result<Self, SetupError> {
        let data = std::path::absolute(&config.data).map_err(|source| SetupError::Folder {
            path: config.data.clone(),
            source,
        })?;
        let most = Folders::longest_data();
        if data.as_os_str().len() > most {
            return Err(SetupError::PathTooLong { path: data, most });
        }
        let folders = Folders::new(data.clone());
        folders
            .make()
            .map_err(|source| SetupError::Folder { path: data, source })?;
        let allowed = Allowed::parse(&config.git.allow)
            .map_err(|error| SetupError::Policy(error.to_string()))?;
        if !config.network.pool.first().is_ipv4() || config.network.pool.prefix() > 30 {
            let text = format!(
                "network.pool: {} is no IPv4 range of a /30 or more",
                config.network.pool
            );
            return Err(SetupError::Policy(text));
        }
        let upstream = Upstream::new(
            allowed,
            config.proxy.clone(),
            config.extra_certificates.clone(),
        );
        let is_process = matches!(config.driver, Driver::Process { .. });
        let (events, _) = broadcast::channel(EVENTS);
        let disks = Disks::open(
            folders.data(),
            config.storage.store.clone(),
            config.storage.door,
        );
        let disks = disks.map_err(|source| SetupError::Folder {
            path: folders.data().join("keys"),
            source,
        })?;
        let context = Arc::new(Context {
            disks: Arc::new(disks),
            at_rest: AtRest::default(),
            images: Arc::new(Images::new(folders.images(), config.images.clone())),
            networks: if is_process {
                None
            } else {
                networks(&config).await
            },
            cgroups: if is_process { None } else { cgroups() },
            relay: Arc::new(Relay {
                upstream,
                credentials,
            }),
            machines: Machines::default(),
            ledger: Ledger::default(),
            work: Work::default(),
            folders,
            events,
            config,
        });
        if !is_process {
            tokio::spawn(keep_collecting(context.clone()));
        }
        let (preparing, prepared) = watch::channel(());
        let host = Self {
            runners: Arc::new(Mutex::new(adopt(&context))),
            layers: AsyncMutex::new(None),
            prepared,
            context,
        };
        if !is_process {
            let every = host.context.config.storage.points_every_minutes;
            let every = Duration::from_secs(60 * u64::from(every));
            tokio::spawn(keep_points(host.disk_points(), every));
        }
        let context = host.context.clone();
        tokio::spawn(async move {
            if !is_process {
                prepare(context).await;
            }
            drop(preparing);
        });
        Ok(host)
    }

    /// Each layer of isolation and speed, on or off. The first answer waits until this host has been looked
    /// at: seconds, once for each kernel and VMM.
    pub async fn layers(&self) -> Vec<Layer> {
        let mut prepared = self.prepared.clone();
        // An error is the end that is waited for.
        while prepared.changed().await.is_ok() {}
        let mut layers = self.layers.lock().await;
        match layers.as_ref() {
            Some((looked, known)) if looked.elapsed() < LAYERS_LAST => known.clone(),
            _ => {
                let all = layers::all(&self.context).await;
                *layers = Some((Instant::now(), all.clone()));
                all
            }
        }
    }

    fn disk_points(&self) -> Service {
        Service {
            context: self.context.clone(),
            runners: self.runners.clone(),
        }
    }

    fn runner(&self, workspace: &WorkspaceId) -> Option<Runner> {
        self.runners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(workspace)
            .cloned()
    }

    fn runner_or_new(&self, workspace: &WorkspaceId) -> Runner {
        let mut runners = self.runners.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Runner::new(self.context.clone(), workspace.clone());
        runners.entry(workspace.clone()).or_insert_with(new).clone()
    }

    /// Lets go of an owner that has nothing to own.
    fn forget_absent(&self, workspace: &WorkspaceId) {
        let mut runners = self.runners.lock().unwrap_or_else(PoisonError::into_inner);
        if runners
            .get(workspace)
            .is_some_and(|runner| runner.state() == State::Absent)
        {
            runners.remove(workspace);
        }
    }

    async fn run_now(&self, spec: RunSpec) -> Result<(), HostError> {
        if !folders::is_plain(&spec.workspace) {
            let message = format!("\"{}\" cannot be the id of a workspace", spec.workspace);
            return Err(HostError::Failed { message });
        }
        let runner = self.runner_or_new(&spec.workspace);
        let ends = |state: &State| matches!(state, State::Stopping { .. } | State::Deleting { .. });
        // What comes later is the owner's to judge.
        let _ = timeout(ENDS_WITHIN, runner.wait_for(|state| !ends(state))).await;
        let workspace = spec.workspace.clone();
        let asked = runner
            .ask(|answer| Mail::Run {
                spec: Box::new(spec),
                answer,
            })
            .await;
        if asked.is_err() {
            self.forget_absent(&workspace);
        }
        asked
    }

    async fn stop_now(&self, workspace: &WorkspaceId, grace_ms: u64) -> Result<(), HostError> {
        let Some(runner) = self.runner(workspace) else {
            return Ok(());
        };
        runner.ask(|answer| Mail::Stop { grace_ms, answer }).await?;
        let within = Duration::from_millis(grace_ms) + STOP_MARGIN;
        let stopped = runner.wait_for(|state| !state.has_machine());
        match timeout(within, stopped).await {
            Ok(_) => Ok(()),
            Err(_) => Err(HostError::Failed {
                message: "the machine does not end".into(),
            }),
        }
    }

    async fn delete_now(&self, workspace: &WorkspaceId) -> Result<(), HostError> {
        if !folders::is_plain(workspace) {
            return Ok(());
        }
        let failed = |message: String| HostError::Failed { message };
        let Some(runner) = self.runner(workspace) else {
            return end::remove(&self.context, workspace).await.map_err(failed);
        };
        runner.ask(|answer| Mail::Delete { answer }).await?;
        let done = |state: &State| {
            matches!(
                state,
                State::Absent
                    | State::Deleting {
                        problem: Some(_),
                        ..
                    }
            )
        };
        match timeout(DELETED_WITHIN, runner.wait_for(done)).await {
            Ok(Some(State::Deleting { problem, .. })) => Err(failed(format!(
                "the workspace cannot be removed: {}",
                problem.unwrap_or_default()
            ))),
            Ok(_) => {
                self.forget_absent(workspace);
                Ok(())
            }
            Err(_) => Err(failed("the machine does not end".into())),
        }
    }

    fn work(&self, workspace: &WorkspaceId, owner: Option<&OrganizationId>) -> Requests {
        Requests {
            context: self.context.clone(),
            workspace: workspace.clone(),
            owner: owner.cloned(),
            reachable: self.reachable(workspace).is_ok(),
        }
    }

    /// The monitor of a workspace whose guest can be talked to.
    fn reachable(&self, workspace: &WorkspaceId) -> Result<Monitor, HostError> {
        match self.runner(workspace).map(|runner| runner.state()) {
            Some(State::Running { .. }) => {
                Ok(Monitor::new(&self.context.folders.monitor(workspace)))
            }
            _ => Err(HostError::NotRunning),
        }
    }
}

/// Whether namespaces work here is found out by setting up what all of them share.
async fn networks(config: &HostConfig) -> Option<Networks> {
    if config.network.mode == NetworkMode::Off {
        return None;
    }
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/net/tun").exists() {
        return None;
    }
    match namespace::try_out().await {
        Ok(()) => Some(Networks::new(config.network.clone())),
        Err(error) => {
            let error = crate::failure::chain(&error);
            tracing::warn!(
                error,
                "guests get no network: this host does not let us make namespaces"
            );
            None
        }
    }
}

fn cgroups() -> Option<Cgroups> {
    Cgroups::find()
        .inspect_err(|why| tracing::warn!(why, "machines run without limits"))
        .ok()
}

/// Takes up every workspace that has a record.
fn adopt(context: &Arc<Context>) -> HashMap<WorkspaceId, Runner> {
    let mut runners = HashMap::new();
    let Ok(entries) = std::fs::read_dir(context.folders.workspaces()) else {
        return runners;
    };
    for entry in entries.flatten() {
        let path = entry.path().join("host.json");
        match record::read(&path) {
            Ok(record) => {
                let workspace = record.spec.workspace.clone();
                runners.insert(workspace, Runner::adopt(context.clone(), record));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a workspace's record cannot be read");
            }
        }
    }
    runners
}

/// What the first start would otherwise wait for: images taken in and found right, QEMU kept, KVM tried.
async fn prepare(context: Arc<Context>) {
    let images = context.images.clone();
    let disks = context.disks.clone();
    let folders = context.folders.clone();
    let files = tokio::task::spawn_blocking(move || {
        let current = images.current();
        let used: Vec<_> = [folders.workspaces(), folders.imports()]
            .into_iter()
            .flat_map(std::fs::read_dir)
            .flatten()
            .flatten()
            .map(|entry| disk::born_with(&entry.path()))
            .collect();
        // One that cannot be read may name any of them.
        match used.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(used) => {
                let used: Vec<_> = used.into_iter().flatten().collect();
                if let Err(error) = images.sweep(&used) {
                    tracing::warn!(%error, "old images cannot be removed");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "old images are kept: a disk's record is unreadable")
            }
        }
        let files = match &current {
            Ok(names) => images.files(names),
            Err(_) => return current.map(|names| images.files(&names)),
        };
        if let Err(error) = disks.adopt(&files.base) {
            tracing::warn!(%error, "the base image cannot be taken up");
        }
        if let Ok(names) = &current
            && let Err(error) = disks.publish(names, &files.base)
        {
            let error = crate::failure::chain(&error);
            tracing::warn!(
                error,
                "other hosts cannot have the base image from the store"
            );
        }
        Ok::<_, ImageError>(files)
    });
    match files.await {
        Ok(Ok(files)) => {
            if let Err(failure) = context
                .machines
                .get(&context.config, context.folders.data(), &files)
                .await
            {
                tracing::warn!(failure.message, "no virtual machine can start");
            }
        }
        Ok(Err(error)) => tracing::warn!(%error, "no virtual machine can start"),
        Err(error) => tracing::error!(%error, "the images could not be looked at"),
    }
}

impl Host for LocalHost {
    fn describe(&self) -> Later<'_, HostDescription> {
        Box::pin(async move {
            let context = &self.context;
            let layers = self.layers().await;
            let capacity = capacity::measure(context.folders.data());
            HostDescription {
                id: context.config.id.clone(),
                vcpus: capacity.cpus,
                memory_mib: capacity.memory_mib,
                memory_promised_mib: context.ledger.promised(&context.config.room).memory_mib,
                disk_free_mib: capacity.disk_free_mib,
                accelerator: context.accelerator().await,
                layers,
                version: env!("CARGO_PKG_VERSION").into(),
            }
        })
    }

    fn run(&self, spec: RunSpec) -> Later<'_, Result<(), HostError>> {
        Box::pin(self.run_now(spec))
    }

    fn stop(&self, workspace: &WorkspaceId, grace_ms: u64) -> Later<'_, Result<(), HostError>> {
        let workspace = workspace.clone();
        Box::pin(async move { self.stop_now(&workspace, grace_ms).await })
    }

    fn delete(&self, workspace: &WorkspaceId) -> Later<'_, Result<(), HostError>> {
        let workspace = workspace.clone();
        Box::pin(async move { self.delete_now(&workspace).await })
    }

    fn observe(&self, workspace: &WorkspaceId) -> Later<'_, Observed> {
        let observed = match self.runner(workspace) {
            Some(runner) => runner.state().observed(),
            None => Observed::Absent,
        };
        Box::pin(async move { observed })
    }

    fn inventory(&self) -> Later<'_, Vec<(WorkspaceId, Observed)>> {
        let runners = self.runners.lock().unwrap_or_else(PoisonError::into_inner);
        let inventory: Vec<_> = runners
            .iter()
            .map(|(workspace, runner)| (workspace.clone(), runner.state().observed()))
            .filter(|(_, observed)| *observed != Observed::Absent)
            .collect();
        Box::pin(async move { inventory })
    }

    fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.context.events.subscribe()
    }

    fn connect(
        &self,
        workspace: &WorkspaceId,
        stream: GuestStream,
    ) -> Later<'_, Result<Box<dyn ByteStream>, HostError>> {
        let monitor = self.reachable(workspace);
        Box::pin(async move {
            let stream = guest::connect(&monitor?.client, stream).await?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    fn retry_clone(&self, workspace: &WorkspaceId) -> Later<'_, Result<(), HostError>> {
        let runner = self.runner(workspace);
        Box::pin(async move {
            let runner = runner.ok_or(HostError::NotRunning)?;
            runner.ask(|answer| Mail::RetryClone { answer }).await
        })
    }

    fn repositories(
        &self,
        workspace: &WorkspaceId,
    ) -> Later<'_, Result<Vec<RepositoryStatus>, HostError>> {
        let monitor = self.reachable(workspace);
        Box::pin(async move {
            let monitor = monitor?;
            let failed = |error: guest_protocol::client::Error| HostError::Guest {
                message: error.to_string(),
            };
            let ask = async {
                let session = guest::session(&monitor.client, false).await?;
                session.repositories_status().await
            };
            let repositories =
                timeout(REPOSITORIES_WITHIN, ask)
                    .await
                    .map_err(|_| HostError::Guest {
                        message: "the workspace took too long to look".into(),
                    })?;
            let status =
                |repository: guest_protocol::frames::repositories::Repository| RepositoryStatus {
                    path: repository.path,
                    branch: repository.branch,
                    uncommitted: repository.uncommitted,
                    unpushed: repository.unpushed,
                    stashes: repository.stashes,
                    no_remote: repository.no_remote,
                    error: Some(repository.error).filter(|error| !error.is_empty()),
                };
            Ok(repositories
                .map_err(failed)?
                .into_iter()
                .map(status)
                .collect())
        })
    }

    fn saved_work(
        &self,
        workspace: &WorkspaceId,
        owner: &OrganizationId,
    ) -> Later<'_, Result<WorkListing, HostError>> {
        let requests = self.work(workspace, Some(owner));
        Box::pin(async move { requests.list().await })
    }

    fn save_work(&self, workspace: &WorkspaceId) -> Later<'_, Result<Vec<WorkSaved>, HostError>> {
        let requests = self.work(workspace, None);
        Box::pin(async move { requests.save().await })
    }

    fn restore_work(
        &self,
        workspace: &WorkspaceId,
        work: &WorkName,
    ) -> Later<'_, Result<WorkRestored, HostError>> {
        let (requests, work) = (self.work(workspace, None), work.clone());
        Box::pin(async move { requests.restore(&work).await })
    }

    fn bundle_work(
        &self,
        workspace: &WorkspaceId,
        owner: &OrganizationId,
        work: &WorkName,
    ) -> Later<'_, Result<Download, HostError>> {
        let (requests, work) = (self.work(workspace, Some(owner)), work.clone());
        Box::pin(async move { requests.bundle(&work).await })
    }

    fn figures(&self, workspace: &WorkspaceId) -> Later<'_, Result<GuestFigures, HostError>> {
        let monitor = self.reachable(workspace);
        Box::pin(async move { guest::figures(&monitor?.client).await })
    }

    fn console(&self, workspace: &WorkspaceId, bytes: u64) -> Later<'_, Result<String, HostError>> {
        let workspace = workspace.clone();
        Box::pin(async move {
            if self.runner(&workspace).is_none() {
                return Err(HostError::NotRunning);
            }
            Ok(end::console(&self.context, &workspace, bytes))
        })
    }

    fn largest_folders(
        &self,
        workspace: &WorkspaceId,
    ) -> Later<'_, Result<Vec<FolderSize>, HostError>> {
        let monitor = self.reachable(workspace);
        Box::pin(async move { largest(&monitor?.client).await })
    }

    fn grow_disk(
        &self,
        workspace: &WorkspaceId,
        disk_gib: u64,
    ) -> Later<'_, Result<(), HostError>> {
        let monitor = self.reachable(workspace);
        Box::pin(async move { guest::grow_disk(&monitor?.client, disk_gib << 30).await })
    }

    fn points(&self, workspace: &WorkspaceId) -> Later<'_, Result<Points, HostError>> {
        let (points, workspace) = (self.disk_points(), workspace.clone());
        Box::pin(async move { points.list(&workspace).await })
    }

    fn take_point(
        &self,
        workspace: &WorkspaceId,
        name: String,
    ) -> Later<'_, Result<Point, HostError>> {
        let (points, workspace) = (self.disk_points(), workspace.clone());
        Box::pin(async move { points.take(&workspace, &name, PointKind::Manual).await })
    }

    fn remove_point(
        &self,
        workspace: &WorkspaceId,
        number: u64,
    ) -> Later<'_, Result<(), HostError>> {
        let (points, workspace) = (self.disk_points(), workspace.clone());
        Box::pin(async move { points.give_up(&workspace, number).await })
    }

    fn download_disk(
        &self,
        workspace: &WorkspaceId,
        number: Option<u64>,
        part: DiskPart,
    ) -> Later<'_, Result<Download, HostError>> {
        let (points, workspace) = (self.disk_points(), workspace.clone());
        Box::pin(async move { points.download(&workspace, number, part).await })
    }

    fn go_back(&self, workspace: &WorkspaceId, number: u64) -> Later<'_, Result<Point, HostError>> {
        let (points, workspace) = (self.disk_points(), workspace.clone());
        Box::pin(async move { points.go_back(&workspace, number).await })
    }

    fn check_disk(
        &self,
        workspace: &WorkspaceId,
        number: Option<u64>,
    ) -> Later<'_, Result<Steps<DiskCheck>, HostError>> {
        let (points, workspace) = (self.disk_points(), workspace.clone());
        Box::pin(async move { points.check(&workspace, number).await })
    }

    fn compact_disk(&self, workspace: &WorkspaceId) -> Later<'_, Result<Compaction, HostError>> {
        let (points, workspace) = (self.disk_points(), workspace.clone());
        Box::pin(async move { points.compact(&workspace).await })
    }

    fn collect(&self, dry: bool) -> Later<'_, Result<Vec<Collection>, HostError>> {
        Box::pin(async move { collection::once(&self.context.disks, dry).await })
    }

    fn usage(&self, owner: &OrganizationId) -> Later<'_, Result<HostUsage, HostError>> {
        let (context, owner) = (self.context.clone(), owner.clone());
        Box::pin(async move { usage::usage(context, &owner).await })
    }

    fn import_disk(&self, import: Import) -> Later<'_, Result<Steps<(Origin, u64)>, HostError>> {
        Box::pin(import::import(self.context.clone(), import))
    }
}
