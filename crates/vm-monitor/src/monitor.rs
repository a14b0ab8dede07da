//! The one task that owns a VM: takes what happens and what is asked, and lets everybody see what follows.

use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use disk_server::{Door, ServerSpec, Serves, Status, Supervisor};
use microvm::driver::{Booted, Driver, Exit, PauseReason, Vm, VmError, VmEvent};
use microvm::process::Process;
use microvm::qemu::{Qemu, ServedDisk};
use microvm::spec::{DiskSource, DriverSpec};
use monitor_protocol::messages::VmStatus;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::folder::{ExitRecord, Folder};
use crate::links::Links;
use crate::relay::Relay;
use crate::spec::MonitorSpec;
use crate::state::State;
use crate::{RunError, agent, console, server};

/// How long an ended VM can be asked about before the monitor ends too.
const LINGER: Duration = Duration::from_secs(10);
/// Between attempts to go on after the host's disk had no room, or failed.
const DISK_RETRY: Duration = Duration::from_secs(2);
/// Room on the host's disk with which a machine goes on, bytes.
const ROOM_TO_GO_ON: u64 = 64 * 1024 * 1024;
/// The console ends with the VMM, but for what is still to be read.
const CONSOLE_ENDS_WITHIN: Duration = Duration::from_secs(1);
/// A guest that was told to shut down, and whose link is still up, gets at least this from its deadline for
/// unmounting.
const UNMOUNT: Duration = Duration::from_secs(2);
/// A VMM that is killed is gone within milliseconds, unless it waits for its disk.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// What an ended machine wrote last is in the store by then, or goes there later.
const SENT_WITHIN: Duration = Duration::from_secs(10);

/// What a connection asks of the VM.
#[derive(Debug)]
pub enum Command {
    /// Its end is seen in the status.
    Stop {
        deadline: Duration,
    },
    Kill,
    /// The disk has so many bytes now, and the guest is to see it.
    DiskGrew(u64, oneshot::Sender<Result<(), VmError>>),
    Pause(oneshot::Sender<Result<(), VmError>>),
    Continue(oneshot::Sender<Result<(), VmError>>),
    /// Somebody was told that the VM has ended.
    EndSeen,
}

/// Runs the VM of `folder` to its end.
pub async fn run(
    folder: Folder,
    spec: MonitorSpec,
    allow_process_driver: bool,
    started: Instant,
) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let console_file = console::start(&folder.console())?;
    let listener = listen(&folder.socket())?;

    let (status, seen) = watch::channel(State::default().status());
    let (commands, mut asked) = mpsc::channel(16);
    let (disk, door) = match serve_disk(&folder, &spec).await {
        Ok(served) => served.unzip(),
        Err(cause) => return did_not_start(&folder, &cause),
    };
    let Booted {
        vm,
        mut events,
        console,
    } = match boot(&folder, &spec, allow_process_driver, door) {
        Ok(booted) => booted,
        Err(cause) => {
            if let Some(disk) = disk {
                disk.end().await;
            }
            return did_not_start(&folder, &cause);
        }
    };
    let vm: Arc<dyn Vm> = Arc::from(vm);
    let disk_file = file_of_disk(&folder, &spec);
    let console = tokio::spawn(console::keep(console, console_file));
    let links = Links::start(&vm, &Relay::new(spec.relay_socket.clone()));
    let (silence, mut silent) = mpsc::channel(4);
    tokio::spawn(agent::watch(links.clone(), seen.clone(), silence));
    let mut disk_seen = disk.as_ref().map(Supervisor::status);
    let access = server::Access {
        links: links.clone(),
        status: seen,
        commands,
        disk: disk.clone(),
    };
    tokio::spawn(server::serve(listener, access));

    let mut owner = Owner {
        state: State {
            vmm_process: vm.process(),
            ..State::default()
        },
        vm,
        links,
        status,
        folder,
        started,
        stop: None,
        killed: None,
        disk_file,
        disk,
    };
    owner.step("prepare");
    let ready = owner.links.clone();
    let ready = async move { ready.ready().await };
    tokio::pin!(ready);
    let deadline = Duration::from_millis(spec.stop_deadline_ms);
    let exit = loop {
        owner.publish();
        tokio::select! {
            event = events.recv() => match event {
                Some(VmEvent::Exited(exit)) => break exit,
                Some(event) => owner.event(event),
                None => break Exit { orderly: false, cause: "the VMM was lost".to_owned() },
            },
            Some(command) = asked.recv() => owner.command(command),
            Some(silent) = silent.recv() => owner.state.silent = silent,
            outcome = &mut ready, if !owner.state.was_ready => if outcome.is_ok() {
                owner.state.was_ready = true;
                owner.step("guest");
            },
            _ = terminate.recv() => owner.stop(deadline),
            () = owner.disk_retry() => owner.go_on_with_room(),
            () = owner.stop_deadline() => owner.kill("the guest did not stop in time and was killed"),
            () = owner.kill_deadline() => owner.let_go_of_disk(),
            () = changed(&mut disk_seen) => owner.disk_changed(),
        }
    };
    owner.ended(exit, console).await;
    tokio::join!(linger(asked), owner.end_disk());
    // The socket goes with the monitor; the lock is still held, so it is nobody else's.
    let _ = std::fs::remove_file(owner.folder.socket());
    Ok(())
}

