//! The command line, as a person at a shell meets it.

use anyhow::Context;
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
    let output = command(api, arguments)?.output().await?;
    Ok(Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// The same, not started yet.
pub fn command(api: &Api, arguments: &[&str]) -> anyhow::Result<Command> {
    let program =
        std::env::var_os("ROOST_BIN").context("ROOST_BIN is not set: run `./dev test`")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("ROOST_URL", api.url())
        .env("ROOST_TOKEN", api.token())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}
