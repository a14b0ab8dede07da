//! The task that owns a workspace.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fleet_api::host::{CloneState, FailureKind, HostError, RunSpec, StartFailure};
use guest_protocol::frames::Configured;
use model::WorkspaceId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admission::NoRoom;
use crate::capacity;
use crate::config::Driver;
use crate::failure::failure;
use crate::git::relay::RelayDoor;
use crate::runner::clone::Clone as Cloning;
use crate::runner::context::Context;
use crate::runner::end;
use crate::runner::handle::Mail;
use crate::runner::record::{self, FORMAT, Record, Stage};
use crate::runner::start::{Outcome, Start};
use crate::runner::state::{self, Effect, Event, Health, Refusal, State};
use crate::runner::steps::Teller;
use crate::runner::watch::{Monitor, follow};
use crate::work::keeping;

/// Requests that wait; more are told that the workspace is busy.
const MAILBOX: usize = 16;

/// Starts the owner of a workspace, which goes on from `state`.
pub(super) fn spawn(
    context: Arc<Context>,
    workspace: WorkspaceId,
    record: Option<Record>,
    state: State,
) -> (mpsc::Sender<Mail>, watch::Receiver<State>) {
    let (mailbox, mail) = mpsc::channel(MAILBOX);
    let (publish, seen) = watch::channel(state.clone());
    let (happenings, happened) = mpsc::channel(64);
    let owner = Owner {
        context,
        workspace,
        record,
        state,
        publish,
        happenings,
        life: 0,
        door: None,
        start: None,
        clone: None,
        watcher: None,
        keeper: None,
        end: None,
        written: None,
        looked: None,
    };
    tokio::spawn(owner.run(mail, happened));
    (mailbox, seen)
}

/// An event of a job, and of which life of the machine it speaks.
struct Happening {
    life: u64,
    event: Event,
    /// From the start job.
    configured: Option<Configured>,
}

/// Looks like an abort when it is dropped.
struct Job(JoinHandle<()>);

impl Drop for Job {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Owner {
    context: Arc<Context>,
    workspace: WorkspaceId,
    record: Option<Record>,
    state: State,
    publish: watch::Sender<State>,
    happenings: mpsc::Sender<Happening>,
    /// Counts machines: what an earlier one's jobs still say is not listened to.
    life: u64,
    door: Option<Arc<RelayDoor>>,
    start: Option<CancellationToken>,
    clone: Option<Job>,
    watcher: Option<Job>,
    /// Brings saved work to the store.
    keeper: Option<Job>,
    /// Hurries the job that ends the machine.
    end: Option<CancellationToken>,
    /// What is on disk.
    written: Option<Record>,
    /// The early look at the repository.
    looked: Option<JoinHandle<Result<(), StartFailure>>>,
}

impl Owner {
    async fn run(
        mut self,
        mut mail: mpsc::Receiver<Mail>,
        mut happened: mpsc::Receiver<Happening>,
    ) {
        self.take_up().await;
        loop {
            tokio::select! {
                biased;
                Some(happening) = happened.recv() => {
                    if happening.life == self.life {
                        self.happened(happening).await;
                    }
                }
                asked = mail.recv() => match asked {
                    Some(asked) => self.asked(asked).await,
                    None => return,
                },
            }
        }
    }

    async fn happened(&mut self, happening: Happening) {
        if let Some(configured) = happening.configured {
            self.start = None;
            if let Some(record) = &mut self.record {
                record.guest_folder = Some(configured.folder);
            }
        }
        if let Err(error) = self.event(happening.event).await {
            tracing::error!(workspace = %self.workspace, %error, "a job's event was refused");
        }
    }

