//! The command line client: what a person or a script does with workspaces, through the public API alone.
//!
//! It reads what `roost login` saved, or `ROOST_URL` and `ROOST_TOKEN`. With `--json` every command prints
//! one JSON document (or one per line while something goes on) and nothing else on standard output.

mod api;
mod copy;
mod exec;
mod forward;
mod guest;
mod hint;
mod keep;
mod lines;
mod login;
mod output;
mod profile;
mod progress;
mod shell;
mod snapshots;
mod usage;
mod work;
mod workspaces;

use std::process::ExitCode;

use clap::Subcommand;

use crate::print;

pub use api::Api;
pub use output::Output;

/// Commands for those who use Roost.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Sign in to a server and remember it
    Login(login::Login),
    /// Forget the server and revoke this machine's token
    Logout,
    /// List workspaces
    #[command(visible_alias = "list")]
    Ls(workspaces::Ls),
    /// Make a workspace from a Git URL, or an empty one
    Create(workspaces::Create),
    /// Start a workspace
    Start(workspaces::Start),
    /// Stop a workspace; its disk stays
    Stop(workspaces::Stop),
    /// Delete a workspace and its disk
    Rm(workspaces::Rm),
    /// Run a command in a workspace, with its streams and its exit code
    Exec(exec::Exec),
    /// Open a terminal in a workspace
    Shell(shell::Shell),
    /// Copy files to or from a workspace: `roost cp file.txt NAME:/path`
    Cp(copy::Cp),
    /// Make a port of a workspace reachable on this machine
    PortForward(forward::PortForward),
    /// Show how a workspace's last start went, and its console
    Logs(workspaces::Logs),
    /// Open a workspace in the browser
    Open(workspaces::Open),
    /// Show what takes the room on a running workspace's disk
    Du(workspaces::Du),
    /// Points in time of a workspace's disk: list, take, restore, fork
    Snapshots(snapshots::Snapshots),
    /// Show who takes how much, on hosts and in the store
    Usage(usage::Usage),
    /// Show or set how much somebody may have, for administrators
    Quota(usage::Quota),
    /// List, save, restore and take away uncommitted work
    Work(work::Work),
}

impl ClientCommand {
    /// The workspace that it is about.
    fn workspace(&self) -> Option<&str> {
        match self {
            Self::Login(_)
            | Self::Logout
            | Self::Ls(_)
            | Self::Create(_)
            | Self::Usage(_)
            | Self::Quota(_) => None,
            Self::Start(start) => Some(&start.workspace),
            Self::Stop(stop) => Some(&stop.workspace),
            Self::Rm(rm) => rm.workspaces.first().map(String::as_str),
            Self::Exec(exec) => Some(&exec.workspace),
            Self::Shell(shell) => Some(&shell.workspace),
            Self::Cp(cp) => cp.workspace(),
            Self::PortForward(forward) => Some(&forward.workspace),
            Self::Logs(logs) => Some(&logs.workspace),
            Self::Open(open) => Some(&open.workspace),
            Self::Du(du) => Some(&du.workspace),
            Self::Snapshots(snapshots) => snapshots.workspace(),
            Self::Work(work) => Some(work.workspace()),
        }
    }

    /// The code that says "it was Roost that failed", for commands whose other codes are a program's own.
    fn failure_code(&self) -> Option<u8> {
        matches!(self, Self::Exec(_) | Self::Shell(_)).then_some(exec::OWN_FAILURE)
    }
}

/// Runs one command; the exit code of `exec` is that of what it ran.
pub async fn run(command: ClientCommand, output: Output) -> anyhow::Result<ExitCode> {
    let (workspace, own_failure) = (
        command.workspace().map(String::from),
        command.failure_code(),
    );
    let error = match dispatch(command, output).await {
        Ok(code) => return Ok(code),
        Err(error) => hint::with_hint(error, workspace.as_deref()).await,
    };
    match own_failure {
        Some(code) if !error.is::<print::Closed>() => {
            print::remark(format_args!("roost: {error:#}"));
            Ok(ExitCode::from(code))
        }
        _ => Err(error),
    }
}

async fn dispatch(command: ClientCommand, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        ClientCommand::Login(login) => login.run(output).await?,
        ClientCommand::Logout => login::logout(output).await?,
        ClientCommand::Ls(ls) => ls.run(&Api::saved()?, output).await?,
        ClientCommand::Create(create) => create.run(&Api::saved()?, output).await?,
        ClientCommand::Start(start) => start.run(&Api::saved()?, output).await?,
        ClientCommand::Stop(stop) => stop.run(&Api::saved()?, output).await?,
        ClientCommand::Rm(rm) => rm.run(&Api::saved()?, output).await?,
        ClientCommand::Exec(exec) => return exec.run(&Api::saved()?).await,
        ClientCommand::Shell(shell) => return shell.run(&Api::saved()?).await,
        ClientCommand::Cp(cp) => cp.run(&Api::saved()?, output).await?,
        ClientCommand::PortForward(forward) => forward.run(&Api::saved()?, output).await?,
        ClientCommand::Logs(logs) => logs.run(&Api::saved()?, output).await?,
        ClientCommand::Open(open) => open.run(&Api::saved()?, output).await?,
        ClientCommand::Du(du) => du.run(&Api::saved()?, output).await?,
        ClientCommand::Snapshots(snapshots) => return snapshots.run(&Api::saved()?, output).await,
        ClientCommand::Usage(usage) => usage.run(&Api::saved()?, output).await?,
        ClientCommand::Quota(quota) => quota.run(&Api::saved()?, output).await?,
        ClientCommand::Work(work) => work.run(&Api::saved()?, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}
