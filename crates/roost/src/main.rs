//! The one program: composition of the services (`roost up`), a VM's monitor, and the command line client.
//!
//! Knows every part and none of their rules. Server commands are here, a file for each; [`cli`] is the
//! client, which speaks the public API as anybody could.
//!
//! - [`up`]: the whole server on one machine; start here.
//! - [`config`], [`data_folder`], [`port`]: what it is told and where it keeps what it knows.
//! - [`print`]: what every command says goes through it.
//! - [`doctor`], [`trust`], [`users`], [`backup`]: for operators.
//!
//! Tested by running the program: `tests/` beside this, and the workspace's `tests/`.

mod backup;
mod cli;
mod config;
mod control;
mod data_folder;
mod doctor;
mod host;
mod logs;
mod port;
mod print;
mod trust;
mod up;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// VS Code in the browser, on a virtual machine of your own.
#[derive(Debug, Parser)]
#[command(
    name = "roost",
    disable_version_flag = true,
    arg_required_else_help = true
)]
struct Arguments {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server; ends with a URL
    Up(Box<up::Up>),
    /// Say what this machine can do, what is off, and how to get it
    Doctor(doctor::Doctor),
    /// Write everything that a data folder has to one file, while the server runs or not
    Backup(backup::Backup),
    /// Make a data folder from such a file
    Restore(backup::restore::Restore),
    /// Add users, list them, let them choose new passwords
    Users(users::Users),
    /// Show or install the local certificate authority
    Trust(trust::Trust),
    /// Print the version
    Version,
    /// Print completions for a shell: `source <(roost completions bash)`
    Completions { shell: clap_complete::Shell },
    #[command(flatten)]
    Client(cli::ClientCommand),
    /// Watch one virtual machine; started by the server
    #[command(hide = true)]
    VmMonitor {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Serve one virtual machine's disk; started by its monitor
    #[command(hide = true)]
    DiskServer {
        #[arg(long)]
        spec: PathBuf,
    },
    /// Serve the memory of a virtual machine that slept; started by its monitor
    #[command(hide = true)]
    MemoryServer {
        #[arg(long)]
        spec: PathBuf,
    },
    /// Store a virtual machine's memory; started by its monitor
    #[command(hide = true)]
    MemoryWriter {
        #[arg(long)]
        spec: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) if error.is::<print::Closed>() => ExitCode::from(print::CLOSED_CODE),
        Err(error) => {
            print::remark(format_args!("roost: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        // There is one of these for every running workspace, so it gets no runtime that it does not need.
        Command::VmMonitor { dir } => {
            vm_monitor::run(&dir)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::DiskServer { spec } => {
            let _ = rustls::crypto::ring::default_provider().install_default();
            disk_server::run(&spec)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::MemoryServer { spec } => {
            let _ = rustls::crypto::ring::default_provider().install_default();
            disk_server::memory::run(&spec)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::MemoryWriter { spec } => {
            let _ = rustls::crypto::ring::default_provider().install_default();
            vm_monitor::capture::run(&spec)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Version => {
            version(arguments.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "roost", &mut script);
            print::bytes(&script)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Up(up) => runtime()?.block_on(up.run(arguments.json)),
        Command::Doctor(doctor) => runtime()?.block_on(doctor.run(arguments.json)),
        Command::Backup(backup) => runtime()?.block_on(backup.run(arguments.json)),
        Command::Restore(restore) => restore.run(arguments.json),
        Command::Users(users) => runtime()?.block_on(users.run(arguments.json)),
        Command::Client(command) => client(command, arguments.json),
        Command::Trust(trust) => trust.run(arguments.json),
    }
}

/// Runs a command of the client. Whatever still reads standard input is left behind, or the program would
/// wait for one more key after a shell has ended.
fn client(command: cli::ClientCommand, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let result = runtime.block_on(cli::run(command, cli::Output { json }));
    runtime.shutdown_background();
    result
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    // An error says that there is one already, which this process has only from here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

fn version(json: bool) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        print::line(serde_json::json!({ "version": version }))
    } else {
        print::line(format_args!("roost {version}"))
    }
}
