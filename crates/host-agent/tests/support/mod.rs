//! A host of its own for each test: real monitors, real agents as plain processes, real Git servers.
#![allow(dead_code, reason = "each test target uses its part")]

pub mod network;
pub mod relay;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use fleet_api::Later;
use fleet_api::control::{Credential, GitCredentials, GitRemote};
use fleet_api::host::{Host, Observed, Repository, RunSpec};
use host_agent::config::{Driver, Room};
use host_agent::{HostConfig, LocalHost};
use model::{Size, WorkspaceId, WorkspaceName};

/// Credentials in memory, and what was rejected.
#[derive(Default)]
pub struct Profile {
    pub credential: Mutex<Option<Credential>>,
    pub asked: Mutex<Vec<GitRemote>>,
    pub rejected: Mutex<Vec<GitRemote>>,
}

impl Profile {
    pub fn with(username: &str, secret: &str) -> Arc<Self> {
        let profile = Self::default();
        profile.set(username, secret);
        Arc::new(profile)
    }

    pub fn set(&self, username: &str, secret: &str) {
        let credential = Credential {
            username: username.into(),
            secret: secret.into(),
        };
        *self.credential.lock().unwrap() = Some(credential);
    }
}

impl GitCredentials for Profile {
    fn credential(&self, _: &WorkspaceId, remote: &GitRemote) -> Later<'_, Option<Credential>> {
        self.asked.lock().unwrap().push(remote.clone());
        let credential = self.credential.lock().unwrap().clone();
        Box::pin(async move { credential })
    }

    fn rejected(&self, _: &WorkspaceId, remote: &GitRemote) {
        self.rejected.lock().unwrap().push(remote.clone());
    }
}

/// The guest agent's program: as given, or built now.
pub fn agent() -> PathBuf {
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        if let Some(agent) = std::env::var_os("ROOST_AGENT") {
            return agent.into();
        }
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--package",
                "guest-agent",
                "--bin",
                "roost-agent",
            ])
            .status()
            .unwrap();
        assert!(built.success());
        let test = std::env::current_exe().unwrap();
        test.parent().unwrap().parent().unwrap().join("roost-agent")
    };
    AGENT.get_or_init(find).clone()
}

/// A folder, and an end to every process that names it.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for process in processes_naming(self.path().to_str().unwrap()) {
            signal(process, rustix::process::Signal::KILL);
        }
    }
}

pub struct World {
    pub folder: Folder,
    pub host: LocalHost,
    pub config: HostConfig,
}

/// The monitor's own program, which is built with the workspace's.
fn monitor_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("roost-vm-monitor");
    assert!(
        program.exists(),
        "{} is not there: cargo build --workspace --bins",
        program.display()
    );
    program
}

impl World {
    pub async fn new() -> Self {
        Self::with_agent(&agent()).await
    }

    /// `agent`: the program that plays the guest.
    pub async fn with_agent(agent: &Path) -> Self {
        let agent = agent.to_owned();
        Self::with(move |config| config.driver = Driver::Process { agent }).await
    }

    pub async fn with(change: impl FnOnce(&mut HostConfig)) -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        let program = folder.path().join("roost");
        let monitor = monitor_program();
        write_program(
            &program,
            &format!(
                "#!/bin/sh\nexport ROOST_ALLOW_PROCESS_DRIVER=1\nexec '{}' \"$@\"\n",
                monitor.display()
            ),
        );
        let mut config = HostConfig::new(folder.path().join("data"), program);
        config.room = Room {
            memory_reserve_mib: 0,
            disk_reserve_mib: 1,
            ..Room::default()
        };
        change(&mut config);
        let host = LocalHost::new(config.clone(), Arc::new(Profile::default()))
            .await
            .unwrap();
        Self {
            folder,
            host,
            config,
        }
    }

    /// The host agent ends without a word and another takes its place.
    pub async fn restart(self) -> Self {
        let Self {
            folder,
            host,
            config,
        } = self;
        drop(host);
        let host = LocalHost::new(config.clone(), Arc::new(Profile::default()))
            .await
            .unwrap();
        Self {
            folder,
            host,
            config,
        }
    }

    pub async fn wait(
        &self,
        workspace: &WorkspaceId,
        wanted: impl Fn(&Observed) -> bool,
    ) -> Observed {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let observed = self.host.observe(workspace).await;
            if wanted(&observed) {
                return observed;
            }
            assert!(Instant::now() < deadline, "still {observed:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn running(&self, spec: &RunSpec) {
        self.host.run(spec.clone()).await.unwrap();
        self.wait(&spec.workspace, is_running).await;
    }

    /// Everything below the data folder.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.config.data.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                }
                files.push(
                    entry
                        .path()
                        .strip_prefix(&self.config.data)
                        .unwrap()
                        .to_owned(),
                );
            }
        }
        files.sort();
        files
    }

    /// Processes whose command line names this world.
    pub fn processes(&self) -> Vec<u32> {
        processes_naming(self.folder.path().to_str().unwrap())
    }

    pub fn monitor_process(&self, workspace: &WorkspaceId) -> u32 {
        let folder = self
            .config
            .data
            .join("run")
            .join(host_agent::folders::short(workspace));
        vm_monitor::folder::Folder::new(folder)
            .monitor()
            .unwrap()
            .process
    }
}

