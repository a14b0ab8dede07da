//! A relay as a workspace has it, and git as it runs in a guest.

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use host_agent::config::Proxy;
use host_agent::git::policy::Allowed;
use host_agent::git::relay::{Relay, RelayDoor};
use host_agent::git::upstream::Upstream;
use model::WorkspaceId;
use tokio::net::{TcpListener, UnixStream};

use super::{GitServer, Profile, git_output};

pub struct World {
    pub folder: tempfile::TempDir,
    pub relay: Arc<Relay>,
    pub door: RelayDoor,
    pub profile: Arc<Profile>,
    /// What the agent's port is in a guest.
    pub port: u16,
}

impl World {
    pub async fn new(profile: Arc<Profile>, allow: &[String], proxy: Proxy) -> Self {
        Self::trusting(profile, allow, proxy, Vec::new()).await
    }

    /// `authorities`: certificates in PEM, trusted beside the platform's.
    pub async fn trusting(
        profile: Arc<Profile>,
        allow: &[String],
        proxy: Proxy,
        authorities: Vec<String>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let allowed = Allowed::parse(allow).unwrap();
        let upstream = Upstream::new(allowed, proxy, authorities);
        let relay = Arc::new(Relay {
            upstream,
            credentials: profile.clone(),
        });
        let socket = folder.path().join("relay.sock");
        let door = RelayDoor::open(relay.clone(), WorkspaceId::new("w"), &socket).unwrap();
        let port = carry_to(socket).await;
        Self {
            folder,
            relay,
            door,
            profile,
            port,
        }
    }

    pub async fn for_server(server: &GitServer, profile: Arc<Profile>) -> Self {
        Self::new(
            profile,
            &[format!("127.0.0.1:{}", server.port)],
            Proxy::default(),
        )
        .await
    }

    /// The URL that git in a guest makes of `http://…` or `https://…` by its configuration.
    pub fn url(&self, url: &str) -> String {
        format!(
            "http://127.0.0.1:{}/{}",
            self.port,
            url.replacen("://", "/", 1)
        )
    }

    pub async fn git(&self, arguments: &[&str]) -> Output {
        let folder = self.folder.path().to_owned();
        let arguments: Vec<String> = arguments.iter().map(|text| text.to_string()).collect();
        let run = move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            git_output(&folder, &arguments)
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    pub async fn git_ok(&self, arguments: &[&str]) {
        let output = self.git(arguments).await;
        assert!(output.status.success(), "{}", stderr(&output));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Plays agent and monitor: what connects to the port comes out at the socket.
async fn carry_to(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                let mut to = UnixStream::connect(socket).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    port
}
