//! The relay with a real git on one side and a real Git server on the other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use host_agent::config::Proxy;
use host_agent::git::probe::{Probed, probe};
use host_agent::git::relay::RefusalKind;
use host_agent::git::remote;
use model::WorkspaceId;
use support::relay::{World, stderr};
use support::{GitServer, Profile, TOKEN};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_public_repository_is_cloned_without_credentials() {
    let server = GitServer::start();
    let world = World::for_server(&server, Arc::default()).await;
    world
        .git_ok(&[
            "clone",
            &world.url(&server.url("public/project.git")),
            "copy",
        ])
        .await;
    assert_eq!(
        std::fs::read_to_string(world.path("copy/README")).unwrap(),
        "hello\n"
    );
    assert!(!server.requests().contains("authorization"));
    assert_eq!(
        world.profile.asked.lock().unwrap()[0].path,
        "/public/project.git"
    );
}

#[tokio::test]
async fn credentials_are_added_outside_and_a_push_goes_through() {
    let server = GitServer::start();
    let world = World::for_server(&server, Profile::with("me", TOKEN)).await;
    world
        .git_ok(&[
            "clone",
            &world.url(&server.url("private/project.git")),
            "copy",
        ])
        .await;
    // Larger than what git sends in one piece, so that the body is chunked and compressed as it likes.
    let large: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    std::fs::write(world.path("copy/large"), large).unwrap();
    let copy = world.path("copy");
    let copy = copy.to_str().unwrap();
    world.git_ok(&["-C", copy, "add", "."]).await;
    world
        .git_ok(&["-C", copy, "commit", "--quiet", "-m", "large"])
        .await;
    world.git_ok(&["-C", copy, "push", "origin", "main"]).await;
    world
        .git_ok(&[
            "clone",
            &world.url(&server.url("private/project.git")),
            "again",
        ])
        .await;
    assert_eq!(
        std::fs::read(world.path("again/large")).unwrap(),
        std::fs::read(world.path("copy/large")).unwrap()
    );
    assert!(
        world
            .profile
            .asked
            .lock()
            .unwrap()
            .iter()
            .any(|remote| remote.write)
    );
    assert!(world.profile.rejected.lock().unwrap().is_empty());
    // Git never had the token: it is in nothing that it wrote.
    let found = std::process::Command::new("grep")
        .args(["-r", TOKEN, copy])
        .output()
        .unwrap();
    assert!(found.stdout.is_empty());
}

#[tokio::test]
async fn git_tells_what_a_refusal_means_and_asks_for_no_password() {
    let server = GitServer::start();
    let world = World::for_server(&server, Arc::default()).await;
    let output = world
        .git(&[
            "clone",
            &world.url(&server.url("private/project.git")),
            "copy",
        ])
        .await;
    let said = stderr(&output);
    assert!(
        said.contains("remote:") && said.contains("asks for credentials"),
        "{said}"
    );
    assert!(said.contains("in your Roost profile"), "{said}");
    assert!(!said.contains("Username"), "{said}");
    assert_eq!(world.door.refusal().unwrap().kind, RefusalKind::Credentials);
    assert_eq!(world.profile.rejected.lock().unwrap().len(), 1);

    world.profile.set("me", "old-token");
    let output = world
        .git(&[
            "clone",
            &world.url(&server.url("private/project.git")),
            "copy",
        ])
        .await;
    let said = stderr(&output);
    assert!(said.contains("does not accept your credentials"), "{said}");
    assert!(!said.contains("old-token"), "{said}");

    world.door.forget_refusal();
    let output = world
        .git(&[
            "clone",
            &world.url(&server.url("public/nothing.git")),
            "copy",
        ])
        .await;
    assert!(
        stderr(&output).contains("has no repository /public/nothing.git"),
        "{}",
        stderr(&output)
    );
    assert_eq!(world.door.refusal().unwrap().kind, RefusalKind::NotFound);
}

#[tokio::test]
async fn credentials_in_the_url_are_used_when_there_are_some() {
    let server = GitServer::start();
    let world = World::for_server(&server, Arc::default()).await;
    let url = server
        .url("private/project.git")
        .replace("http://", &format!("http://me:{TOKEN}@"));
    world.git_ok(&["ls-remote", &world.url(&url)]).await;
}

