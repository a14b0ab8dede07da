//! The distribution's `qemu-system-x86_64`, machine `microvm`, run from its pinned copy.
//!
//! QEMU gets all that it needs as open descriptors and then runs as nobody in particular, so that it needs
//! no right to any path. It dies with the monitor.

mod command_line;
mod descriptors;
mod qmp;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, OnceCell, mpsc};

use self::command_line::DEVICE_STATE;
use self::descriptors::{Descriptors, DeviceState, confinement};
use self::qmp::{Event, Qmp};
use crate::driver::{
    BootError, Booted, Driver, Exit, Later, LinkClass, PauseReason, Vm, VmError, VmEvent,
};
use crate::memory::GuestMemory;
use crate::spec::{QemuSpec, VmSpec};
use crate::sys;

/// Boots one VM with QEMU.
#[derive(Debug)]
pub struct Qemu<'a> {
    /// Shown in the host's list of processes.
    pub name: &'a str,
    pub vm: &'a VmSpec,
    pub qemu: &'a QemuSpec,
    /// With [`crate::spec::DiskSource::Served`].
    pub disk: Option<ServedDisk>,
    /// Boots when there is nothing to go on from.
    pub wake: Option<Wake>,
}

/// What a machine that slept goes on from.
#[derive(Debug)]
pub struct Wake {
    /// Shows the guest's memory as it was, and must not change as long as the VMM lives.
    pub image: File,
    /// What [`Vm::device_state`] gave then.
    pub device_state: Vec<u8>,
}

/// What is opened of a disk that somebody serves.
#[derive(Debug)]
pub enum ServedDisk {
    /// Open for direct reads and writes.
    File(File),
    /// The name of a Unix socket of the network block device, opened as a path alone. Whoever serves it may go and
    /// come back.
    Nbd(OwnedFd),
}

impl Driver for Qemu<'_> {
    fn boot(&self) -> Result<Booted, BootError> {
        if self.vm.machine != 1 {
            return Err(BootError::UnknownMachine(self.vm.machine));
        }
        let wake = self.wake.as_ref();
        let (open, ours) = Descriptors::open(self.vm, self.qemu, self.disk.as_ref(), wake)?;
        let mut command = Command::new(open.path(&open.loader));
        command
            .args([
                "--inhibit-cache",
                "--argv0",
                "qemu-system-x86_64",
                "--library-path",
            ])
            .arg(open.path(&open.libraries))
            .arg("--preload")
            .arg(open.path(&open.shim))
            .arg(open.path(&open.program))
            .args(command_line::arguments(
                self.name, self.vm, self.qemu, &open,
            ))
            .env_clear()
            .env("QEMU_MODULE_DIR", open.path(&open.modules))
            .env("ROOST_MEMORY_BYTES", (self.vm.memory_mib << 20).to_string())
            .env("ROOST_MEMORY_SOCKET", open.memory.as_raw_fd().to_string())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(OwnedFd::from(open.console.try_clone()?))
            .kill_on_drop(true);
        sys::confine(&mut command, confinement(&self.vm.jail, open.numbers())?);
        let program = self.qemu.vmm.clone();
        let child = command
            .spawn()
            .map_err(|source| BootError::Spawn { program, source })?;
        drop(command);
        let wakes = open.wake.as_ref().map(|wake| wake.device_state.as_raw_fd());
        drop(open);

        let process = child.id().expect("it has not been waited for");
        let handle = rustix::process::Pid::from_raw(process.cast_signed())
            .expect("a child's id is positive");
        let handle = pidfd_open(handle, PidfdFlags::empty()).map_err(io::Error::from)?;
        let (qmp, reported) = Qmp::new(stream(ours.qmp)?);
        let (events, received) = mpsc::channel(8);
        tokio::spawn(follow(
            child,
            reported,
            events,
            Start {
                qmp: qmp.clone(),
                wakes,
            },
        ));
        let memory = OnceCell::new();
        let vm = QemuVm {
            memory,
            told: ours.memory,
            device_state: Mutex::new(ours.device_state),
            process,
            handle,
            qmp,
            interactive: ours.interactive,
            bulk: ours.bulk,
        };
        Ok(Booted {
            vm: Box::new(vm),
            events: received,
            console: stream(ours.console)?,
        })
    }
}

