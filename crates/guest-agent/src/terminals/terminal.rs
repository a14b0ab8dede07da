//! One terminal: its shell, its screen, and who follows it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use guest_protocol::frames::{TerminalCreate, TerminalSize, TerminalState, terminals};
use rustix::process::{Pid, Signal};
use terminal_screen::{Screen, Size};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pty::{self, Master};
use super::pump;
use crate::exec::working_directory;
use crate::machine::Machine;
use crate::processes::{Exit, Launch, signal_group};
use crate::session::CallError;

/// How long programs have between hang-up and kill.
const GRACE: Duration = Duration::from_secs(2);

/// A terminal that runs, or ended a moment ago.
pub struct Terminal {
    pub name: String,
    pub key: String,
    pub created_ms: u64,
    title: String,
    command: Vec<String>,
    pid: Pid,
    pub master: Master,
    /// Keeps what one client types together.
    pub typing: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Told at every change of the state.
    pub changed: Notify,
}

pub struct State {
    pub screen: Screen,
    pub exit: Option<Exit>,
    /// All output is in the screen, and no more will come.
    pub ended: bool,
    last_follower: u64,
    pub followers: BTreeMap<u64, Follower>,
}

/// Where an attachment is in the output.
pub struct Follower {
    /// Number of the first byte that it was not sent.
    pub sent: u64,
    /// When it last took some.
    pub moved: Instant,
    /// It did not keep up: the terminal goes on without it, and it gets the screen anew.
    pub left_behind: bool,
    /// It answers what programs ask of a terminal.
    pub types: bool,
}

impl State {
    pub fn follow(&mut self, sent: u64, types: bool) -> u64 {
        self.last_follower += 1;
        let follower = Follower {
            sent,
            moved: Instant::now(),
            left_behind: false,
            types,
        };
        self.followers.insert(self.last_follower, follower);
        self.last_follower
    }
}

impl Terminal {
    pub async fn start(
        machine: &'static Machine,
        name: String,
        size: Size,
        request: TerminalCreate,
    ) -> Result<Arc<Self>, CallError> {
        let login = vec![
            machine.user.shell.to_string_lossy().into_owned(),
            "-l".into(),
        ];
        let command = if request.command.is_empty() {
            login
        } else {
            request.command
        };
        let failed = |error: &io::Error| match error.kind() {
            io::ErrorKind::NotFound => CallError::not_found(format!(
                "there is no program {}, or the folder to start it in is missing",
                command[0]
            )),
            _ => CallError::system(format!("starting {}", command[0]), error),
        };
        let (master, slave) = pty::open(size, machine.owned.then_some(&machine.user))
            .map_err(|error| CallError::system("opening a terminal", &error))?;
        let mut environment = machine.environment(false);
        environment.insert("TERM".into(), "xterm-256color".into());
        environment.insert("COLORTERM".into(), "truecolor".into());
        environment.extend(request.environment);
        let end = |file: &std::os::fd::OwnedFd| file.try_clone();
        let launch = Launch {
            command: command.clone(),
            environment,
            working_directory: working_directory(machine, &request.working_directory),
            as_root: false,
            stdin: end(&slave).map_err(|error| failed(&error))?,
            stdout: end(&slave).map_err(|error| failed(&error))?,
            stderr: slave,
            controlling_terminal: true,
            idle: false,
        };
        let started = machine
            .processes
            .launch(machine, launch)
            .await
            .map_err(|error| failed(&error))?;
        let terminal = Arc::new(Self {
            name,
            key: request.key,
            created_ms: crate::figures::now_ms(),
            title: request.title,
            command,
            pid: started.pid,
            master,
            typing: tokio::sync::Mutex::new(()),
            state: Mutex::new(State {
                screen: Screen::new(size, terminal_screen::DEFAULT_SCROLLBACK),
                exit: None,
                ended: false,
                last_follower: 0,
                followers: BTreeMap::new(),
            }),
            changed: Notify::new(),
        });
        machine
            .interactive
            .spawn(pump::run(machine, terminal.clone(), started.exit));
        Ok(terminal)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds a terminal's state")
    }

    pub fn has_exited(&self) -> bool {
        self.state().exit.is_some()
    }

    /// Gives the programs and the screen another size, and tells the followers.
    pub fn resize(&self, size: Size) {
        let mut state = self.state();
        if state.screen.size() == size || state.exit.is_some() {
            return;
        }
        state.screen.resize(size);
        if let Err(error) = self.master.resize(size) {
            tracing::warn!(terminal = self.name, %error, "the terminal kept its size");
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// What a client is told at the beginning, and when it is sent the screen anew.
    pub fn describe_state(
        &self,
        state: &State,
        offset: u64,
        repaint: Option<Vec<u8>>,
    ) -> TerminalState {
        TerminalState {
            terminal: self.name.clone(),
            offset,
            continued: repaint.is_none(),
            repaint: repaint.unwrap_or_default().into(),
            size: Some(to_frame(state.screen.size())),
            title: self.title_in(state),
            process: self.pid.as_raw_pid() as u32,
        }
    }

    fn title_in(&self, state: &State) -> String {
        if self.title.is_empty() {
            state.screen.title().unwrap_or_default().into()
        } else {
            self.title.clone()
        }
    }

    pub fn describe(&self) -> terminals::Terminal {
        let pid = self.pid.as_raw_pid();
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let state = self.state();
        terminals::Terminal {
            terminal: self.name.clone(),
            title: self.title_in(&state),
            size: Some(to_frame(state.screen.size())),
            process: pid as u32,
            attached: state.followers.len() as u32,
            working_directory: folder.to_string_lossy().into_owned(),
            created_ms: self.created_ms,
            foreground: self.foreground_name().unwrap_or_default(),
            command: self.command.clone(),
            key: self.key.clone(),
        }
    }

    fn foreground_name(&self) -> Option<String> {
        let group = self.master.foreground()?;
        let name = std::fs::read_to_string(format!("/proc/{group}/comm")).ok()?;
        Some(name.trim_end().to_owned())
    }

    fn signal(&self, signal: Signal) {
        if self.has_exited() {
            return;
        }
        signal_group(self.pid, signal);
        if let Some(group) = self.master.foreground().and_then(Pid::from_raw)
            && group != self.pid
        {
            signal_group(group, signal);
        }
    }

    /// Tells the programs that their terminal is gone.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
        // A stopped program hears of it only when it goes on.
        self.signal(Signal::CONT);
    }

    /// Hangs up, kills what does not go, and waits for the end.
    pub async fn close(&self) {
        self.hang_up();
        if tokio::time::timeout(GRACE, self.exited()).await.is_err() {
            self.signal(Signal::KILL);
            // What cannot be killed is the kernel's to end; the caller has waited long enough.
            let _ = tokio::time::timeout(GRACE, self.exited()).await;
        }
    }

    async fn exited(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.has_exited() {
                return;
            }
            changed.await;
        }
    }
}

fn to_frame(size: Size) -> TerminalSize {
    TerminalSize {
        columns: size.columns.into(),
        rows: size.rows.into(),
    }
}
