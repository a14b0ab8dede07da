//! Starting programs, and learning how they ended. As PID 1 the agent reaps orphans too, so there is one
//! place that waits for children, whoever started them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::machine::Machine;
use crate::sys;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status, or the signal's number.
    pub code: i32,
    pub signaled: bool,
}

/// A program to be started.
pub struct Launch {
    /// Must not be empty.
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub working_directory: PathBuf,
    pub as_root: bool,
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// Standard input is a terminal that shall control the program.
    pub controlling_terminal: bool,
    /// Runs when nothing else wants to.
    pub idle: bool,
}

/// A program that was started. It leads a session and a process group of its own.
pub struct Started {
    pub pid: Pid,
    /// Fails only when the agent stops.
    pub exit: oneshot::Receiver<Exit>,
}

/// The children that somebody waits for.
#[derive(Default)]
pub struct Processes {
    waiting: Mutex<HashMap<Pid, oneshot::Sender<Exit>>>,
}

impl Processes {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Pid, oneshot::Sender<Exit>>> {
        self.waiting
            .lock()
            .expect("no code panics while it holds the table of children")
    }

    /// Starts a program. Errors are those of fork and exec: `NotFound` for an unknown program or folder.
    ///
    /// On a thread of its own: until the program runs, which on a busy machine takes long, nobody else waits.
    pub async fn launch(
        &'static self,
        machine: &'static Machine,
        launch: Launch,
    ) -> io::Result<Started> {
        let work = move || {
            let started = self.launch_here(machine, launch);
            // What ended meanwhile was left to this thread.
            self.reap();
            started
        };
        tokio::task::spawn_blocking(work).await?
    }

    fn launch_here(&self, machine: &Machine, launch: Launch) -> io::Result<Started> {
        let (program, arguments) = launch
            .command
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program was named"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(&launch.environment)
            .stdin(Stdio::from(launch.stdin))
            .stdout(Stdio::from(launch.stdout))
            .stderr(Stdio::from(launch.stderr));
        let becoming = sys::Becoming {
            user: (machine.owned && !launch.as_root).then(|| machine.user.clone()),
            working_directory: CString::new(launch.working_directory.as_os_str().as_bytes())?,
            controlling_terminal: launch.controlling_terminal,
            cgroup: if launch.as_root {
                None
            } else {
                machine.cgroup.get().cloned()
            },
            restore_limits: machine.owned,
            idle: launch.idle,
        };
        sys::become_before_exec(&mut command, becoming);
        // Held across the start, so that a child that ends at once is reaped only when it is known.
        let mut waiting = self.waiting();
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let (sender, exit) = oneshot::channel();
        waiting.insert(pid, sender);
        Ok(Started { pid, exit })
    }

    /// Reaps what has ended, unless a program is being started right now: that thread does it afterwards.
    pub fn reap(&self) {
        let Ok(mut waiting) = self.waiting.try_lock() else {
            return;
        };
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let (Some(sender), Some(exit)) = (waiting.remove(&pid), exit_of(status)) {
                // Nobody may be waiting any more.
                let _ = sender.send(exit);
            }
        }
    }

    /// Reaps for ever.
    pub async fn reap_all(&self) -> io::Result<()> {
        let mut ended = signal(SignalKind::child())?;
        loop {
            self.reap();
            ended.recv().await;
        }
    }
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    if let Some(code) = status.exit_status() {
        return Some(Exit {
            code,
            signaled: false,
        });
    }
    status.terminating_signal().map(|code| Exit {
        code,
        signaled: true,
    })
}

/// Sends a signal to a program and everything in its process group. One that has gone is fine.
pub fn signal_group(pid: Pid, signal: Signal) {
    let _ = rustix::process::kill_process_group(pid, signal);
}