struct QemuVm {
    process: u32,
    handle: OwnedFd,
    qmp: Qmp,
    interactive: StdUnixStream,
    bulk: StdUnixStream,
    /// Where the guest's memory is told of, once.
    told: StdUnixStream,
    memory: OnceCell<Arc<GuestMemory>>,
    device_state: Mutex<DeviceState>,
}

impl QemuVm {
    async fn run(&self, command: &'static str) -> Result<(), VmError> {
        self.qmp.run(command, Value::Null).await.map(drop)
    }
}

impl Vm for QemuVm {
    fn process(&self) -> u32 {
        self.process
    }

    fn connect(&self, class: LinkClass) -> Later<'_, io::Result<UnixStream>> {
        let socket = match class {
            LinkClass::Interactive => &self.interactive,
            LinkClass::Bulk => &self.bulk,
        };
        Box::pin(async move { stream(socket.try_clone()?) })
    }

    fn pause(&self) -> Later<'_, Result<(), VmError>> {
        Box::pin(self.run("stop"))
    }

    fn resume(&self) -> Later<'_, Result<(), VmError>> {
        Box::pin(self.run("cont"))
    }

    fn memory(&self) -> Later<'_, Result<Arc<GuestMemory>, VmError>> {
        Box::pin(async {
            let told = self.memory.get_or_try_init(|| hear_of_memory(&self.told));
            match told.await {
                Ok(memory) => Ok(memory.clone()),
                Err(error) => Err(VmError::Memory(error)),
            }
        })
    }

    fn device_state(&self) -> Later<'_, Result<Vec<u8>, VmError>> {
        Box::pin(async {
            let mut file = self.device_state.lock().await;
            file.clear().map_err(VmError::DeviceState)?;
            let arguments = json!({
                "filename": format!("/dev/fdset/{DEVICE_STATE}"), "live": false,
            });
            self.qmp.run("xen-save-devices-state", arguments).await?;
            file.read().map_err(VmError::DeviceState)
        })
    }

    fn power_button(&self) -> Later<'_, Result<(), VmError>> {
        Box::pin(self.run("system_powerdown"))
    }

    fn disk_grew(&self, bytes: u64) -> Later<'_, Result<(), VmError>> {
        let arguments = json!({ "node-name": "disk", "size": bytes });
        let told = self.qmp.run("block_resize", arguments);
        Box::pin(async { told.await.map(drop) })
    }

    fn quit(&self) -> Later<'_, Result<(), VmError>> {
        Box::pin(self.run("quit"))
    }

    fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.handle, Signal::KILL) {
            // It has ended already.
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// Waits until QEMU has mapped the guest's memory.
async fn hear_of_memory(told: &StdUnixStream) -> io::Result<Arc<GuestMemory>> {
    let told = stream(told.try_clone()?)?;
    loop {
        told.readable().await?;
        match told.try_io(Interest::READABLE, || GuestMemory::receive(&told)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return received.map(Arc::new),
        }
    }
}

/// What is to be done once QEMU answers.
struct Start {
    qmp: Qmp,
    /// Number of the descriptor that has the state of the devices to go on from.
    wakes: Option<RawFd>,
}

impl Start {
    fn ready(&self) -> Option<VmEvent> {
        let Some(descriptor) = self.wakes else {
            return Some(VmEvent::Started);
        };
        let qmp = self.qmp.clone();
        tokio::spawn(async move {
            if let Err(error) = load(&qmp, descriptor).await {
                tracing::error!(%error, "the machine cannot go on from where it slept");
                // Nothing comes of it any more: its end is what whoever waits sees.
                let _ = qmp.run("quit", Value::Null).await;
            }
        });
        None
    }
}

/// Has QEMU read the state of its devices; an event tells when it has.
async fn load(qmp: &Qmp, descriptor: RawFd) -> Result<(), VmError> {
    let events = json!([{ "capability": "events", "state": true }]);
    let arguments = json!({ "capabilities": events });
    qmp.run("migrate-set-capabilities", arguments).await?;
    let arguments = json!({ "uri": format!("fd:{descriptor}") });
    qmp.run("migrate-incoming", arguments).await.map(drop)
}

fn stream(socket: StdUnixStream) -> io::Result<UnixStream> {
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

/// Turns what QEMU reports into events, and waits for its end.
async fn follow(
    mut child: Child,
    mut reported: mpsc::Receiver<Event>,
    events: mpsc::Sender<VmEvent>,
    start: Start,
) {
    let mut seen = Seen::default();
    let status = loop {
        let event = tokio::select! {
            Some(event) = reported.recv() => match event.name.as_str() {
                "READY" => start.ready(),
                _ => seen.event(&event),
            },
            status = child.wait() => break status,
        };
        if let Some(event) = event {
            // Nobody listens: the monitor is about to end, and QEMU with it.
            let _ = events.send(event).await;
        }
    };
    // What it said last may still be on its way; the connection has ended with it.
    while let Some(event) = reported.recv().await {
        seen.event(&event);
    }
    let exit = match status {
        Ok(status) => exit(seen.shutdown.as_deref(), status),
        Err(error) => Exit {
            orderly: false,
            cause: format!("the VMM cannot be waited for: {error}"),
        },
    };
    let _ = events.send(VmEvent::Exited(exit)).await;
}

/// What QEMU has said that explains a later event.
#[derive(Default)]
struct Seen {
    shutdown: Option<String>,
    disk_error: Option<PauseReason>,
}

impl Seen {
    fn event(&mut self, event: &Event) -> Option<VmEvent> {
        match event.name.as_str() {
            "MIGRATION" if event.data["status"] == json!("completed") => Some(VmEvent::Loaded),
            "BLOCK_IO_ERROR" => {
                self.disk_error = Some(disk_reason(&event.data));
                None
            }
            "STOP" if self.shutdown.is_none() => Some(VmEvent::Paused(
                self.disk_error.take().unwrap_or(PauseReason::Asked),
            )),
            "RESUME" => Some(VmEvent::Resumed),
            "SHUTDOWN" => {
                self.shutdown = event.data["reason"].as_str().map(str::to_owned);
                None
            }
            _ => None,
        }
    }
}

fn disk_reason(data: &Value) -> PauseReason {
    if data["nospace"] == json!(true) {
        return PauseReason::DiskFull;
    }
    PauseReason::DiskFailed(
        data["reason"]
            .as_str()
            .unwrap_or("without a reason")
            .to_owned(),
    )
}

/// `shutdown` is the reason of QEMU's last SHUTDOWN event, see `ShutdownCause` in its `qapi/run-state.json`.
fn exit(shutdown: Option<&str>, status: ExitStatus) -> Exit {
    let (orderly, cause) = match shutdown {
        Some("guest-shutdown") => (true, "the guest powered off".to_owned()),
        Some("host-qmp-quit") => (true, "the VMM was asked to quit".to_owned()),
        // It is started with -no-reboot: the monitor starts machines anew.
        Some("guest-reset") => (
            false,
            "the guest's kernel failed or asked for a restart".to_owned(),
        ),
        Some(other) => (false, format!("the VMM ended: {other}")),
        None => (false, unexplained(status)),
    };
    Exit { orderly, cause }
}

/// QEMU has not said why.
fn unexplained(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => {
            "the VMM was killed by signal 9: the host ran out of memory, or somebody sent it"
                .to_owned()
        }
        (Some(signal), _) => format!("the VMM was killed by signal {signal}"),
        (None, Some(code)) => format!("the VMM ended with status {code}"),
        (None, None) => "the VMM ended".to_owned(),
    }
}
