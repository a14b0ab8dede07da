//! The guest agent as a plain child of the monitor. It isolates nothing: everything but real-VM tests runs on
//! it, and a monitor refuses it unless its environment allows it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::driver::{
    BootError, Booted, Driver, Exit, Later, LinkClass, PauseReason, Vm, VmError, VmEvent,
};
use crate::memory::GuestMemory;
use crate::spec::ProcessSpec;
use crate::sys;

/// How long the agent may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// Runs one agent.
#[derive(Debug)]
pub struct Process<'a> {
    pub spec: &'a ProcessSpec,
    /// Folder for the agent's sockets.
    pub folder: &'a Path,
}

impl Driver for Process<'_> {
    fn boot(&self) -> Result<Booted, BootError> {
        // What the agent has started is ours to end when it is gone.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(io::Error::from)?;
        let interactive = self.folder.join("interactive.sock");
        let bulk = self.folder.join("bulk.sock");
        for socket in [&interactive, &bulk] {
            match std::fs::remove_file(socket) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        let (console, our_console) = std::os::unix::net::UnixStream::pair()?;
        our_console.set_nonblocking(true)?;
        let mut command = Command::new(&self.spec.agent);
        command
            .arg("--listen-interactive")
            .arg(&interactive)
            .arg("--listen-bulk")
            .arg(&bulk)
            .arg("--root-folder")
            .arg(&self.spec.root_folder)
            .stdin(Stdio::null())
            .stdout(OwnedFd::from(console.try_clone()?))
            .stderr(OwnedFd::from(console))
            .kill_on_drop(true);
        sys::confine(&mut command, sys::Confinement::default());
        let program = self.spec.agent.clone();
        let child = command
            .spawn()
            .map_err(|source| BootError::Spawn { program, source })?;
        drop(command);

        let process = child.id().expect("it has not been waited for");
        let id = Pid::from_raw(process.cast_signed()).expect("a child's id is positive");
        let handle = pidfd_open(id, PidfdFlags::empty()).map_err(io::Error::from)?;
        let (events, received) = mpsc::channel(8);
        tokio::spawn(follow(child, events.clone()));
        let vm = ProcessVm {
            process,
            handle,
            interactive,
            bulk,
            events,
        };
        Ok(Booted {
            vm: Box::new(vm),
            events: received,
            console: UnixStream::from_std(our_console)?,
        })
    }
}

struct ProcessVm {
    process: u32,
    handle: OwnedFd,
    interactive: PathBuf,
    bulk: PathBuf,
    events: mpsc::Sender<VmEvent>,
}

impl ProcessVm {
    async fn signal(&self, signal: Signal, then: Option<VmEvent>) -> Result<(), VmError> {
        pidfd_send_signal(&self.handle, signal).map_err(|_| VmError::Ended)?;
        if let Some(event) = then {
            let _ = self.events.send(event).await;
        }
        Ok(())
    }
}

impl Vm for ProcessVm {
    fn process(&self) -> u32 {
        self.process
    }

    fn connect(&self, class: LinkClass) -> Later<'_, io::Result<UnixStream>> {
        let path = match class {
            LinkClass::Interactive => &self.interactive,
            LinkClass::Bulk => &self.bulk,
        };
        Box::pin(async move {
            let listening = async {
                loop {
                    if let Ok(stream) = UnixStream::connect(path).await {
                        return stream;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(LISTENS_WITHIN, listening)
                .await
                .map_err(io::Error::from)
        })
    }

    fn pause(&self) -> Later<'_, Result<(), VmError>> {
        Box::pin(self.signal(Signal::STOP, Some(VmEvent::Paused(PauseReason::Asked))))
    }

    fn resume(&self) -> Later<'_, Result<(), VmError>> {
        Box::pin(self.signal(Signal::CONT, Some(VmEvent::Resumed)))
    }

    fn memory(&self) -> Later<'_, Result<Arc<GuestMemory>, VmError>> {
        Box::pin(async { Err(VmError::Unsupported("looking at memory")) })
    }

    fn device_state(&self) -> Later<'_, Result<Vec<u8>, VmError>> {
        Box::pin(async { Err(VmError::Unsupported("keeping the state of devices")) })
    }

    fn power_button(&self) -> Later<'_, Result<(), VmError>> {
        Box::pin(async { Err(VmError::Unsupported("pressing the power button")) })
    }

    fn disk_grew(&self, _bytes: u64) -> Later<'_, Result<(), VmError>> {
        Box::pin(async { Err(VmError::Unsupported("growing a disk")) })
    }

    fn quit(&self) -> Later<'_, Result<(), VmError>> {
        Box::pin(self.signal(Signal::TERM, None))
    }

    fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.handle, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }
}

async fn follow(mut child: Child, events: mpsc::Sender<VmEvent>) {
    let _ = events.send(VmEvent::Started).await;
    let exit = match child.wait().await {
        Ok(status) => exit(status),
        Err(error) => Exit {
            orderly: false,
            cause: format!("the agent cannot be waited for: {error}"),
        },
    };
    end_orphans();
    let _ = events.send(VmEvent::Exited(exit)).await;
}

fn exit(status: ExitStatus) -> Exit {
    Exit {
        orderly: status.success(),
        cause: format!("the agent ended: {status}"),
    }
}

/// Kills and reaps everything that the agent left behind, which has become this process's own children.
fn end_orphans() {
    loop {
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        for child in children
            .split_whitespace()
            .filter_map(|id| Pid::from_raw(id.parse().ok()?))
        {
            // It may have ended meanwhile.
            let _ = kill_process(child, Signal::KILL);
        }
        // Their children in turn become ours as they end.
        match rustix::process::wait(rustix::process::WaitOptions::empty()) {
            Ok(_) => {}
            Err(_no_child_left) => return,
        }
    }
}