pub fn processes_naming(text: &str) -> Vec<u32> {
    let own = std::process::id();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| *process != own)
        .filter(|process| {
            let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            let names = |bytes: &[u8]| {
                bytes.split(|byte| *byte == 0).any(|part| {
                    let part = String::from_utf8_lossy(part);
                    part.contains(text) && !part.starts_with("_=")
                })
            };
            names(&line) || names(&environment)
        })
        .collect()
}

pub fn signal(process: u32, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_raw(process.cast_signed()).unwrap();
    let _ = rustix::process::kill_process(process, signal);
}

pub fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn is_running(observed: &Observed) -> bool {
    matches!(observed, Observed::Running { .. })
}

pub fn spec(id: &str, epoch: u64) -> RunSpec {
    RunSpec {
        workspace: WorkspaceId::new(id),
        name: WorkspaceName::parse("sample").unwrap(),
        organization: None,
        epoch,
        size: Size {
            vcpus: 1,
            memory_mib: 256,
            disk_gib: 16,
        },
        repository: None,
        origin: None,
        git_identity: None,
        environment: Default::default(),
    }
}

pub fn repository(url: &str) -> Repository {
    Repository {
        url: url.into(),
        branch: None,
        folder: "project".into(),
    }
}

/// A real Git server with public/project.git and private/project.git.
pub struct GitServer {
    pub folder: tempfile::TempDir,
    pub port: u16,
    child: Child,
}

pub const TOKEN: &str = "secret-token-1234";

impl GitServer {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// `further`: arguments of the server's program.
    pub fn start_with(further: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/git-server/git_server.py"
        );
        let mut child = Command::new("python3")
            .arg(program)
            .arg(folder.path())
            .args(["--listen", "127.0.0.1", "--token", TOKEN])
            .args(further)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let server = Self {
            folder,
            port: line.trim().parse().unwrap(),
            child,
        };
        for kind in ["public", "private"] {
            server.make(&format!("{kind}/project"));
        }
        server
    }

    /// Makes a repository with one commit on `main`, and `side` besides.
    pub fn make(&self, name: &str) {
        let bare = self.folder.path().join(format!("{name}.git"));
        git(
            self.folder.path(),
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                bare.to_str().unwrap(),
            ],
        );
        let work = tempfile::tempdir().unwrap();
        git(
            work.path(),
            &["init", "--quiet", "--initial-branch=main", "."],
        );
        std::fs::write(work.path().join("README"), "hello\n").unwrap();
        git(work.path(), &["add", "."]);
        git(work.path(), &["commit", "--quiet", "-m", "first"]);
        git(
            work.path(),
            &[
                "push",
                "--quiet",
                bare.to_str().unwrap(),
                "main",
                "main:side",
            ],
        );
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub fn requests(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("requests.log")).unwrap_or_default()
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs git with no configuration but what it needs, and gives its output.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = git_output(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn git_output(folder: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .envs([
            ("GIT_AUTHOR_NAME", "a"),
            ("GIT_AUTHOR_EMAIL", "a@example.com"),
            ("GIT_COMMITTER_NAME", "a"),
            ("GIT_COMMITTER_EMAIL", "a@example.com"),
        ])
        .output()
        .unwrap()
}
