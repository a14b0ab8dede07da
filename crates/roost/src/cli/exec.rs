//! `roost exec`: a command in a workspace as if it were a local one.

use std::process::ExitCode;

use clap::Args;
use guest_protocol::client::ExecEvent;
use guest_protocol::frames::{ExecStart, StreamClass};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::{Api, guest};

#[derive(Debug, Args)]
pub struct Exec {
    workspace: String,
    /// Folder in the workspace; absent: the one that the editor opens
    #[arg(long, short = 'C')]
    directory: Option<String>,
    /// `NAME=value`, any number of times
    #[arg(long, short)]
    env: Vec<String>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    pub async fn run(self, api: &Api) -> anyhow::Result<ExitCode> {
        let session = guest::session(api, &self.workspace, StreamClass::Interactive).await?;
        let environment = self.env.iter().filter_map(|one| one.split_once('='));
        let mut exec = session
            .exec(ExecStart {
                command: self.command,
                working_directory: self.directory.unwrap_or_default(),
                environment: environment
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect(),
                stdin: true,
                ..ExecStart::default()
            })
            .await?;
        let name = exec.started().exec.clone();

        let mut stdin = exec.stdin();
        let input = tokio::spawn(async move {
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
        });

        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
        let exited = loop {
            tokio::select! {
                event = exec.next() => match event? {
                    Some(ExecEvent::Stdout { bytes, .. }) => {
                        stdout.write_all(&bytes).await?;
                        stdout.flush().await?;
                    }
                    Some(ExecEvent::Stderr { bytes, .. }) => {
                        stderr.write_all(&bytes).await?;
                        stderr.flush().await?;
                    }
                    Some(ExecEvent::Exited(exited)) => break exited,
                    None => anyhow::bail!("the workspace ended the command without an exit code"),
                },
                _ = interrupt.recv() => session.exec_signal(&name, 2).await?,
                _ = terminate.recv() => session.exec_signal(&name, 15).await?,
            }
        };
        input.abort();
        Ok(code(exited.code, exited.signaled))
    }
}

/// As a shell reports it: 128 and the signal's number for a program that a signal ended.
pub fn code(code: i32, signaled: bool) -> ExitCode {
    let code = if signaled { 128 + code } else { code };
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
