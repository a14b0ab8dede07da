//! The relay over HTTPS: a Git server with a certificate of its own authority, directly and through a real proxy.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::{Arc, Mutex};

use host_agent::config::Proxy;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::relay::{World, stderr};
use support::{GitServer, Profile, TOKEN};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// No resolver knows it: only the proxy finds it.
const NAME: &str = "git.company.invalid";

/// A Git server, and the certificate of the authority that it is trusted by.
struct SecureServer {
    git: GitServer,
    authority: String,
    _certificate: tempfile::NamedTempFile,
}

impl SecureServer {
    fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new([NAME.to_owned(), "127.0.0.1".to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), key.serialize_pem() + &signed.pem()).unwrap();
        Self {
            git: GitServer::start_with(&["--certificate", file.path().to_str().unwrap()]),
            authority: authority.pem(),
            _certificate: file,
        }
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}/{path}", self.git.port)
    }
}

/// A proxy that opens tunnels, all to the port asked for on loopback, and remembers the heads of what it was asked.
async fn tunnels() -> (Proxy, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heads = asked.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(tunnel(client, heads.clone()));
        }
    });
    let proxy = Proxy {
        https: Some(format!("http://me:pass@127.0.0.1:{port}").parse().unwrap()),
        ..Proxy::default()
    };
    (proxy, asked)
}

async fn tunnel(client: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && client.read_line(&mut head).await.unwrap_or(0) > 0 {}
    let target = head.split(' ').nth(1).unwrap_or_default();
    let port: u16 = target.rsplit(':').next().unwrap().parse().unwrap();
    heads.lock().unwrap().push(head);
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
        .unwrap();
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

async fn clones_and_pushes(world: &World, url: &str) {
    world.git_ok(&["clone", &world.url(url), "copy"]).await;
    let copy = world.path("copy");
    std::fs::write(copy.join("large"), vec![7; 3_000_000]).unwrap();
    let copy = copy.to_str().unwrap();
    for arguments in [
        &["add", "."][..],
        &["commit", "--quiet", "-m", "more"],
        &["push", "origin", "main"],
    ] {
        world.git_ok(&[&["-C", copy], arguments].concat()).await;
    }
    world.git_ok(&["clone", &world.url(url), "again"]).await;
    assert!(world.path("again/large").exists());
}

#[tokio::test]
async fn a_proxy_and_an_authority_of_ones_own_are_used_for_clone_and_push() {
    let server = SecureServer::start();
    let (proxy, asked) = tunnels().await;
    let world = World::trusting(
        Profile::with("me", TOKEN),
        &[],
        proxy,
        vec![server.authority.clone()],
    )
    .await;
    clones_and_pushes(&world, &server.url(NAME, "private/project.git")).await;
    let asked = asked.lock().unwrap();
    let expected = format!("CONNECT {NAME}:{} HTTP/1.1\r\n", server.git.port);
    assert!(!asked.is_empty());
    for head in asked.iter() {
        assert!(head.starts_with(&expected), "{head}");
        assert!(
            head.contains("Proxy-Authorization: Basic bWU6cGFzcw=="),
            "{head}"
        );
        // Beside the proxy's own there are no credentials.
        assert_eq!(head.matches("uthorization").count(), 1, "{head}");
    }
}

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_and_its_name_alone() {
    let server = SecureServer::start();
    let allow = ["127.0.0.0/8".to_owned()];
    let trusting = async |authorities| {
        World::trusting(
            Profile::with("me", TOKEN),
            &allow,
            Proxy::default(),
            authorities,
        )
        .await
    };
    let world = trusting(Vec::new()).await;
    let url = server.url("127.0.0.1", "private/project.git");
    let said = stderr(&world.git(&["ls-remote", &world.url(&url)]).await);
    assert!(said.contains("no secure connection to 127.0.0.1"), "{said}");
    assert!(said.contains("SSL_CERT_FILE"), "{said}");

    let world = trusting(vec![server.authority.clone()]).await;
    let wrong = server.url("localhost", "private/project.git");
    let said = stderr(&world.git(&["ls-remote", &world.url(&wrong)]).await);
    assert!(said.contains("no secure connection to localhost"), "{said}");
    // Nobody was told anything, the token least of all.
    assert_eq!(server.git.requests(), "");
    clones_and_pushes(&world, &url).await;
}
