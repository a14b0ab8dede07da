//! A control plane with a world of its own: folder, database, clock that can be moved, script of a host.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use control_plane::world::World as Clockwork;
use control_plane::{ControlConfig, ControlPlane};
use fleet_api::ticket::TicketKey;
use model::{Limits, Size};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::script::Script;

pub const TICKETS: [u8; 32] = [7; 32];

/// The world that outlives a control plane.
pub struct World {
    pub folder: TempDir,
    pub host: Arc<Script>,
    /// Added to the clock, in milliseconds.
    pub later_ms: Arc<AtomicU64>,
}

impl World {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            host: Arc::new(Script::default()),
            later_ms: Arc::default(),
        }
    }

    pub fn config(&self) -> ControlConfig {
        config(self.folder.path(), self.later_ms.clone())
    }

    pub async fn open(&self) -> ControlPlane {
        let control = ControlPlane::open(self.config()).await.unwrap();
        control.attach_host(self.host.clone()).await;
        control
    }

    /// Moves the clock.
    pub fn wait_ms(&self, by: u64) {
        self.later_ms.fetch_add(by, Ordering::SeqCst);
    }
}

pub fn config(folder: &Path, later_ms: Arc<AtomicU64>) -> ControlConfig {
    let real = Clockwork::real();
    let clock = real.clone();
    ControlConfig {
        folder: folder.into(),
        database: None,
        domain: "localhost".into(),
        limits: Limits::default(),
        default_size: Size::default(),
        seal_key: vec![3; 32],
        tickets: TicketKey::new(&TICKETS),
        version: "0.0.0".into(),
        world: real.with_clock(move || clock.now_ms() + later_ms.load(Ordering::SeqCst)),
    }
}

/// A control plane that drives its host.
pub struct Running {
    pub control: Arc<ControlPlane>,
    task: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Running {
    pub async fn new(world: &World) -> Self {
        let control = Arc::new(world.open().await);
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (control, stop) = (control.clone(), stop.clone());
            async move { control.run(stop).await }
        });
        Self {
            control,
            task: Some(task),
            stop,
        }
    }

    /// As if its process were killed.
    pub async fn kill(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
        self.control.close().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
