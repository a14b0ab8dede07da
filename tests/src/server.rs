//! A server on a data folder and a port of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use control_api::workspaces::{CreateWorkspace, Workspace, WorkspaceState};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::api::Api;

/// What a world differs in.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Text of `config.toml`.
    pub config: String,
    /// Run guest agents as plain processes: no VM.
    pub process: bool,
    /// Further arguments of `roost up`.
    pub arguments: Vec<String>,
    /// Variables of the server, beside this process's own.
    pub environment: Vec<(&'static str, PathBuf)>,
    /// What runs as the agent of the process driver; absent: the real one.
    pub agent: Option<PathBuf>,
    /// Gives the workspaces a file system of their own of so many MiB. Needs root.
    pub workspaces_mib: Option<u64>,
}

/// What `roost up --json` prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    url: String,
    first_link: Option<String>,
}

/// A running server. Dropped, it is killed, its VMs with it, and its data folder removed.
pub struct Server {
    folder: tempfile::TempDir,
    options: Options,
    child: Child,
    api: Api,
    port: u16,
    log: PathBuf,
}

impl Server {
    /// Starts a server and makes its administrator.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        // Short: paths of Unix sockets are.
        let folder = tempfile::Builder::new().prefix("rst").tempdir_in("/tmp")?;
        std::fs::write(folder.path().join("config.toml"), &options.config)?;
        if let Some(mib) = options.workspaces_mib {
            small_file_system(&folder.path().join("workspaces"), mib)?;
        }
        let log = folder.path().join("server.log");
        let (child, ready) = spawn(folder.path(), &options, 0, &log).await?;
        let port = ready
            .url
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let port = port.with_context(|| format!("{} has a port", ready.url))?;
        let link = ready.first_link.context("a fresh server prints a link")?;
        let token = link.split_once('#').context("the link carries a token")?.1;
        let api = Api::first_administrator(&ready.url, token).await?;
        Ok(Self {
            folder,
            options,
            child,
            api,
            port,
            log,
        })
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Makes a workspace that must come to run; else the error carries what the server says of it and its log.
    pub async fn running(&self, request: &CreateWorkspace) -> anyhow::Result<Workspace> {
        let made = self.api.create(request).await?;
        let runs = made.state == WorkspaceState::Running && made.ready;
        ensure!(runs, "{made:#?}\n{}", self.log());
        Ok(made)
    }

    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    pub fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends the server without warning; its VMs go on.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("killing the server")
    }

    /// Starts it again on the same folder and port.
    pub async fn again(&mut self) -> anyhow::Result<()> {
        let (child, _) = spawn(self.folder.path(), &self.options, self.port, &self.log).await?;
        self.child = child;
        Ok(())
    }

    /// Deletes every workspace and ends the server in order.
    pub async fn close(mut self) -> anyhow::Result<()> {
        for workspace in self.api.workspaces().await? {
            self.api.delete(workspace.id.as_str()).await?;
        }
        self.end().await
    }

    /// Ends the server in order, as the system does.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        self.terminate()?;
        self.child.wait().await?;
        Ok(())
    }

    /// The monitors of its workspaces.
    pub fn monitors(&self) -> Vec<u32> {
        let data = self.folder.path().to_string_lossy();
        processes(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.contains("vm-monitor") && line.contains(&*data)
        })
    }

    /// The VMMs of its workspaces.
    pub fn vmms(&self) -> Vec<u32> {
        self.children(|line| !line.contains("disk-server"))
    }

    /// The servers of its workspaces' disks.
    pub fn disk_servers(&self) -> Vec<u32> {
        self.children(|line| line.contains("disk-server"))
    }

    /// The monitors' children with such a command line.
    fn children(&self, fits: impl Fn(&str) -> bool) -> Vec<u32> {
        let monitors = self.monitors();
        processes(|pid| {
            let read = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let status = String::from_utf8_lossy(&read("status")).into_owned();
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
            let parent = parent.and_then(|parent| parent.trim().parse().ok());
            parent.is_some_and(|parent| monitors.contains(&parent))
                && fits(&String::from_utf8_lossy(&read("cmdline")))
        })
    }

    fn terminate(&self) -> anyhow::Result<()> {
        let Some(id) = self.child.id() else {
            return Ok(());
        };
        terminate(id)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        // Monitors outlive their server: end those that a failed test left. They stop their VMs when told to.
        for id in self.monitors() {
            let _ = terminate(id);
        }
        if self.options.workspaces_mib.is_some() {
            // Lazily: a machine that a failed test left may still be ending.
            let folder = self.folder.path().join("workspaces");
            let _ = std::process::Command::new("umount")
                .arg("--lazy")
                .arg(folder)
                .status();
        }
    }
}

fn terminate(process: u32) -> anyhow::Result<()> {
    let process = rustix::process::Pid::from_raw(process as i32).context("a process has an id")?;
    Ok(rustix::process::kill_process(
        process,
        rustix::process::Signal::TERM,
    )?)
}

fn small_file_system(folder: &Path, mib: u64) -> anyhow::Result<()> {
    std::fs::create_dir(folder)?;
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700")])
        .arg("roost-tests")
        .arg(folder)
        .status()?;
    anyhow::ensure!(mounted.success(), "a file system for the test: {mounted}");
    Ok(())
}

fn processes(wanted: impl Fn(u32) -> bool) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| wanted(*pid))
        .collect()
}

async fn spawn(
    data: &Path,
    options: &Options,
    port: u16,
    log: &Path,
) -> anyhow::Result<(Child, Ready)> {
    let program =
        std::env::var_os("ROOST_BIN").context("ROOST_BIN is not set: run `./dev test`")?;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)?;
    let mut command = Command::new(program);
    command
        .args(["--json", "up", "--port", &port.to_string(), "--data"])
        .arg(data);
    if options.process {
        let agent = match &options.agent {
            Some(agent) => agent.into(),
            None => std::env::var_os("ROOST_AGENT")
                .context("ROOST_AGENT is not set: run `./dev test`")?,
        };
        command
            .arg("--process-agent")
            .arg(agent)
            .env("ROOST_ALLOW_PROCESS_DRIVER", "1");
    }
    let mut child = command
        .args(&options.arguments)
        .envs(options.environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?)
        .kill_on_drop(true)
        .spawn()
        .context("starting the server")?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let mut lines = BufReader::new(stdout).lines();
    let first = tokio::time::timeout(Duration::from_secs(120), lines.next_line()).await;
    let Ok(Ok(Some(line))) = first else {
        let status = child.try_wait()?;
        let said = std::fs::read_to_string(data.join("server.log")).unwrap_or_default();
        bail!("the server did not get ready ({status:?}): {said}");
    };
    Ok((
        child,
        serde_json::from_str(&line).with_context(|| format!("reading {line}"))?,
    ))
}
