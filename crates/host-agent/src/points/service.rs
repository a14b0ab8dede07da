//! Takes points, lists them, gives them up and goes back to them: of a machine that runs through its monitor, of
//! one that rests here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet_api::host::{HostError, RunSpec, StartFailure};
use fleet_api::points::{Point, PointKind, Points};
use model::WorkspaceId;
use monitor_protocol::client::MonitorError;
use monitor_protocol::messages::{Disk, DiskStatus, Forget, request};
use storage::collect::Usage;
use tokio::time::timeout;

use super::{live, message, new, of_usage, retention};
use crate::config::Driver;
use crate::failure::chain;
use crate::runner::disk::Resting;
use crate::runner::state::State;
use crate::runner::steps::now_ms;
use crate::runner::watch::Monitor;
use crate::runner::{Context, Runner, record};

/// Of a host. The owners of its workspaces end with the last of these.
pub type Runners = Arc<Mutex<HashMap<WorkspaceId, Runner>>>;

/// What is to be sent is a few seconds old at most; a store that does not take it in so long is away.
const STORED_WITHIN: Duration = Duration::from_secs(120);
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether a point is due.
const LOOKED_EVERY: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone)]
pub struct Service {
    pub context: Arc<Context>,
    pub runners: Runners,
}

pub(crate) fn failed(message: impl Into<String>) -> HostError {
    HostError::Failed {
        message: message.into(),
    }
}

impl Service {
    pub async fn list(&self, workspace: &WorkspaceId) -> Result<Points, HostError> {
        let mut points = of_usage(&self.usage(workspace).await?);
        if let Some(status) = self.status(workspace).await {
            points.now.size = status.size;
            points.now.live = Some(live(status));
        }
        Ok(points)
    }

    pub async fn take(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        kind: PointKind,
    ) -> Result<Point, HostError> {
        let point = new(name, kind);
        let id = point.id;
        match self.running(workspace) {
            Some(monitor) => ask(&monitor, request::Body::Point(message(&point))).await?,
            None => {
                self.at_rest(workspace, move |resting| {
                    resting.act(|disk| disk.upload(disk.cut()?, Some(&point)).map(drop))
                })
                .await?;
            }
        }
        let usage = self.usage(workspace).await?;
        let is_it = |number| {
            let of = |version: &&storage::collect::Kept| version.manifest.version.number == number;
            let version = usage.versions.iter().find(of);
            let named = version.and_then(|version| version.manifest.point.as_ref());
            named.is_some_and(|named| named.id == id)
        };
        let mut points = of_usage(&usage).points.into_iter();
        points
            .find(|point| is_it(point.number))
            .ok_or_else(|| failed("the point was given up as soon as it was taken"))
    }

    pub async fn give_up(&self, workspace: &WorkspaceId, number: u64) -> Result<(), HostError> {
        if self.find(workspace, number).await?.is_none() {
            return Ok(());
        }
        match self.running(workspace) {
            Some(monitor) => ask(&monitor, request::Body::Forget(Forget { version: number })).await,
            None => {
                self.at_rest(workspace, move |resting| {
                    resting.act(|disk| disk.forget(number))
                })
                .await
            }
        }
    }

    pub async fn go_back(&self, workspace: &WorkspaceId, number: u64) -> Result<Point, HostError> {
        let to = self.find(workspace, number).await?;
        let to = to.ok_or(HostError::NoPoint { number })?;
        let branch = new(
            &format!("Before going back to {}", to.name),
            PointKind::Branch,
        );
        let left = self
            .at_rest(workspace, move |resting| resting.go_back(number, &branch))
            .await?;
        let branch = self.find(workspace, left).await?;
        branch.ok_or_else(|| failed("what was left behind is not kept any more"))
    }

    pub(super) async fn find(
        &self,
        workspace: &WorkspaceId,
        number: u64,
    ) -> Result<Option<Point>, HostError> {
        let points = of_usage(&self.usage(workspace).await?).points;
        Ok(points.into_iter().find(|point| point.number == number))
    }

    pub(crate) async fn usage(&self, workspace: &WorkspaceId) -> Result<Usage, HostError> {
        let run = self.wanted(workspace)?;
        let disks = self.context.disks.clone();
        let usage = blocking(move || disks.usage(&run)).await?;
        usage.map_err(|error| failed(chain(&error)))
    }

    async fn status(&self, workspace: &WorkspaceId) -> Option<DiskStatus> {
        let monitor = self.running(workspace)?;
        let asked = monitor.client.ask_disk(request::Body::Disk(Disk {}));
        timeout(ANSWERS_WITHIN, asked).await.ok()?.ok()
    }

