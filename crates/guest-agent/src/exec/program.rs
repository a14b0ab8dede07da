//! One program: its pipes, its exit, and how long it is kept when nobody is attached.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use guest_protocol::frames::{ExecStart, ExecStarted, execs};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::kept::Kept;
use super::working_directory;
use crate::machine::Machine;
use crate::processes::{Exit, Launch, Started, signal_group};
use crate::session::CallError;

const DEFAULT_LINGER: Duration = Duration::from_secs(60);
const LONGEST_LINGER: Duration = Duration::from_secs(24 * 3600);
/// How long a program that was told to end may take.
const GRACE: Duration = Duration::from_secs(5);
/// Output of what a program left behind is followed after its exit until it pauses for this long.
const AFTERMATH: Duration = Duration::from_millis(200);

/// A program that runs or lingers.
pub struct Program {
    pub name: String,
    pub key: String,
    command: Vec<String>,
    pid: Pid,
    linger: Duration,
    state: Mutex<State>,
    /// Told at every change of the state.
    pub changed: Notify,
}

pub struct State {
    pub stdout: Kept,
    pub stderr: Kept,
    pub exit: Option<Exit>,
    /// Number of the attachment that is served; 0: none.
    pub attached: u64,
    pub attachments: u64,
    /// Since when nobody is attached.
    pub alone_since: Instant,
    pub stdin: Option<pipe::Sender>,
    /// When output last came.
    heard: Instant,
}

#[derive(Clone, Copy)]
enum Channel {
    Stdout,
    Stderr,
}

impl State {
    fn channel(&mut self, channel: Channel) -> &mut Kept {
        match channel {
            Channel::Stdout => &mut self.stdout,
            Channel::Stderr => &mut self.stderr,
        }
    }

    fn ended(&self) -> bool {
        self.stdout.ended && self.stderr.ended
    }
}

impl Program {
    pub async fn start(
        machine: &'static Machine,
        name: String,
        request: ExecStart,
    ) -> Result<Arc<Self>, CallError> {
        let Some(first) = request.command.first().cloned() else {
            return Err(CallError::invalid("the command is empty"));
        };
        let pipes = Pipes::make(request.stdin).map_err(|error| cannot_start(&first, &error))?;
        let mut environment = machine.environment(request.root);
        environment.extend(request.environment);
        let launch = Launch {
            command: request.command.clone(),
            environment,
            working_directory: working_directory(machine, &request.working_directory),
            as_root: request.root,
            stdin: pipes.stdin,
            stdout: pipes.stdout,
            stderr: pipes.stderr,
            controlling_terminal: false,
            idle: false,
        };
        let folder = launch.working_directory.clone();
        let started = machine.processes.launch(machine, launch).await;
        let Started { pid, exit } = match started {
            Ok(started) => started,
            Err(error) => {
                // The kernel does not say whether it was the folder or the program.
                enter(machine, folder).await?;
                return Err(cannot_start(&first, &error));
            }
        };
        let linger = match request.linger_seconds {
            0 => DEFAULT_LINGER,
            seconds => Duration::from_secs(seconds.into()).min(LONGEST_LINGER),
        };
        let program = Arc::new(Self {
            name,
            key: request.key,
            command: request.command,
            pid,
            linger,
            state: Mutex::new(State {
                stdout: Kept::default(),
                stderr: Kept::default(),
                exit: None,
                attached: 0,
                attachments: 0,
                alone_since: Instant::now(),
                stdin: pipes.to_stdin,
                heard: Instant::now(),
            }),
            changed: Notify::new(),
        });
        tokio::spawn(pump(program.clone(), Channel::Stdout, pipes.from_stdout));
        tokio::spawn(pump(program.clone(), Channel::Stderr, pipes.from_stderr));
        tokio::spawn(supervise(machine, program.clone(), exit));
        Ok(program)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds a program's state")
    }

    /// Ends its process group too: what it started.
    pub fn signal(&self, signal: Signal) {
        // A process that was reaped is not signalled: its number may be another's.
        if self.state().exit.is_none() {
            signal_group(self.pid, signal);
        }
    }

    pub fn describe(&self) -> execs::Exec {
        let exit = self.state().exit;
        execs::Exec {
            exec: self.name.clone(),
            command: self.command.clone(),
            process: self.pid.as_raw_pid() as u32,
            running: exit.is_none(),
            code: exit.map_or(0, |exit| exit.code),
        }
    }

    pub fn started(&self, stdout_offset: u64, stderr_offset: u64) -> ExecStarted {
        ExecStarted {
            exec: self.name.clone(),
            process: self.pid.as_raw_pid() as u32,
            stdout_offset,
            stderr_offset,
        }
    }
}

