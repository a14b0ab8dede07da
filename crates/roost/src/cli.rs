//! The command line client: what a person or a script does with workspaces, through the public API alone.
//!
//! It reads what `roost login` saved, or `ROOST_URL` and `ROOST_TOKEN`. With `--json` every command prints
//! one JSON document (or one per line while something goes on) and nothing else on standard output.

mod api;
mod copy;
mod exec;
mod forward;
mod guest;
mod login;
mod output;
mod profile;
mod progress;
mod shell;
mod workspaces;

use std::process::ExitCode;

use clap::Subcommand;

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
}

/// Runs one command; the exit code of `exec` is that of what it ran.
pub async fn run(command: ClientCommand, output: Output) -> anyhow::Result<ExitCode> {
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
    }
    Ok(ExitCode::SUCCESS)
}