/// Has the disk served, if somebody has to.
async fn serve_disk(
    folder: &Folder,
    spec: &MonitorSpec,
) -> Result<Option<(Supervisor, Door)>, RunError> {
    if !folder.disk().exists() {
        return Ok(None);
    }
    // As this process was started, also when the file has been replaced since.
    let program = Path::new("/proc/self/exe");
    let owner = spec.vm.jail.user;
    let served =
        Supervisor::start(program, Serves::Disk, &folder.disk(), folder.path(), owner).await?;
    Ok(Some(served))
}

/// Waits for the next change; for ever when there is nothing to change (any more).
async fn changed(seen: &mut Option<watch::Receiver<Status>>) {
    match seen {
        Some(status) => {
            if status.changed().await.is_err() {
                pending().await
            }
        }
        None => pending().await,
    }
}

fn boot(
    folder: &Folder,
    spec: &MonitorSpec,
    allow_process_driver: bool,
    door: Option<Door>,
) -> Result<Booted, RunError> {
    match &spec.vm.driver {
        DriverSpec::Qemu(qemu) => Ok(Qemu {
            name: &spec.name,
            vm: &spec.vm,
            qemu,
            disk: door.map(|door| match door {
                Door::File(file) => ServedDisk::File(file),
                Door::Nbd(socket) => ServedDisk::Nbd(socket),
            }),
            wake: None,
        }
        .boot()?),
        DriverSpec::Process(_) if !allow_process_driver => Err(RunError::ProcessDriverRefused),
        DriverSpec::Process(process) => Ok(Process {
            spec: process,
            folder: folder.path(),
        }
        .boot()?),
    }
}

/// The host agent learns it from the exit record, also when it comes too late for the socket.
pub fn did_not_start(folder: &Folder, error: &RunError) -> Result<(), RunError> {
    let record = ExitRecord {
        cause: format!(
            "the machine could not be started: {}",
            disk_server::chain(error)
        ),
        at_ms: now_ms(),
        ..ExitRecord::default()
    };
    tracing::error!(cause = record.cause, "not started");
    folder.write_exit(&record)?;
    let _ = std::fs::remove_file(folder.socket());
    Ok(())
}