    /// Goes on from the state that was found.
    async fn take_up(&mut self) {
        let Some(record) = &self.record else { return };
        let epoch = record.spec.epoch;
        tracing::info!(workspace = %self.workspace, epoch, state = ?self.state, "taken up");
        if self.state.has_machine() {
            self.context.ledger.note(&self.workspace, record.spec.size);
            self.life += 1;
            if let Err(error) = self.open_door() {
                tracing::error!(workspace = %self.workspace, %error, "git of this guest is not relayed");
            }
        } else {
            end::clear(&self.context, &self.workspace).await;
        }
        match self.state.clone() {
            State::Starting { .. } => {
                let monitor = Monitor::new(&self.context.folders.monitor(&self.workspace));
                self.start(monitor.folder.monitor().is_some());
            }
            State::Running { clone, .. } => {
                self.watch();
                if clone == CloneState::Running {
                    self.clone(false);
                }
            }
            State::Stopping { .. } => self.end(None, false),
            State::Deleting { .. } => self.remove(),
            State::Absent | State::Stopped { .. } | State::Failed { .. } => {}
        }
        self.save();
    }

    async fn asked(&mut self, mail: Mail) {
        match mail {
            Mail::Run { spec, answer } => {
                let outcome = self.run_asked(*spec).await;
                let _ = answer.send(outcome);
            }
            Mail::Stop { grace_ms, answer } => {
                let _ = answer.send(self.event(Event::Stop { grace_ms }).await);
            }
            Mail::Delete { answer } => {
                let _ = answer.send(self.event(Event::Delete).await);
            }
            Mail::RetryClone { answer } => {
                let _ = answer.send(self.event(Event::RetryClone).await);
            }
        }
    }

    async fn run_asked(&mut self, spec: RunSpec) -> Result<(), HostError> {
        let event = Event::Run { epoch: spec.epoch };
        let (next, _) = state::step(&self.state, &event).map_err(refused)?;
        if next.has_machine() && !self.state.has_machine() {
            let capacity = capacity::measure(self.context.folders.data());
            let room = &self.context.config.room;
            self.context
                .ledger
                .reserve(&self.workspace, spec.size, capacity, room)
                .map_err(|error: NoRoom| HostError::NoRoom {
                    message: error.to_string(),
                })?;
            let attempts = self
                .record
                .as_ref()
                .map_or(0, |record| record.clone_attempts);
            let record = Record {
                format: FORMAT,
                spec,
                stage: Stage::Starting,
                boot: record::this_boot(),
                clone_attempts: attempts,
                guest_folder: None,
            };
            if let Err(error) = self.path().and_then(|path| record::write(&path, &record)) {
                self.context.ledger.release(&self.workspace);
                return Err(HostError::Failed {
                    message: format!("the workspace's record cannot be written: {error}"),
                });
            }
            self.written = Some(record.clone());
            self.record = Some(record);
        } else if let Some(record) = &mut self.record {
            record.spec.epoch = spec.epoch;
        }
        self.event(event).await
    }

    /// One step of the machine, saved, done and told.
    async fn event(&mut self, event: Event) -> Result<(), HostError> {
        let (next, effects) = state::step(&self.state, &event).map_err(refused)?;
        if next == self.state && effects.is_empty() {
            return Ok(());
        }
        let changed = next != self.state;
        if changed {
            tracing::info!(workspace = %self.workspace, from = ?self.state, to = ?next, "state");
        }
        let had_machine = self.state.has_machine();
        let answered = matches!(
            self.state,
            State::Running {
                health: Health::Answers,
                ..
            }
        );
        let was_starting = matches!(self.state, State::Starting { .. });
        self.state = next;
        // What is on disk is never behind what is done about it.
        self.save();
        if had_machine && !self.state.has_machine() {
            self.machine_gone();
        }
        if was_starting && matches!(self.state, State::Running { .. }) {
            self.start = None;
            self.watch();
        }
        for effect in effects {
            self.perform(effect, answered).await;
        }
        if changed {
            self.publish.send_replace(self.state.clone());
            let teller = self.teller();
            match self.state {
                State::Absent => teller.deleted(),
                _ => teller.changed(self.state.observed()),
            }
        }
        Ok(())
    }

