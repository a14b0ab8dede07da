//! The command line, as a person at a shell meets it.

use std::process::{Output, Stdio};

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::api::Api;

/// What a command did.
#[derive(Debug)]
pub struct Said {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `roost ARGUMENTS` against the server, signed in.
pub async fn roost(api: &Api, arguments: &[&str]) -> anyhow::Result<Said> {
    said(command(api, arguments)?.output().await?)
}

/// Runs the command to its end with this on its standard input.
pub async fn fed(command: &mut Command, input: &str) -> anyhow::Result<Said> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    // Some commands end before they have read it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    said(child.wait_with_output().await?)
}

fn said(output: Output) -> anyhow::Result<Said> {
    Ok(Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// `roost ARGUMENTS`, signed in and not started yet.
pub fn command(api: &Api, arguments: &[&str]) -> anyhow::Result<Command> {
    let program =
        std::env::var_os("ROOST_BIN").context("ROOST_BIN is not set: run `./dev test`")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("ROOST_URL", api.url())
        .env("ROOST_TOKEN", api.token())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}
