//! A host whose machines are a script: it does what it is told at once, or hangs or fails where a test says.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::MutexGuard;

use fleet_api::host::{
    Accelerator, ByteStream, CloneState, FailureKind, FolderSize, GuestFigures, GuestStream, Host,
    HostDescription, HostError, HostEvent, HostEventKind, Layer, Observed, RepositoryStatus,
    RunSpec, StartFailure,
};
use fleet_api::points::{DiskPart, Origin, Point, PointKind, Points};
use fleet_api::upkeep::{
    CheckedVersion, Collection, Compaction, Damage, DiskCheck, Import, Keeper, Step, Steps,
};
use fleet_api::usage::HostUsage;
use fleet_api::work::{ListedWork, SaveOutcome, WorkListing, WorkName, WorkRestored, WorkSaved};
use fleet_api::{Download, Later};
use futures::StreamExt;
use model::{OrganizationId, WorkspaceId};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, broadcast};

pub struct Script {
    state: Mutex<State>,
    events: broadcast::Sender<HostEvent>,
    /// Somebody hangs.
    pub hanging: Notify,
}

#[derive(Default)]
pub struct State {
    pub machines: BTreeMap<WorkspaceId, Machine>,
    /// Every call that changes something.
    pub calls: Vec<String>,
    /// The call of this number, counted from 0, never returns: killed before or after its effect.
    pub hang: Option<(usize, When)>,
    pub no_room: Option<String>,
    /// Starts stay at `Starting` until a test moves them.
    pub slow: bool,
    pub clone_fails: bool,
    pub refuse: Option<HostError>,
    pub silent: bool,
    pub repositories: Vec<RepositoryStatus>,
    /// Of every workspace.
    pub points: Vec<Point>,
    /// Of every disk.
    pub damage: Vec<Damage>,
    pub usage: HostUsage,
    /// So much larger than usual the disks were that points are taken of.
    pub larger_gib: u64,
    pub work: WorkListing,
    pub refuse_work: Option<HostError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

#[derive(Clone, Debug)]
pub struct Machine {
    pub spec: RunSpec,
    pub observed: Observed,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            events: broadcast::channel(1024).0,
            hanging: Notify::new(),
        }
    }
}

