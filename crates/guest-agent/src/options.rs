//! The command line of process mode, which tests use: a plain child behind Unix sockets.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

/// Between savings of work in progress, unless a test says otherwise.
pub const WIP_INTERVAL: Duration = Duration::from_secs(60);

/// What process mode is told.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen_interactive: PathBuf,
    pub listen_bulk: PathBuf,
    /// Stands in for `/`: holds `workspaces`, `home` and `etc`.
    pub root_folder: PathBuf,
    /// Where git's relay listens on 127.0.0.1; none: it does not.
    pub git_relay_port: Option<u16>,
    /// Between savings of work in progress.
    pub wip_interval: Duration,
}

impl Options {
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<Self> {
        let mut interactive = None;
        let mut bulk = None;
        let mut root = None;
        let mut git_relay_port = None;
        let mut wip_interval = WIP_INTERVAL;
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let name = name.to_string_lossy().into_owned();
            let value = arguments
                .next()
                .with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--listen-interactive" => interactive = Some(value.into()),
                "--listen-bulk" => bulk = Some(value.into()),
                "--root-folder" => root = Some(value.into()),
                "--git-relay-port" => {
                    let port = value.to_string_lossy().parse();
                    git_relay_port = Some(port.context("--git-relay-port wants a number")?);
                }
                "--wip-interval-ms" => {
                    let interval = value.to_string_lossy().parse();
                    wip_interval = Duration::from_millis(
                        interval.context("--wip-interval-ms wants a number")?,
                    );
                }
                _ => bail!("unknown option {name}"),
            }
        }
        Ok(Self {
            listen_interactive: interactive.context("--listen-interactive PATH is missing")?,
            listen_bulk: bulk.context("--listen-bulk PATH is missing")?,
            root_folder: root.context("--root-folder FOLDER is missing")?,
            git_relay_port,
            wip_interval,
        })
    }
}
