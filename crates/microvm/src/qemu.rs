//! The distribution's `qemu-system-x86_64`, machine `microvm`, run from its pinned copy.
//!
//! QEMU gets all that it needs as open descriptors and then runs as nobody in particular, so that it needs
//! no right to any path. It dies with the monitor.

mod command_line;
mod descriptors;
mod qmp;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use self::descriptors::{Descriptors, confinement};
use self::qmp::{Event, Qmp};
use crate::driver::{
    BootError, Booted, Driver, Exit, Later, LinkClass, PauseReason, Vm, VmError, VmEvent,
};
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
        let (open, ours) = Descriptors::open(self.vm, self.qemu, self.disk.as_ref())?;
        let mut command = Command::new(open.path(&open.loader));
        command
            .args([
                "--inhibit-cache",
                "--argv0",
                "qemu-system-x86_64",
                "--library-path",
            ])
            .arg(open.path(&open.libraries))
            .arg(open.path(&open.program))
            .args(command_line::arguments(
                self.name, self.vm, self.qemu, &open,
            ))
            .env_clear()
            .env("QEMU_MODULE_DIR", open.path(&open.modules))
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
        drop(open);

        let process = child.id().expect("it has not been waited for");
        let handle = rustix::process::Pid::from_raw(process.cast_signed())
            .expect("a child's id is positive");
        let handle = pidfd_open(handle, PidfdFlags::empty()).map_err(io::Error::from)?;
        let (qmp, reported) = Qmp::new(stream(ours.qmp)?);
        let (events, received) = mpsc::channel(8);
        tokio::spawn(follow(child, reported, events));
        let vm = QemuVm {
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

fn stream(socket: StdUnixStream) -> io::Result<UnixStream> {
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

/// Turns what QEMU reports into events, and waits for its end.
async fn follow(
    mut child: Child,
    mut reported: mpsc::Receiver<Event>,
    events: mpsc::Sender<VmEvent>,
) {
    let mut seen = Seen::default();
    let status = loop {
        let event = tokio::select! {
            Some(event) = reported.recv() => seen.event(&event),
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
            "READY" => Some(VmEvent::Started),
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
