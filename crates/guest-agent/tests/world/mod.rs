//! A world of its own for each test: an agent as a plain process behind two Unix sockets, in a folder.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use guest_protocol::client::{ExecOutput, Session, Terminal, TerminalEvent};
use guest_protocol::frames::{ExecStart, Role, StreamClass, TerminalCreate, TerminalSize};
use guest_protocol::link::{self, Incoming, Link, Side};
use tempfile::TempDir;
use tokio::net::UnixStream;

/// Long enough for a busy machine; reached only when something is wrong.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct World {
    agent: Child,
    pub folder: TempDir,
    pub interactive: Link,
    pub bulk: Link,
    pub from_interactive: Incoming,
    pub from_bulk: Incoming,
}

impl Drop for World {
    fn drop(&mut self) {
        // It may have been shut down.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let agent = Command::new(env!("CARGO_BIN_EXE_roost-agent"))
            .arg("--listen-interactive")
            .arg(at("interactive"))
            .arg("--listen-bulk")
            .arg(at("bulk"))
            .arg("--root-folder")
            .arg(folder.path())
            .args(arguments)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let (interactive, from_interactive) = connect(&at("interactive")).await;
        let (bulk, from_bulk) = connect(&at("bulk")).await;
        Self {
            agent,
            folder,
            interactive,
            bulk,
            from_interactive,
            from_bulk,
        }
    }

    /// Replaces the interactive link, as a monitor does that was started again.
    pub async fn reconnect(&mut self) {
        let path = self.folder.path().join("interactive");
        (self.interactive, self.from_interactive) = connect(&path).await;
    }

    pub async fn editor(&self) -> Session {
        self.session(Role::Editor).await
    }

    pub async fn session(&self, role: Role) -> Session {
        let stream = self.interactive.open().await.unwrap();
        Session::open(stream, StreamClass::Interactive, role, "test")
            .await
            .unwrap()
    }

    pub async fn bulk_session(&self) -> Session {
        let stream = self.bulk.open().await.unwrap();
        Session::open(stream, StreamClass::Bulk, Role::Editor, "test")
            .await
            .unwrap()
    }

    /// A path below the folder of workspaces.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder
            .path()
            .canonicalize()
            .unwrap()
            .join("workspaces")
            .join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn agent_id(&self) -> u32 {
        self.agent.id()
    }

    /// Whether the agent ends by itself in time.
    pub fn agent_ends(&mut self) -> bool {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if self.agent.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

async fn connect(path: &Path) -> (Link, Incoming) {
    let deadline = Instant::now() + DEADLINE;
    let stream = loop {
        match UnixStream::connect(path).await {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "no agent: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    link::connect(stream, Side::Host, link::random_nonce())
        .await
        .unwrap()
}

/// Fails the test when something takes longer than the deadline.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Asks again and again until the answer is there.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    soon(what, async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

pub fn command(words: &[&str]) -> ExecStart {
    ExecStart {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecStart::default()
    }
}

pub fn shell(script: &str) -> ExecStart {
    command(&["/bin/sh", "-c", script])
}

pub async fn output(session: &Session, script: &str) -> ExecOutput {
    soon(script, session.exec_output(shell(script)))
        .await
        .unwrap()
}

/// A terminal that runs a plain shell without anybody's configuration.
pub fn plain_terminal() -> TerminalCreate {
    TerminalCreate {
        size: Some(TerminalSize {
            columns: 80,
            rows: 24,
        }),
        command: ["/bin/sh", "-i"].map(String::from).to_vec(),
        environment: [("PS1", "$ "), ("ENV", "")]
            .map(|(a, b)| (a.into(), b.into()))
            .into(),
        ..TerminalCreate::default()
    }
}

/// Follows a terminal until its output since now holds the text; gives that output.
pub async fn wait_for_text(terminal: &mut Terminal, text: &str) -> String {
    soon(text, async {
        let mut seen = Vec::new();
        loop {
            match terminal.next().await.unwrap() {
                Some(TerminalEvent::Output { bytes, .. }) => seen.extend_from_slice(&bytes),
                Some(TerminalEvent::Repaint(state)) => seen.extend_from_slice(&state.repaint),
                other => panic!("{other:?} instead of {text}"),
            }
            let shown = String::from_utf8_lossy(&seen);
            if shown.contains(text) {
                return shown.into_owned();
            }
        }
    })
    .await
}