    /// `answered`: the guest did before this step.
    async fn perform(&mut self, effect: Effect, answered: bool) {
        match effect {
            Effect::Start => {
                self.life += 1;
                match self.open_door() {
                    Ok(()) => self.start(false),
                    Err(error) => {
                        let text = format!("the git relay cannot listen: {error}");
                        let failure = failure(FailureKind::Internal, text);
                        self.tell_self(Event::StartFailed { failure });
                    }
                }
            }
            Effect::CancelStart => {
                if let Some(start) = &self.start {
                    start.cancel();
                }
            }
            Effect::Clone => self.clone(true),
            Effect::StopMachine { grace_ms } => {
                self.end(Some(Duration::from_millis(grace_ms)), answered);
            }
            Effect::KillMachine => match (&self.end, &self.start) {
                (Some(hurry), _) => hurry.cancel(),
                (None, Some(start)) => start.cancel(),
                (None, None) => self.end(None, false),
            },
            Effect::CleanUp => {
                // The monitor stays a while after its machine, to be asked; nobody needs to.
                end::kill(&self.context, &self.workspace).await;
                end::clear(&self.context, &self.workspace).await;
            }
            Effect::Remove => self.remove(),
        }
    }

    fn machine_gone(&mut self) {
        self.context.ledger.release(&self.workspace);
        self.start = None;
        self.clone = None;
        self.watcher = None;
        self.keeper = None;
        self.end = None;
        self.door = None;
        if let Some(looked) = self.looked.take() {
            looked.abort();
        }
    }

    fn start(&mut self, adopted: bool) {
        let Some(spec) = self.record.as_ref().map(|record| record.spec.clone()) else {
            return;
        };
        let cancelled = CancellationToken::new();
        self.start = Some(cancelled.clone());
        self.look();
        let (context, teller, tell) = (self.context.clone(), self.teller(), self.tell());
        tokio::spawn(async move {
            let start = Start {
                context: &context,
                spec: &spec,
                teller: &teller,
                cancelled: &cancelled,
            };
            let (event, configured) = match start.run(adopted).await {
                Outcome::Up { configured } => {
                    let clone = spec.repository.is_some() && configured.folder_empty;
                    (Event::Up { clone }, Some(configured))
                }
                Outcome::Failed(failure) => (Event::StartFailed { failure }, None),
                Outcome::Cancelled => (Event::Gone, None),
            };
            tell(event, configured).await;
        });
    }

    /// Looks early whether the repository of a first start is there.
    fn look(&mut self) {
        let Some(record) = &self.record else { return };
        // The agent that is a plain process has no relay: it reaches servers that the relay would refuse.
        if matches!(self.context.config.driver, Driver::Process { .. }) {
            return;
        }
        if let (Some(repository), 0) = (&record.spec.repository, record.clone_attempts) {
            let (context, spec, repository) = (
                self.context.clone(),
                record.spec.clone(),
                repository.clone(),
            );
            self.looked = Some(tokio::spawn(async move {
                Cloning::look(&context, &spec, &repository).await
            }));
        }
    }

    /// `anew`: not the attempt that an earlier host agent has begun.
    fn clone(&mut self, anew: bool) {
        let looked = self.looked.take();
        let Some(record) = &mut self.record else {
            return;
        };
        if anew {
            record.clone_attempts += 1;
        }
        let (spec, attempt) = (record.spec.clone(), record.clone_attempts);
        let target = record.guest_folder.clone();
        self.save();
        let (Some(repository), Some(target)) = (spec.repository.clone(), target) else {
            return;
        };
        let (context, teller, tell) = (self.context.clone(), self.teller(), self.tell());
        let door = self.door.clone();
        let relayed = matches!(context.config.driver, Driver::Qemu { .. });
        self.clone = Some(Job(tokio::spawn(async move {
            let looked = match looked {
                Some(looked) => looked.await.unwrap_or(Ok(())),
                None if anew && relayed => Cloning::look(&context, &spec, &repository).await,
                None => Ok(()),
            };
            let clone = Cloning {
                context: &context,
                spec: &spec,
                repository: &repository,
                target: &target,
                attempt,
                teller: &teller,
                door: door.as_deref(),
            };
            let event = match clone.run(looked).await {
                Ok(()) => Event::Cloned,
                Err(failure) => Event::CloneFailed { failure },
            };
            tell(event, None).await;
        })));
    }