#[tokio::test]
async fn private_servers_are_out_of_reach_until_an_operator_allows_them() {
    let server = GitServer::start();
    let world = World::new(Arc::default(), &[], Proxy::default()).await;
    for url in [
        server.url("public/project.git"),
        server
            .url("public/project.git")
            .replace("127.0.0.1", "localhost"),
        server
            .url("public/project.git")
            .replace("127.0.0.1", "[::ffff:127.0.0.1]"),
        server
            .url("public/project.git")
            .replace("127.0.0.1", "2130706433"),
        "http://169.254.169.254/latest/meta-data".into(),
    ] {
        let output = world.git(&["ls-remote", &world.url(&url)]).await;
        let said = stderr(&output);
        assert!(
            !output.status.success() && said.contains("a private address"),
            "{url}: {said}"
        );
        assert!(said.contains("git.allow"), "{said}");
    }
    assert_eq!(server.requests(), "");
    let unknown = world
        .git(&["ls-remote", &world.url("http://nowhere.invalid/x.git")])
        .await;
    assert!(
        stderr(&unknown).contains("cannot be found"),
        "{}",
        stderr(&unknown)
    );
}

async fn raw(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn only_gits_own_requests_are_carried() {
    let server = GitServer::start();
    let world = World::for_server(&server, Profile::with("me", TOKEN)).await;
    let at = format!("127.0.0.1:{}", server.port);
    for (line, expected) in [
        (
            format!("GET /http/{at}/private/secret HTTP/1.1"),
            "only git's own requests",
        ),
        (
            format!("GET /http/{at}/public/project.git/info/refs HTTP/1.1"),
            "smart HTTP",
        ),
        (
            format!("DELETE /http/{at}/public/project.git HTTP/1.1"),
            "only git's own requests",
        ),
        (
            format!("GET http://{at}/x/info/refs?service=git-upload-pack HTTP/1.1"),
            "403",
        ),
        ("GET / HTTP/1.1".into(), "only git's own requests"),
        ("complete garbage".into(), "400"),
    ] {
        let answer = raw(
            &world,
            &format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n"),
        )
        .await;
        assert!(answer.contains(expected), "{line}: {answer}");
    }
    assert_eq!(server.requests(), "");
}

/// A server that answers each connection with the same text, and remembers what it was asked.
async fn fixed_server(answer: String) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap_or(0) > 0
            {
            }
            // Not every test looks.
            let _ = asked.send(head);
            let _ = stream.get_mut().write_all(answer.as_bytes()).await;
        }
    });
    (port, requests)
}

