//! Running a program in the guest: streams apart, exit code, attaching again after a drop.

use bytes::Bytes;

use super::{Answer, Call, CallWriter, Error, Request, Session};
use crate::frames::{
    ExecAttach, ExecExited, ExecList, ExecSignal, ExecStart, ExecStarted, data, execs,
};

/// A program that runs, or ran, in the guest. Dropping it leaves the program running for as long as it was
/// told to linger.
#[derive(Debug)]
pub struct Exec {
    started: ExecStarted,
    call: Call,
}

/// What a program does, in order within each channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// `offset` numbers the first byte since the program's start.
    Stdout {
        offset: u64,
        bytes: Bytes,
    },
    Stderr {
        offset: u64,
        bytes: Bytes,
    },
    Exited(ExecExited),
}

/// Everything that a program said, for those that say little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exited: ExecExited,
}

impl ExecOutput {
    pub fn success(&self) -> bool {
        self.exited
            == ExecExited {
                code: 0,
                signaled: false,
            }
    }
}

impl Exec {
    /// Its name, for [`Session::exec_attach`] and [`Session::exec_signal`], and its process id.
    pub fn started(&self) -> &ExecStarted {
        &self.started
    }

    /// Its standard input, when it was started with `stdin`. To be taken once.
    pub fn stdin(&mut self) -> CallWriter {
        self.call.writer()
    }

    /// What happens next; `None` after the exit.
    pub async fn next(&mut self) -> Result<Option<ExecEvent>, Error> {
        loop {
            match self.call.next().await? {
                Some(Answer::Data(data)) if data.bytes.is_empty() => {}
                Some(Answer::Data(data)) => {
                    let stderr = data.channel == data::Channel::Stderr as i32;
                    let (offset, bytes) = (data.offset, data.bytes);
                    return Ok(Some(if stderr {
                        ExecEvent::Stderr { offset, bytes }
                    } else {
                        ExecEvent::Stdout { offset, bytes }
                    }));
                }
                Some(Answer::ExecExited(exited)) => {
                    self.call.finish();
                    return Ok(Some(ExecEvent::Exited(exited)));
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

impl Session {
    /// Starts a program.
    pub async fn exec(&self, start: ExecStart) -> Result<Exec, Error> {
        self.exec_call(Request::ExecStart(start)).await
    }

    /// Attaches to a program started before, from the offsets that the caller has not seen yet.
    pub async fn exec_attach(&self, attach: ExecAttach) -> Result<Exec, Error> {
        self.exec_call(Request::ExecAttach(attach)).await
    }

    async fn exec_call(&self, request: Request) -> Result<Exec, Error> {
        let mut call = self.call(request)?;
        match call.next().await? {
            Some(Answer::ExecStarted(started)) => Ok(Exec { started, call }),
            _ => Err(Error::Unexpected("exec")),
        }
    }

    /// Runs a program to its end and keeps all that it says.
    pub async fn exec_output(&self, start: ExecStart) -> Result<ExecOutput, Error> {
        let mut exec = self.exec(start).await?;
        let mut output = ExecOutput::default();
        while let Some(event) = exec.next().await? {
            match event {
                ExecEvent::Stdout { bytes, .. } => output.stdout.extend_from_slice(&bytes),
                ExecEvent::Stderr { bytes, .. } => output.stderr.extend_from_slice(&bytes),
                ExecEvent::Exited(exited) => {
                    output.exited = exited;
                    return Ok(output);
                }
            }
        }
        Err(Error::Unexpected("exec"))
    }

    /// Sends a signal to a program and what it started.
    pub async fn exec_signal(&self, exec: &str, signal: i32) -> Result<(), Error> {
        let request = ExecSignal {
            exec: exec.into(),
            signal,
        };
        self.command(Request::ExecSignal(request), "signal").await
    }

    /// The programs that run or linger.
    pub async fn exec_list(&self) -> Result<Vec<execs::Exec>, Error> {
        self.ask(
            Request::ExecList(ExecList {}),
            "list of programs",
            |answer| match answer {
                Answer::Execs(execs) => Some(execs.execs),
                _ => None,
            },
        )
        .await
    }
}