    fn watch(&mut self) {
        let monitor = Monitor::new(&self.context.folders.monitor(&self.workspace));
        let tell = self.tell();
        self.watcher = Some(Job(tokio::spawn(async move {
            follow(monitor, move |event| tell(event, None)).await;
        })));
        let Some(record) = &self.record else { return };
        let (context, spec) = (self.context.clone(), record.spec.clone());
        self.keeper = Some(Job(tokio::spawn(async move {
            keeping::run(&context, &spec).await;
        })));
    }

    /// Ends the machine: in order within `grace`, or at once. `keep`: what is uncommitted is saved and brought to
    /// the store first.
    fn end(&mut self, grace: Option<Duration>, keep: bool) {
        self.clone = None;
        self.keeper = None;
        let spec = self.record.as_ref().filter(|_| keep);
        let spec = spec.map(|record| record.spec.clone());
        let hurry = CancellationToken::new();
        self.end = Some(hurry.clone());
        let (context, workspace, tell) =
            (self.context.clone(), self.workspace.clone(), self.tell());
        tokio::spawn(async move {
            if let Some(spec) = spec {
                tokio::select! {
                    () = keeping::before_stop(&context, &spec) => {}
                    () = hurry.cancelled() => {}
                }
            }
            match grace {
                Some(grace) => end::stop(&context, &workspace, grace, &hurry).await,
                None => {
                    end::kill(&context, &workspace).await;
                    end::clear(&context, &workspace).await;
                }
            }
            tell(Event::Gone, None).await;
        });
    }

    fn remove(&mut self) {
        let (context, workspace, tell) =
            (self.context.clone(), self.workspace.clone(), self.tell());
        tokio::spawn(async move {
            let event = match end::remove(&context, &workspace).await {
                Ok(()) => Event::Removed,
                Err(problem) => Event::NotRemoved { problem },
            };
            tell(event, None).await;
        });
    }

    fn open_door(&mut self) -> io::Result<()> {
        let socket = self.context.folders.relay(&self.workspace);
        // The old one must be gone before: its end removes the socket.
        self.door = None;
        let door = RelayDoor::open(self.context.relay.clone(), self.workspace.clone(), &socket)?;
        self.door = Some(Arc::new(door));
        Ok(())
    }

    /// What jobs of this life say comes back through this.
    fn tell(
        &self,
    ) -> impl Fn(Event, Option<Configured>) -> futures::future::BoxFuture<'static, ()>
    + Send
    + Sync
    + 'static {
        let (happenings, life) = (self.happenings.clone(), self.life);
        move |event, configured| {
            let happenings = happenings.clone();
            Box::pin(async move {
                // The owner ends only when nobody is interested any more.
                let _ = happenings
                    .send(Happening {
                        life,
                        event,
                        configured,
                    })
                    .await;
            })
        }
    }

    fn tell_self(&self, event: Event) {
        let tell = self.tell();
        tokio::spawn(async move { tell(event, None).await });
    }

    fn teller(&self) -> Teller {
        Teller {
            events: self.context.events.clone(),
            workspace: self.workspace.clone(),
            epoch: self.record.as_ref().map_or(0, |record| record.spec.epoch),
        }
    }

    fn save(&mut self) {
        let Some(stage) = Stage::of(&self.state) else {
            self.record = None;
            return;
        };
        let Some(mut record) = self.record.take() else {
            return;
        };
        record.stage = stage;
        if self.written.as_ref() != Some(&record) {
            // No machine outlives a loss of power, so this need not either.
            match self.path().and_then(|path| record::replace(&path, &record)) {
                Ok(_) => self.written = Some(record.clone()),
                Err(error) => {
                    tracing::error!(workspace = %self.workspace, %error, "the record cannot be written");
                }
            }
        }
        self.record = Some(record);
    }

    fn path(&self) -> io::Result<PathBuf> {
        let path = self.context.folders.record(&self.workspace);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(path)
    }
}

fn refused(refusal: Refusal) -> HostError {
    match refusal {
        Refusal::Fenced { given, known } => HostError::Fenced { given, known },
        Refusal::NotRunning => HostError::NotRunning,
        Refusal::Busy => HostError::Failed {
            message: "the workspace is being ended: ask again when it is".into(),
        },
    }
}
