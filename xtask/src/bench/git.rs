//! This repository on a real Git server, at an address that a guest's Git relay goes to.

use std::net::{IpAddr, UdpSocket};
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::generate::root;

/// A running server; dropped, it ends.
pub struct GitServer {
    url: String,
    address: IpAddr,
    _folder: tempfile::TempDir,
    _child: Child,
}

impl GitServer {
    pub async fn start() -> anyhow::Result<Self> {
        let address = own_address().context(
            "this machine has no address beside loopback, which a guest's Git relay never goes to: \
             give it one, if only on a dummy interface",
        )?;
        let folder = tempfile::tempdir()?;
        let made = Command::new("git")
            .args(["clone", "-q", "--bare"])
            .arg(root())
            .arg(folder.path().join("public/roost.git"))
            .status()
            .await?;
        ensure!(made.success(), "git cloned nothing");
        let mut child = Command::new("python3")
            .arg(root().join("tests/git-server/git_server.py"))
            .arg(folder.path())
            .args(["--listen", &address.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting the Git server")?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let port: u16 = line
            .context("the Git server prints its port")?
            .trim()
            .parse()?;
        Ok(Self {
            url: format!("http://{address}:{port}/public/roost.git"),
            address,
            _folder: folder,
            _child: child,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the server's `config.toml` needs to say for it.
    pub fn config(&self) -> String {
        format!("[git]\nallow = [\"{}\"]\n", self.address)
    }
}

fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: it asks the kernel which address it would send from.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}