    /// What was wanted of the workspace last.
    pub(crate) fn wanted(&self, workspace: &WorkspaceId) -> Result<RunSpec, HostError> {
        if let Driver::Process { .. } = self.context.config.driver {
            return Err(failed(
                "a workspace without a virtual machine has no disk of its own",
            ));
        }
        let path = self.context.folders.record(workspace);
        let record = record::read(&path).map_err(|_| no_disk())?;
        Ok(record.spec)
    }

    fn state(&self, workspace: &WorkspaceId) -> Option<State> {
        let runners = self.runners.lock().unwrap_or_else(PoisonError::into_inner);
        runners.get(workspace).map(Runner::state)
    }

    /// The monitor of a machine that has its disk open.
    pub(super) fn running(&self, workspace: &WorkspaceId) -> Option<Monitor> {
        matches!(self.state(workspace), Some(State::Running { .. }))
            .then(|| Monitor::new(&self.context.folders.monitor(workspace)))
    }

    /// Works on the disk of a machine that rests; a start that comes meanwhile waits.
    pub(crate) async fn at_rest<T: Send + 'static>(
        &self,
        workspace: &WorkspaceId,
        work: impl FnOnce(&Resting<'_>) -> Result<T, StartFailure> + Send + 'static,
    ) -> Result<T, HostError> {
        let context = self.context.clone();
        let alone = context.at_rest.enter(workspace).await;
        match self.state(workspace) {
            Some(State::Stopped { .. } | State::Failed { .. }) => {}
            Some(_) => return Err(HostError::NotAtRest),
            None => return Err(no_disk()),
        }
        let run = self.wanted(workspace)?;
        let folder = context.folders.workspace(workspace);
        let worked = blocking(move || {
            // Until it is done, also when nobody waits for it any more.
            let _alone = alone;
            work(&Resting {
                images: &context.images,
                disks: &context.disks,
                folder: &folder,
                run: &run,
            })
        });
        worked.await?.map_err(|failure| failed(failure.message))
    }

    /// Takes a point of each machine that runs when one is due, and gives up those that the rules do not keep.
    async fn keep_all(&self, every: Duration) {
        let running: Vec<WorkspaceId> = {
            let runners = self.runners.lock().unwrap_or_else(PoisonError::into_inner);
            let runs = |runner: &Runner| matches!(runner.state(), State::Running { .. });
            let running = runners.iter().filter(|(_, runner)| runs(runner));
            running.map(|(workspace, _)| workspace.clone()).collect()
        };
        for workspace in running {
            if let Err(error) = self.keep(&workspace, every).await {
                tracing::warn!(%workspace, %error, "no point in time was taken");
            }
        }
    }

    async fn keep(&self, workspace: &WorkspaceId, every: Duration) -> Result<(), HostError> {
        let usage = self.usage(workspace).await?;
        let points = of_usage(&usage).points;
        let newest = usage.versions.last();
        let is_named = newest.is_none_or(|newest| newest.manifest.point.is_some());
        let unsent = self.status(workspace).await.map_or(0, |disk| disk.unsent);
        let last = points.iter().map(|point| point.taken_ms).max();
        // A disk without points has just begun: what it began with can be had anew.
        let since =
            last.unwrap_or_else(|| newest.map_or(now_ms(), |kept| kept.manifest.written_ms));
        let is_due = now_ms().saturating_sub(since) >= every.as_millis() as u64;
        if !every.is_zero() && is_due && (!is_named || unsent > 0) {
            self.take(workspace, "Automatic", PointKind::Automatic)
                .await?;
        }
        for number in retention::expired(&points, now_ms()) {
            self.give_up(workspace, number).await?;
        }
        Ok(())
    }
}

/// Takes and gives up points for as long as the host is there; with `every` zero it takes none.
pub async fn keep_points(service: Service, every: Duration) {
    let (context, runners) = (service.context, Arc::downgrade(&service.runners));
    drop(service.runners);
    loop {
        tokio::time::sleep(LOOKED_EVERY).await;
        let Some(runners) = runners.upgrade() else {
            return;
        };
        let service = Service {
            context: context.clone(),
            runners,
        };
        service.keep_all(every).await;
    }
}

async fn ask(monitor: &Monitor, body: request::Body) -> Result<(), HostError> {
    match timeout(STORED_WITHIN, monitor.client.ask_disk(body)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(MonitorError::Gone { .. })) => Err(HostError::NotRunning),
        Ok(Err(error)) => Err(failed(chain(&error))),
        Err(_) => Err(failed(
            "the store has not confirmed it within two minutes: it is done as soon as the store answers again",
        )),
    }
}

fn no_disk() -> HostError {
    failed("the workspace has no disk yet: start it once")
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HostError> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.map_err(|error| failed(error.to_string()))
}