/// Whether a program can be run in this folder. When not, the request is wrong rather than the program missing.
async fn enter(machine: &Machine, folder: PathBuf) -> Result<(), CallError> {
    let looked = move || {
        std::fs::metadata(folder.join(".")).map_err(|error| {
            let attempt = format!("entering the folder {}", folder.display());
            CallError::invalid(CallError::system(attempt, &error).to_string())
        })
    };
    machine.threads.run(looked).await.map(drop)
}

/// `NotFound`: there is no such program; `Permission`: it is there and cannot be run.
fn cannot_start(program: &str, error: &io::Error) -> CallError {
    if error.kind() == io::ErrorKind::NotFound {
        return CallError::not_found(format!("there is no program {program}"));
    }
    CallError::system(format!("starting {program}"), error)
}

/// The program's ends and ours.
struct Pipes {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    to_stdin: Option<pipe::Sender>,
    from_stdout: pipe::Receiver,
    from_stderr: pipe::Receiver,
}

impl Pipes {
    fn make(with_stdin: bool) -> io::Result<Self> {
        let (from_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (from_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdin, to_stdin) = if with_stdin {
            let (stdin, to_stdin) = pipe_with(PipeFlags::CLOEXEC)?;
            (stdin, Some(pipe::Sender::from_owned_fd(to_stdin)?))
        } else {
            (std::fs::File::open("/dev/null")?.into(), None)
        };
        Ok(Self {
            stdin,
            stdout,
            stderr,
            to_stdin,
            from_stdout: pipe::Receiver::from_owned_fd(from_stdout)?,
            from_stderr: pipe::Receiver::from_owned_fd(from_stderr)?,
        })
    }
}

/// Moves one channel's output into what is kept, as there is room.
async fn pump(program: Arc<Program>, channel: Channel, mut pipe: pipe::Receiver) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let room = {
            let mut changed = pin!(program.changed.notified());
            changed.as_mut().enable();
            let room = {
                let mut state = program.state();
                let kept = state.channel(channel);
                if kept.ended {
                    return;
                }
                kept.room()
            };
            if room == 0 {
                changed.await;
                continue;
            }
            room.min(buffer.len())
        };
        let read = pipe.read(&mut buffer[..room]).await;
        let mut state = program.state();
        match read {
            Ok(count) if count > 0 => {
                state.heard = Instant::now();
                state.channel(channel).push(&buffer[..count]);
            }
            _ => state.channel(channel).ended = true,
        }
        drop(state);
        program.changed.notify_waiters();
    }
}

/// Notes the exit, ends what nobody came back for, and forgets what has ended.
async fn supervise(
    machine: &'static Machine,
    program: Arc<Program>,
    exit: tokio::sync::oneshot::Receiver<Exit>,
) {
    let mut exit = pin!(exit);
    let mut told_to_end: Option<Instant> = None;
    loop {
        let mut changed = pin!(program.changed.notified());
        changed.as_mut().enable();
        let now = Instant::now();
        let (exited, wake) = {
            let mut state = program.state();
            let exited = state.exit.is_some();
            let mut wake = now + LONGEST_LINGER;
            if exited && !state.ended() {
                // Something that the program left behind still holds its pipes.
                let quiet = state.heard + AFTERMATH;
                if quiet <= now {
                    state.stdout.ended = true;
                    state.stderr.ended = true;
                    program.changed.notify_waiters();
                } else {
                    wake = quiet;
                }
            }
            if state.attached == 0 {
                let over = state.alone_since + program.linger;
                if over > now {
                    wake = wake.min(over);
                } else if exited {
                    break;
                } else if let Some(kill) = told_to_end {
                    if kill <= now {
                        signal_group(program.pid, Signal::KILL);
                    }
                    wake = wake.min(kill.max(now + GRACE));
                } else {
                    signal_group(program.pid, Signal::TERM);
                    told_to_end = Some(now + GRACE);
                    wake = wake.min(now + GRACE);
                }
            } else {
                told_to_end = None;
            }
            (exited, wake)
        };
        tokio::select! {
            ended = &mut exit, if !exited => {
                // The reaper lives as long as the agent.
                let ended = ended.unwrap_or(Exit { code: 0, signaled: true });
                let mut state = program.state();
                state.exit = Some(ended);
                state.heard = Instant::now();
                state.stdin = None;
                drop(state);
                program.changed.notify_waiters();
            }
            () = &mut changed => {}
            () = tokio::time::sleep_until(wake) => {}
        }
    }
    machine.programs.remove(&program.name);
}
