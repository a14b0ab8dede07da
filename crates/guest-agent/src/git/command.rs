//! Running git as the user, for the agent's own questions: it runs no hooks, waits for nobody, and ends when its
//! answer is no longer wanted.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guest_protocol::frames::failure;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use crate::machine::Machine;
use crate::processes::{Exit, Launch, Started, signal_group};
use crate::session::CallError;

/// Of git's answer, bytes.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;
/// Of its complaint, bytes.
const MAX_COMPLAINT: u64 = 1024;
/// For git to remove its temporary files once it is told to end.
const AFTER_TERM: Duration = Duration::from_secs(2);

/// Whatever the user has configured, these hold.
const CONFIGURATION: [&str; 13] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.splitIndex=false",
    "core.safecrlf=false",
    "core.logAllRefUpdates=false",
    // A machine may end at any moment, and a reference to nothing makes git refuse work.
    "core.fsync=objects,reference",
    "core.fsyncMethod=batch",
    "submodule.recurse=false",
    "i18n.commitEncoding=UTF-8",
    "commit.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "pack.threads=1",
];

/// Why git gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git cannot be run: {0}")]
    Start(#[from] io::Error),
    #[error("git {command} failed: {complaint}")]
    Failed { command: String, complaint: String },
    #[error("git {0} had too much to say")]
    TooLong(String),
}

impl From<GitError> for CallError {
    fn from(error: GitError) -> Self {
        Self::failed(failure::Kind::Internal, error.to_string())
    }
}

/// Git in one folder.
#[derive(Clone)]
pub struct Git {
    machine: &'static Machine,
    folder: PathBuf,
    index: Option<PathBuf>,
    idle: bool,
    time_ms: u64,
}

/// Git at work, its answer in a pipe.
pub struct Running {
    pub answer: pipe::Receiver,
    complaint: File,
    leash: Leash,
    command: String,
}

impl Git {
    pub fn new(machine: &'static Machine, folder: &Path) -> Self {
        Self {
            machine,
            folder: folder.into(),
            index: None,
            idle: false,
            time_ms: 0,
        }
    }

    /// With another index than the repository's own.
    pub fn with_index(&self, index: PathBuf) -> Self {
        Self {
            index: Some(index),
            ..self.clone()
        }
    }

    /// With the CPU and the disk that nobody else wants.
    pub fn idle(self, idle: bool) -> Self {
        Self { idle, ..self }
    }

    /// With a time for the commits that it makes.
    pub fn at(self, time_ms: u64) -> Self {
        Self { time_ms, ..self }
    }

    /// What git answers.
    pub async fn ask(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        self.feed(arguments, &[]).await
    }

    /// What git answers in a line.
    pub async fn line(&self, arguments: &[&str]) -> Result<String, GitError> {
        let answer = self.ask(arguments).await?;
        Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
    }

    /// What git answers to an input.
    pub async fn feed(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, GitError> {
        let answer = memory()?;
        let to_answer = answer.try_clone()?.into();
        let (complaint, leash) = self.start(arguments, input, to_answer).await?;
        let command = arguments[0].to_owned();
        leash.wait(&command, complaint).await?;
        if answer.metadata()?.len() > MAX_ANSWER {
            return Err(GitError::TooLong(command));
        }
        Ok(beginning(answer, MAX_ANSWER)?)
    }

    /// Starts git with an answer that may be long.
    pub async fn stream(&self, arguments: &[&str]) -> Result<Running, GitError> {
        let (answer, to_answer) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let answer = pipe::Receiver::from_owned_fd(answer)?;
        let (complaint, leash) = self.start(arguments, &[], to_answer).await?;
        Ok(Running {
            answer,
            complaint,
            leash,
            command: arguments[0].into(),
        })
    }

    async fn start(
        &self,
        arguments: &[&str],
        input: &[u8],
        stdout: OwnedFd,
    ) -> Result<(File, Leash), GitError> {
        let mut stdin = memory()?;
        stdin.write_all(input)?;
        stdin.rewind()?;
        let complaint = memory()?;
        let mut command = vec!["git".to_owned()];
        for setting in CONFIGURATION {
            command.extend(["-c".into(), setting.into()]);
        }
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let mut environment = self.machine.environment(false);
        let date = format!("{} +0000", self.time_ms / 1000);
        let above = self.folder.parent().unwrap_or(&self.folder);
        let own = [
            ("LC_ALL", "C".to_owned()),
            ("GIT_TERMINAL_PROMPT", "0".into()),
            // The user's git never waits for this one.
            ("GIT_OPTIONAL_LOCKS", "0".into()),
            ("GIT_NO_LAZY_FETCH", "1".into()),
            // A broken repository is not taken for a folder of one further up.
            ("GIT_CEILING_DIRECTORIES", above.to_string_lossy().into()),
            ("GIT_AUTHOR_NAME", "Roost".into()),
            ("GIT_AUTHOR_EMAIL", "roost@localhost".into()),
            ("GIT_AUTHOR_DATE", date.clone()),
            ("GIT_COMMITTER_NAME", "Roost".into()),
            ("GIT_COMMITTER_EMAIL", "roost@localhost".into()),
            ("GIT_COMMITTER_DATE", date),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
        if let Some(index) = &self.index {
            environment.insert(
                "GIT_INDEX_FILE".into(),
                index.to_string_lossy().into_owned(),
            );
        }
        let launch = Launch {
            command,
            environment,
            working_directory: self.folder.clone(),
            as_root: false,
            stdin: stdin.into(),
            stdout,
            stderr: complaint.try_clone()?.into(),
            controlling_terminal: false,
            idle: self.idle,
        };
        let Started { pid, exit } = self.machine.processes.launch(self.machine, launch).await?;
        let leash = Leash {
            machine: self.machine,
            pid,
            exit: Some(exit),
        };
        Ok((complaint, leash))
    }
}

impl Running {
    /// Waits for the end, once the answer has been read.
    pub async fn wait(self) -> Result<(), GitError> {
        self.leash.wait(&self.command, self.complaint).await
    }
}

/// Ends the program when it is dropped before the program's own end.
struct Leash {
    machine: &'static Machine,
    pid: Pid,
    exit: Option<oneshot::Receiver<Exit>>,
}

impl Leash {
    async fn wait(mut self, command: &str, complaint: File) -> Result<(), GitError> {
        let Some(exit) = &mut self.exit else {
            return Ok(());
        };
        // Only a stopping agent does not tell.
        let ended = exit.await.unwrap_or(Exit {
            code: 0,
            signaled: true,
        });
        self.exit = None;
        if ended.code == 0 && !ended.signaled {
            return Ok(());
        }
        let said = beginning(complaint, MAX_COMPLAINT)?;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Err(GitError::Failed {
            command: command.into(),
            complaint: if said.is_empty() {
                format!("code {}", ended.code)
            } else {
                said
            },
        })
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let Some(exit) = self.exit.take() else {
            return;
        };
        let pid = self.pid;
        signal_group(pid, Signal::TERM);
        self.machine.bulk.spawn(async move {
            if tokio::time::timeout(AFTER_TERM, exit).await.is_err() {
                signal_group(pid, Signal::KILL);
            }
        });
    }
}

/// A file in memory: nobody has to read or write while the program runs.
fn memory() -> io::Result<File> {
    Ok(memfd_create("git", MemfdFlags::CLOEXEC)?.into())
}

fn beginning(mut file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.rewind()?;
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}
