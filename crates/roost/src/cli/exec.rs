//! `roost exec`: a command in a workspace as if it were a local one.

use std::process::ExitCode;

use clap::Args;
use guest_protocol::client::{CallWriter, Error, ExecEvent, Session};
use guest_protocol::frames::failure::Kind;
use guest_protocol::frames::{ExecStart, StreamClass};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Api, guest};
use crate::print;

/// Exit code when it was not the program that failed, but Roost: the same as ssh's.
pub const OWN_FAILURE: u8 = 255;
/// As of a shell: there is no such program; it is there and cannot be run.
const NO_PROGRAM: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

const SIGPIPE: i32 = 13;

#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is that of the command, or 128 and the number of the signal that ended it. As in a shell it is 127 \
when there is no such program, and 126 when it cannot be executed. It is 255 when Roost itself fails: no such \
workspace, one that does not run, a lost connection.\n\n\
Standard input, output and error are the command's. SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on to it.")]
pub struct Exec {
    pub workspace: String,
    /// Folder in the workspace; absent: the one that the editor opens
    #[arg(long, short = 'C')]
    directory: Option<String>,
    /// `NAME=value`, any number of times
    #[arg(long, short, value_parser = variable)]
    env: Vec<(String, String)>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("a variable is written NAME=value".into()),
    }
}

impl Exec {
    pub async fn run(self, api: &Api) -> anyhow::Result<ExitCode> {
        let session = guest::session(api, &self.workspace, StreamClass::Interactive).await?;
        let started = session
            .exec(ExecStart {
                command: self.command,
                working_directory: self.directory.unwrap_or_default(),
                environment: self.env.into_iter().collect(),
                stdin: true,
                ..ExecStart::default()
            })
            .await;
        let mut exec = match started {
            Err(error) => return not_started(error),
            Ok(exec) => exec,
        };
        let name = exec.started().exec.clone();
        let input = tokio::spawn(feed(exec.stdin()));
        let mut signals = Signals::new()?;
        let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
        let exited = loop {
            tokio::select! {
                event = exec.next() => match event? {
                    Some(ExecEvent::Stdout { bytes, .. }) => {
                        let written = pass_on(&mut stdout, &bytes).await;
                        if let Err(closed) = print::closed(written) {
                            // It learns what it would learn from a local pipe.
                            send(&session, &name, SIGPIPE).await?;
                            return Err(closed);
                        }
                    }
                    // Nobody may read what it complains about, as little as that of a local program.
                    Some(ExecEvent::Stderr { bytes, .. }) => drop(pass_on(&mut stderr, &bytes).await),
                    Some(ExecEvent::Exited(exited)) => break exited,
                    None => anyhow::bail!("the workspace ended the command without an exit code"),
                },
                signal = signals.next() => send(&session, &name, signal).await?,
            }
        };
        input.abort();
        Ok(code(exited.code, exited.signaled))
    }
}

/// Gives the program our standard input until either ends.
async fn feed(mut stdin: CallWriter) {
    let mut local = tokio::io::stdin();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match local.read(&mut buffer).await {
            Ok(read) if read > 0 => {
                if stdin.write(buffer[..read].to_vec()).await.is_err() {
                    return;
                }
            }
            _ => {
                // The program may have ended meanwhile.
                let _ = stdin.end().await;
                return;
            }
        }
    }
}

async fn pass_on(to: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

async fn send(session: &Session, exec: &str, signal: i32) -> anyhow::Result<()> {
    match session.exec_signal(exec, signal).await {
        // It has ended meanwhile.
        Err(error) if error.kind() == Some(Kind::NotFound) => Ok(()),
        sent => Ok(sent?),
    }
}

/// The signals that are passed on.
struct Signals([Signal; 4]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::quit())?,
        ]))
    }

    /// The number of the next one.
    async fn next(&mut self) -> i32 {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        let kind = tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
            _ = quit.recv() => SignalKind::quit(),
        };
        kind.as_raw_value()
    }
}

/// A program that could not be started is told by its code, as a shell does; other failures are Roost's.
pub fn not_started(error: Error) -> anyhow::Result<ExitCode> {
    let code = match error.kind() {
        Some(Kind::NotFound) => NO_PROGRAM,
        Some(Kind::Permission | Kind::IsADirectory) => NOT_EXECUTABLE,
        _ => return Err(error.into()),
    };
    print::remark(format_args!("roost: {error}"));
    Ok(ExitCode::from(code))
}

/// As a shell reports it: 128 and the signal's number for a program that a signal ended.
pub fn code(code: i32, signaled: bool) -> ExitCode {
    let code = if signaled { 128 + code } else { code };
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