#[tokio::test]
async fn a_redirect_goes_through_the_relay_again_without_the_first_servers_credentials() {
    let server = GitServer::start();
    let target = server.url("public/project.git/info/refs?service=git-upload-pack");
    let redirect = format!(
        "HTTP/1.1 301 Moved\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let (port, _) = fixed_server(redirect).await;
    let allow = ["127.0.0.0/8".to_owned()];
    let world = World::new(Arc::default(), &allow, Proxy::default()).await;
    let moved = format!("http://127.0.0.1:{port}/old/project.git");
    world.git_ok(&["clone", &world.url(&moved), "copy"]).await;
    assert!(world.path("copy/README").exists());
    // Asked for by name of the second server: its own credentials, not the first one's.
    let asked: Vec<String> = world
        .profile
        .asked
        .lock()
        .unwrap()
        .iter()
        .map(|remote| remote.authority.clone())
        .collect();
    assert_eq!(
        asked[..2],
        [
            format!("127.0.0.1:{port}"),
            format!("127.0.0.1:{}", server.port)
        ]
    );

    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/x/info/refs?service=git-upload-pack\r\n\
        Content-Length: 0\r\nConnection: close\r\n\r\n";
    let (port, _) = fixed_server(elsewhere.into()).await;
    let output = world
        .git(&[
            "ls-remote",
            &world.url(&format!("http://127.0.0.1:{port}/x")),
        ])
        .await;
    assert!(
        stderr(&output).contains("a private address"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test]
async fn a_proxy_is_used_and_knows_the_whole_address() {
    let refs = "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\
        Content-Length: 8\r\nConnection: close\r\n\r\n00000000";
    let (port, mut requests) = fixed_server(refs.into()).await;
    let proxy = Proxy {
        http: Some(
            format!("http://user:pass@127.0.0.1:{port}")
                .parse()
                .unwrap(),
        ),
        https: Some(
            format!("http://user:pass@127.0.0.1:{port}")
                .parse()
                .unwrap(),
        ),
        without: vec!["direct.invalid".into()],
    };
    let world = World::new(Profile::with("me", TOKEN), &[], proxy).await;
    world
        .git(&["ls-remote", &world.url("http://git.example/r.git")])
        .await;
    let asked = requests.recv().await.unwrap();
    let expected = "GET http://git.example/r.git/info/refs?service=git-upload-pack HTTP/1.1\r\n";
    assert!(asked.starts_with(expected), "{asked}");
    assert!(
        asked.contains("proxy-authorization: Basic dXNlcjpwYXNz"),
        "{asked}"
    );

    world
        .git(&["ls-remote", &world.url("https://git.example/r.git")])
        .await;
    let asked = requests.recv().await.unwrap();
    assert!(
        asked.starts_with("CONNECT git.example:443 HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(
        !asked.contains("Authorization: Basic bWU"),
        "credentials are for the server: {asked}"
    );

    let output = world
        .git(&["ls-remote", &world.url("http://direct.invalid/r.git")])
        .await;
    assert!(
        stderr(&output).contains("cannot be found"),
        "{}",
        stderr(&output)
    );
    // An address is judged even when a proxy would be asked.
    let output = world
        .git(&["ls-remote", &world.url("http://169.254.169.254/r.git")])
        .await;
    assert!(
        stderr(&output).contains("a private address"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test]
async fn a_guests_own_credentials_pass_only_when_there_are_no_others() {
    let (port, mut requests) =
        fixed_server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into())
            .await;
    let allow = ["127.0.0.1".to_owned()];
    let world = World::new(Arc::default(), &allow, Proxy::default()).await;
    let request = format!(
        "GET /http/127.0.0.1:{port}/r/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\n\
         Authorization: Basic Z3Vlc3Q=\r\nGit-Protocol: version=2\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\r\n"
    );
    raw(&world, &request).await;
    let asked = requests.recv().await.unwrap();
    assert!(asked.contains("authorization: Basic Z3Vlc3Q="), "{asked}");
    assert!(asked.contains("git-protocol: version=2"), "{asked}");
    assert!(!asked.to_lowercase().contains("x-hop"), "{asked}");
    assert!(
        asked.contains(&format!("host: 127.0.0.1:{port}")),
        "{asked}"
    );
    world.profile.set("me", TOKEN);
    raw(&world, &request).await;
    let asked = requests.recv().await.unwrap();
    assert!(!asked.contains("Z3Vlc3Q="), "{asked}");
    assert_eq!(asked.matches("authorization").count(), 1, "{asked}");
}

#[tokio::test]
async fn a_probe_answers_before_anything_boots() {
    let server = GitServer::start();
    let world = World::for_server(&server, Arc::default()).await;
    let workspace = WorkspaceId::new("w");
    let look = async |path: &str| {
        probe(
            &world.relay,
            &workspace,
            &remote::parse(&server.url(path)).unwrap(),
        )
        .await
    };
    let Probed::Found { branches } = look("public/project.git").await else {
        panic!()
    };
    assert_eq!(branches.unwrap(), ["main", "side"]);
    assert!(matches!(
        look("public/nothing.git").await,
        Probed::NotFound { .. }
    ));
    assert!(matches!(
        look("private/project.git").await,
        Probed::Credentials { .. }
    ));
    world.profile.set("me", TOKEN);
    assert!(matches!(
        look("private/project.git").await,
        Probed::Found { .. }
    ));
    let nowhere = remote::parse("http://127.0.0.1:1/x").unwrap();
    let private = probe(&world.relay, &workspace, &nowhere).await;
    assert!(matches!(private, Probed::Unreachable { message } if message.contains("private")));
}

#[tokio::test]
async fn the_door_closes_behind_its_workspace() {
    let server = GitServer::start();
    let world = World::for_server(&server, Arc::default()).await;
    let socket = world.path("relay.sock");
    assert!(socket.exists());
    drop(world.door);
    assert!(!socket.exists());
}