impl Script {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn running(&self, workspace: &WorkspaceId) -> Result<MutexGuard<'_, State>, HostError> {
        let state = self.state();
        let machine = state.machines.get(workspace);
        match machine.map(|machine| &machine.observed) {
            Some(Observed::Running { .. }) => Ok(state),
            _ => Err(HostError::NotRunning),
        }
    }

    /// What is seen from now on.
    pub fn show(&self, workspace: &WorkspaceId, observed: Observed) {
        let epoch = {
            let mut state = self.state();
            let machine = state.machines.get_mut(workspace).unwrap();
            machine.observed = observed.clone();
            machine.spec.epoch
        };
        self.tell(workspace, epoch, HostEventKind::Changed { observed });
    }

    fn tell(&self, workspace: &WorkspaceId, epoch: u64, what: HostEventKind) {
        let at_ms = control_plane::world::World::real().now_ms();
        let _ = self.events.send(HostEvent {
            workspace: workspace.clone(),
            epoch,
            at_ms,
            what,
        });
    }

    /// Counts the call, and hangs for ever if a test wants that.
    async fn call(&self, name: String, effect: impl FnOnce(&mut State) + Send) {
        let when = {
            let mut state = self.state();
            let number = state.calls.len();
            state.calls.push(name);
            let when = state
                .hang
                .filter(|(at, _)| *at == number)
                .map(|(_, when)| when);
            if when != Some(When::Before) {
                effect(&mut state);
            }
            when
        };
        if when.is_some() {
            self.hanging.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn steps(&self, spec: &RunSpec) {
        let step = |step: &str, what: fn(String) -> HostEventKind| {
            self.tell(&spec.workspace, spec.epoch, what(step.into()));
        };
        for name in ["disk", "network", "vmm", "boot", "configure"] {
            step(name, |step| HostEventKind::StepStarted { step });
            step(name, |step| HostEventKind::StepProgress {
                step,
                detail: "half way".into(),
                percent: Some(100),
            });
            step(name, |step| HostEventKind::StepFinished {
                step,
                took_ms: 5,
                failure: None,
            });
        }
    }
}

impl State {
    fn take(&mut self, name: String, kind: PointKind) -> Point {
        let number = 1 + self.points.last().map_or(0, |point| point.number);
        let point = Point {
            number,
            name,
            kind,
            taken_ms: 0,
            size: (16 + self.larger_gib) << 30,
            stored: 4096,
            alone: 0,
            follows: None,
        };
        self.points.push(point.clone());
        point
    }

    fn find(&self, work: &WorkName) -> Result<ListedWork, HostError> {
        let found = self.work.saved.iter().find(|one| one.saved.name == *work);
        found.cloned().ok_or_else(|| HostError::Missing {
            message: "nothing is saved under that name".into(),
        })
    }

    fn machine_after_run(&self, spec: &RunSpec) -> Observed {
        let epoch = spec.epoch;
        if self.slow {
            return Observed::Starting { epoch };
        }
        let clone = if self.clone_fails && spec.repository.is_some() {
            CloneState::Failed {
                failure: clone_failure(),
            }
        } else {
            CloneState::Ready
        };
        Observed::Running {
            epoch,
            clone,
            unresponsive: false,
        }
    }
}

pub fn clone_failure() -> StartFailure {
    StartFailure {
        kind: FailureKind::CloneCredentials,
        message: "The server wants credentials.".into(),
        log: "fatal: Authentication failed".into(),
    }
}

impl Host for Script {
    fn describe(&self) -> Later<'_, HostDescription> {
        Box::pin(async {
            HostDescription {
                id: "scripted".into(),
                vcpus: 4,
                memory_mib: 8192,
                memory_promised_mib: 0,
                disk_free_mib: 100_000,
                accelerator: Accelerator::Process,
                layers: vec![Layer {
                    name: "network".into(),
                    on: false,
                    isolation: true,
                    detail: "none".into(),
                    remedy: Some("run as root".into()),
                }],
                version: "0".into(),
            }
        })
    }

    fn run(&self, spec: RunSpec) -> Later<'_, Result<(), HostError>> {
        Box::pin(async move {
            {
                let state = self.state();
                if let Some(message) = &state.no_room {
                    return Err(HostError::NoRoom {
                        message: message.clone(),
                    });
                }
                if let Some(error) = &state.refuse {
                    return Err(error.clone());
                }
                if let Some(machine) = state.machines.get(&spec.workspace)
                    && machine.spec.epoch > spec.epoch
                {
                    return Err(HostError::Fenced {
                        given: spec.epoch,
                        known: machine.spec.epoch,
                    });
                }
            }
            let name = format!("run {} {}", spec.name, spec.epoch);
            let taken = spec.clone();
            self.call(name, |state| {
                let alive = state.machines.get(&taken.workspace).is_some_and(|machine| {
                    matches!(
                        machine.observed,
                        Observed::Running { .. } | Observed::Starting { .. }
                    )
                });
                if !alive {
                    let observed = state.machine_after_run(&taken);
                    state.machines.insert(
                        taken.workspace.clone(),
                        Machine {
                            spec: taken,
                            observed,
                        },
                    );
                }
            })
            .await;
            self.steps(&spec);
            let observed = self.state().machines[&spec.workspace].observed.clone();
            self.tell(
                &spec.workspace,
                spec.epoch,
                HostEventKind::Changed { observed },
            );
            Ok(())
        })
    }

    fn stop(&self, workspace: &WorkspaceId, _: u64) -> Later<'_, Result<(), HostError>> {
        let workspace = workspace.clone();
        Box::pin(async move {
            if !self.state().machines.contains_key(&workspace) {
                return Err(HostError::NotRunning);
            }
            self.call("stop".into(), |state| {
                if let Some(machine) = state.machines.get_mut(&workspace) {
                    machine.observed = Observed::Stopped {
                        epoch: machine.spec.epoch,
                    };
                }
            })
            .await;
            Ok(())
        })
    }

    fn delete(&self, workspace: &WorkspaceId) -> Later<'_, Result<(), HostError>> {
        let workspace = workspace.clone();
        Box::pin(async move {
            self.call("delete".into(), |state| {
                state.machines.remove(&workspace);
            })
            .await;
            Ok(())
        })
    }

    fn observe(&self, workspace: &WorkspaceId) -> Later<'_, Observed> {
        let state = self.state();
        let observed = match state.machines.get(workspace) {
            _ if state.silent => Observed::Unknown {
                reason: "a test says so".into(),
            },
            Some(machine) => machine.observed.clone(),
            None => Observed::Absent,
        };
        Box::pin(async { observed })
    }

    fn inventory(&self) -> Later<'_, Vec<(WorkspaceId, Observed)>> {
        let state = self.state();
        let all = state
            .machines
            .iter()
            .map(|(id, machine)| (id.clone(), machine.observed.clone()));
        let all = all.collect();
        Box::pin(async { all })
    }

    fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.events.subscribe()
    }

    fn connect(
        &self,
        _: &WorkspaceId,
        _: GuestStream,
    ) -> Later<'_, Result<Box<dyn ByteStream>, HostError>> {
        Box::pin(async { Err(HostError::NotRunning) })
    }

    fn retry_clone(&self, workspace: &WorkspaceId) -> Later<'_, Result<(), HostError>> {
        let workspace = workspace.clone();
        Box::pin(async move {
            self.call("retry-clone".into(), |state| {
                let fails = state.clone_fails;
                if let Some(machine) = state.machines.get_mut(&workspace)
                    && let Observed::Running { clone, .. } = &mut machine.observed
                    && !fails
                {
                    *clone = CloneState::Ready;
                }
            })
            .await;
            Ok(())
        })
    }

    fn repositories(&self, _: &WorkspaceId) -> Later<'_, Result<Vec<RepositoryStatus>, HostError>> {
        let repositories = self.state().repositories.clone();
        Box::pin(async { Ok(repositories) })
    }

    fn saved_work(
        &self,
        _: &WorkspaceId,
        owner: &OrganizationId,
    ) -> Later<'_, Result<WorkListing, HostError>> {
        let state = self.state();
        let listing = match &state.refuse_work {
            Some(error) => Err(error.clone()),
            None => Ok(state.work.clone()),
        };
        assert!(!owner.as_str().is_empty());
        Box::pin(async { listing })
    }

    fn save_work(&self, workspace: &WorkspaceId) -> Later<'_, Result<Vec<WorkSaved>, HostError>> {
        let saved = self.running(workspace).map(|state| {
            let saved = state.work.saved.first();
            let saved = saved.map(|listed| &listed.saved);
            let outcome = saved.map_or(SaveOutcome::Clean, |saved| SaveOutcome::Saved {
                reference: saved.name.reference.clone(),
                files: saved.files,
                before: true,
                stored: true,
            });
            let failed = SaveOutcome::Failed {
                message: "git is at work".into(),
            };
            [("/workspaces/app", outcome), ("/workspaces/busy", failed)]
                .map(|(path, outcome)| WorkSaved {
                    path: path.into(),
                    outcome,
                    left_out: vec!["large.iso".into()],
                })
                .into()
        });
        Box::pin(async { saved })
    }

    fn restore_work(
        &self,
        workspace: &WorkspaceId,
        work: &WorkName,
    ) -> Later<'_, Result<WorkRestored, HostError>> {
        let restored = self.running(workspace).and_then(|mut state| {
            state.find(work)?;
            state.calls.push(format!("restore {}", work.reference));
            let before = "refs/roost/wip/main/20260921T150000.000Z".into();
            Ok(WorkRestored { before, files: 3 })
        });
        Box::pin(async { restored })
    }

    fn bundle_work(
        &self,
        _: &WorkspaceId,
        _: &OrganizationId,
        work: &WorkName,
    ) -> Later<'_, Result<Download, HostError>> {
        let found = self.state().find(work);
        Box::pin(async {
            let bundle = found?.bundle;
            Ok(Download {
                bytes: bundle,
                content: Box::new(&b"a bundle"[..]),
            })
        })
    }

    fn figures(&self, _: &WorkspaceId) -> Later<'_, Result<GuestFigures, HostError>> {
        Box::pin(async {
            Ok(GuestFigures {
                cpu: 0.5,
                cpus: 2,
                memory_used: 1 << 29,
                memory_total: 1 << 30,
                disk_used: 1 << 31,
                disk_total: 1 << 34,
            })
        })
    }

    fn console(&self, _: &WorkspaceId, bytes: u64) -> Later<'_, Result<String, HostError>> {
        Box::pin(async move { Ok(format!("the last {bytes} bytes")) })
    }

    fn largest_folders(&self, _: &WorkspaceId) -> Later<'_, Result<Vec<FolderSize>, HostError>> {
        Box::pin(async {
            Ok(vec![FolderSize {
                path: "/workspaces/app/target".into(),
                bytes: 1 << 30,
            }])
        })
    }

    fn grow_disk(
        &self,
        workspace: &WorkspaceId,
        disk_gib: u64,
    ) -> Later<'_, Result<(), HostError>> {
        let mut state = self.state();
        let machine = state.machines.get_mut(workspace).unwrap();
        machine.spec.size.disk_gib = disk_gib;
        Box::pin(async { Ok(()) })
    }

    fn points(&self, _: &WorkspaceId) -> Later<'_, Result<Points, HostError>> {
        let points = Points {
            points: self.state().points.clone(),
            ..Points::default()
        };
        Box::pin(async { Ok(points) })
    }

    fn take_point(&self, _: &WorkspaceId, name: String) -> Later<'_, Result<Point, HostError>> {
        let point = self.state().take(name, PointKind::Manual);
        Box::pin(async { Ok(point) })
    }

    fn remove_point(&self, _: &WorkspaceId, number: u64) -> Later<'_, Result<(), HostError>> {
        self.state().points.retain(|point| point.number != number);
        Box::pin(async { Ok(()) })
    }

    fn download_disk(
        &self,
        workspace: &WorkspaceId,
        number: Option<u64>,
        part: DiskPart,
    ) -> Later<'_, Result<Download, HostError>> {
        let known = self
            .state()
            .points
            .iter()
            .any(|point| Some(point.number) == number);
        let content = format!("{workspace} {number:?} {part:?}");
        Box::pin(async move {
            if let Some(number) = number.filter(|_| !known) {
                return Err(HostError::NoPoint { number });
            }
            Ok(Download {
                bytes: Some(content.len() as u64),
                content: Box::new(std::io::Cursor::new(content)),
            })
        })
    }

    fn go_back(&self, workspace: &WorkspaceId, number: u64) -> Later<'_, Result<Point, HostError>> {
        let mut state = self.state();
        let rests = |machine: &Machine| matches!(machine.observed, Observed::Stopped { .. });
        let gone = if state.machines.get(workspace).is_some_and(rests) {
            let found = state.points.iter().any(|point| point.number == number);
            found
                .then(|| state.take("Before going back".into(), PointKind::Branch))
                .ok_or(HostError::NoPoint { number })
        } else {
            Err(HostError::NotAtRest)
        };
        Box::pin(async { gone })
    }

    fn check_disk(
        &self,
        _: &WorkspaceId,
        number: Option<u64>,
    ) -> Later<'_, Result<Steps<DiskCheck>, HostError>> {
        let state = self.state();
        let wanted = |point: &&Point| number.is_none_or(|number| point.number == number);
        let versions: Vec<_> = state.points.iter().filter(wanted).collect();
        let versions = versions.into_iter().map(|point| CheckedVersion {
            number: point.number,
            name: Some(point.name.clone()),
            is_now: false,
        });
        let check = DiskCheck {
            versions: versions.collect(),
            damage: state.damage.clone(),
            ..DiskCheck::default()
        };
        let ended = match number {
            Some(number) if check.versions.is_empty() => Err(HostError::NoPoint { number }),
            _ => Ok(check),
        };
        let steps = [Step::Progress { done: 1, of: 2 }, Step::Ended(ended)];
        Box::pin(async { Ok(futures::stream::iter(steps).boxed()) })
    }

    fn compact_disk(&self, workspace: &WorkspaceId) -> Later<'_, Result<Compaction, HostError>> {
        let rests = match self
            .state()
            .machines
            .get(workspace)
            .map(|one| &one.observed)
        {
            Some(Observed::Stopped { .. }) => Ok(Compaction {
                moved: 4096,
                ..Compaction::default()
            }),
            _ => Err(HostError::NotAtRest),
        };
        Box::pin(async { rests })
    }

    fn collect(&self, dry: bool) -> Later<'_, Result<Vec<Collection>, HostError>> {
        let state = self.state();
        let disks = state.machines.keys().map(ToString::to_string);
        let kept = disks.chain(["base-1".to_owned()]).map(|disk| Keeper {
            disk,
            points: 0,
            stored: 100,
            alone: 50,
        });
        let collection = Collection {
            tenant: "everybody".into(),
            deleted: if dry { 0 } else { 7 },
            kept: kept.collect(),
            ..Collection::default()
        };
        Box::pin(async { Ok(vec![collection]) })
    }

    fn usage(&self, _: &OrganizationId) -> Later<'_, Result<HostUsage, HostError>> {
        let state = self.state();
        let usage = match state.silent {
            true => Err(HostError::Failed {
                message: "the store is away".into(),
            }),
            false => Ok(state.usage.clone()),
        };
        Box::pin(async { usage })
    }

    fn import_disk(
        &self,
        mut import: Import,
    ) -> Later<'_, Result<Steps<(Origin, u64)>, HostError>> {
        Box::pin(async move {
            let mut file = Vec::new();
            let read = import.content.read_to_end(&mut file).await;
            if read.is_err() || file.starts_with(b"bad") {
                return Err(HostError::Unusable {
                    message: "the file is no disk".into(),
                });
            }
            assert_eq!(import.bytes, Some(file.len() as u64));
            let origin = Origin {
                workspace: WorkspaceId::new("import-1"),
                number: 1,
            };
            let steps = [
                Step::Progress { done: 1, of: 2 },
                Step::Ended(Ok((origin, (file.len() as u64) << 30))),
            ];
            Ok(futures::stream::iter(steps).boxed())
        })
    }
}