/// Waits until somebody has been told of the end, for a while.
async fn linger(mut asked: mpsc::Receiver<Command>) {
    let told = async {
        while let Some(command) = asked.recv().await {
            match command {
                Command::EndSeen => return,
                Command::Pause(answer)
                | Command::Continue(answer)
                | Command::DiskGrew(_, answer) => {
                    let _ = answer.send(Err(VmError::Ended));
                }
                Command::Stop { .. } | Command::Kill => {}
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, told).await;
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// What lies on the file system that has to have room.
fn file_of_disk(folder: &Folder, spec: &MonitorSpec) -> Option<PathBuf> {
    let DriverSpec::Qemu(qemu) = &spec.vm.driver else {
        return None;
    };
    match &qemu.disk {
        DiskSource::Raw { path } => Some(path.clone()),
        DiskSource::Served => Some(ServerSpec::read(&folder.disk()).ok()?.disk.folder),
    }
}

/// A stop that is under way.
struct Stop {
    deadline: tokio::time::Instant,
    _asking: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Owner {
    state: State,
    vm: Arc<dyn Vm>,
    links: Links,
    status: watch::Sender<VmStatus>,
    folder: Folder,
    started: Instant,
    stop: Option<Stop>,
    /// Why we killed it, if we did, and when it has to be gone.
    killed: Option<(&'static str, tokio::time::Instant)>,
    /// Whose file system has to have room.
    disk_file: Option<PathBuf>,
    disk: Option<Supervisor>,
}

impl Owner {
    fn publish(&self) {
        let now = self.state.status();
        self.status.send_if_modified(|seen| {
            let changed = *seen != now;
            *seen = now;
            changed
        });
    }

    fn step(&mut self, name: &str) {
        self.state
            .step(name, self.started.elapsed().as_millis() as u64);
    }

    fn event(&mut self, event: VmEvent) {
        tracing::info!(?event, "VM");
        match event {
            VmEvent::Started | VmEvent::Loaded => self.step("vmm"),
            VmEvent::Paused(reason) => self.state.paused = Some(reason),
            VmEvent::Resumed => self.state.paused = None,
            VmEvent::Exited(_) => unreachable!("the loop ends with it"),
        }
    }

    fn command(&mut self, command: Command) {
        tracing::info!(?command, "asked");
        match command {
            Command::Stop { deadline } => self.stop(deadline),
            Command::Kill => self.kill("killed on request"),
            Command::Pause(answer) => {
                let vm = self.vm.clone();
                tokio::spawn(async move { answer.send(vm.pause().await) });
            }
            Command::Continue(answer) => {
                let vm = self.vm.clone();
                tokio::spawn(async move { answer.send(vm.resume().await) });
            }
            Command::DiskGrew(bytes, answer) => {
                let vm = self.vm.clone();
                tokio::spawn(async move { answer.send(vm.disk_grew(bytes).await) });
            }
            Command::EndSeen => {}
        }
    }

    /// Asks the guest to shut down; a second call can only bring the deadline forward.
    fn stop(&mut self, deadline: Duration) {
        let ends = tokio::time::Instant::now() + deadline;
        if let Some(stop) = &mut self.stop {
            stop.deadline = stop.deadline.min(ends);
            return;
        }
        self.state.stopping = true;
        let (links, vm) = (self.links.clone(), self.vm.clone());
        let paused = self.state.paused.is_some();
        let grace = deadline.saturating_sub(UNMOUNT).max(deadline / 2);
        let asking = tokio::spawn(async move {
            if paused && let Err(error) = vm.resume().await {
                tracing::warn!(%error, "a paused machine does not go on to stop in order");
            }
            if let Err(error) = agent::shut_down(&links, grace).await {
                tracing::warn!(%error, "the agent cannot be told to shut down");
            }
        });
        self.stop = Some(Stop {
            deadline: ends,
            _asking: AbortOnDrop(asking),
        });
    }

    fn kill(&mut self, why: &'static str) {
        self.state.stopping = true;
        self.killed = Some((why, tokio::time::Instant::now() + KILLED_WITHIN));
        // Whoever asked for a stop sees the same end.
        self.stop = None;
        if let Err(error) = self.vm.kill() {
            tracing::error!(%error, "the VMM cannot be killed");
        }
    }

    async fn stop_deadline(&self) {
        match &self.stop {
            Some(stop) => tokio::time::sleep_until(stop.deadline).await,
            None => pending().await,
        }
    }

    async fn kill_deadline(&self) {
        match (self.killed, &self.disk) {
            (Some((_, deadline)), Some(_)) => tokio::time::sleep_until(deadline).await,
            _ => pending().await,
        }
    }

    /// A VMM that waits for its disk is not even killed: without the door it gets an error and dies.
    fn let_go_of_disk(&mut self) {
        if let Some(disk) = self.disk.take() {
            tracing::warn!("the killed machine still waits for its disk, which is taken from it");
            disk.let_go();
        }
    }

    fn disk_changed(&mut self) {
        let Some(disk) = &self.disk else { return };
        let seen = disk.status();
        let troubles = seen.borrow().troubles.clone();
        if troubles.fenced && self.killed.is_none() {
            self.kill(
                "the workspace was started on another host: what it did here since is not kept",
            );
        }
        self.state.disk = troubles.door;
    }

    /// After a stop in order, has everything sent that the store does not have, for a while; then the server ends.
    /// After any other end, whoever starts the machine again must not wait: its disk's next server sends it.
    async fn end_disk(&mut self) {
        let Some(disk) = self.disk.take() else { return };
        if self.state.exit.as_ref().is_some_and(|exit| exit.orderly) {
            match tokio::time::timeout(SENT_WITHIN, disk.settle()).await {
                Ok(Ok(version)) => tracing::info!(version, "the store has the whole disk"),
                Ok(Err(error)) => tracing::warn!(error, "the store does not have the whole disk"),
                Err(_) => tracing::warn!("the store does not have the whole disk yet"),
            }
        }
        disk.end().await;
    }

    async fn disk_retry(&self) {
        match self.state.paused {
            Some(PauseReason::DiskFull | PauseReason::DiskFailed(_)) => {
                tokio::time::sleep(DISK_RETRY).await
            }
            Some(PauseReason::Asked) | None => pending().await,
        }
    }

    /// Requests that failed are done again; should they fail again, the VM says so and stands still again.
    fn go_on_with_room(&self) {
        let full = self.state.paused == Some(PauseReason::DiskFull);
        let room = self.disk_file.as_deref().map_or(Ok(u64::MAX), room);
        match room {
            Ok(room) if full && room < ROOM_TO_GO_ON => {}
            Ok(_) => {
                let vm = self.vm.clone();
                tokio::spawn(async move {
                    if let Err(error) = vm.resume().await {
                        tracing::warn!(%error, "the machine does not go on");
                    }
                });
            }
            Err(error) => tracing::warn!(%error, "the room on the disk is not known"),
        }
    }

    async fn ended(&mut self, exit: Exit, console: JoinHandle<()>) {
        let _ = tokio::time::timeout(CONSOLE_ENDS_WITHIN, console).await;
        self.links.end();
        let cause = match (self.killed, exit.orderly) {
            (Some((why, _)), false) => why.to_owned(),
            (_, true) => exit.cause,
            (None, false) => console::explain(&exit.cause, &self.folder.console()),
        };
        tracing::info!(orderly = exit.orderly, cause, "ended");
        let record = ExitRecord {
            orderly: exit.orderly,
            cause,
            at_ms: now_ms(),
            was_ready: self.state.was_ready,
        };
        if let Err(error) = self.folder.write_exit(&record) {
            tracing::error!(%error, "the exit record cannot be written");
        }
        self.state.exit = Some(record);
        self.publish();
    }
}

/// Bytes that an ordinary user may still write to the file system of `path`.
fn room(path: &Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(path)?;
    Ok(system.f_bavail * system.f_frsize)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}
