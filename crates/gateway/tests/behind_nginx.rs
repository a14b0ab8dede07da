//! Behind a real nginx with its default time-outs and body limit.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod world;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use fleet_api::ticket::Door;
use futures::{SinkExt, StreamExt};
use gateway::Config;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use world::{World, app, within};

struct Nginx {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As an operator would write it: what a WebSocket needs, and the host's name.
fn configuration(port: u16, upstream: u16) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr;
        events {{}}
        http {{
          access_log off;
          client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u;
          scgi_temp_path s;
          map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
          server {{
            listen 127.0.0.1:{port};
            location / {{
              proxy_pass http://127.0.0.1:{upstream};
              proxy_http_version 1.1;
              proxy_set_header Host $http_host;
              proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
              proxy_set_header X-Forwarded-Proto https;
              proxy_set_header Upgrade $http_upgrade;
              proxy_set_header Connection $connection_upgrade;
            }}
          }}
        }}"
    )
}

async fn nginx(world: &World) -> Nginx {
    let folder = tempfile::tempdir().unwrap();
    // Taken for a moment to learn a free number; nginx takes it over.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, configuration(port, world.address.port())).unwrap();
    let child = Command::new("nginx")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .arg("-p")
        .arg(folder.path())
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx is among the packages that ./dev deps installs");
    let nginx = Nginx {
        child,
        port,
        _folder: folder,
    };
    within(async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    nginx
}

#[tokio::test]
async fn sessions_previews_and_cookies_work_behind_nginx() {
    let proxies = vec!["127.0.0.1".parse().unwrap()];
    let world = World::with(Config {
        proxies,
        ..Config::default()
    })
    .await;
    let nginx = nginx(&world).await;
    let echo = Router::new().fallback(any(|request: Request| async move {
        format!("{:?}", request.headers())
    }));
    app(&world, 3000, echo).await;
    let get = |host: &str, path: &str| {
        world
            .http
            .get(format!("http://127.0.0.1:{}{path}", nginx.port))
            .header("host", host)
            .header("accept", "text/html")
    };

    // Under HTTPS as the browser sees it: cookies are secure, addresses have its scheme and port.
    let entry = format!(
        "/w/demo/?entry={}",
        world.ticket("demo", Door::WorkbenchEntry)
    );
    let answer = get("code.localhost", &entry).send().await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("__Secure-roost_workbench=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    let answer = get("3000--demo.localhost", "/x").send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap();
    assert!(
        location.starts_with("https://localhost/preview-entry?"),
        "{location}"
    );
    let cookie = format!(
        "__Host-roost_preview={}",
        world.ticket("demo", Door::Preview { port: 3000 })
    );
    let answer = get("3000--demo.localhost", "/x")
        .header("cookie", cookie)
        .send()
        .await
        .unwrap();
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("\"x-forwarded-proto\": \"https\"") && !text.contains("roost_"),
        "{text}"
    );

    // A session, with a message as large as the editor's uploads, which nginx limits in no other way.
    let stream = TcpStream::connect(("127.0.0.1", nginx.port)).await.unwrap();
    let request = tungstenite::http::Request::builder()
        .uri("ws://code.localhost/w/demo/session/bulk")
        .header("host", "code.localhost")
        .header("origin", "https://code.localhost")
        .header(
            "cookie",
            format!(
                "__Secure-roost_workbench={}",
                world.ticket("demo", Door::Workbench)
            ),
        )
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header(
            "sec-websocket-key",
            tungstenite::handshake::client::generate_key(),
        )
        .body(())
        .unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    let (_, mut guest) = world.guest().await;
    let mut received = vec![0; 4 + (1 << 20)];
    let (sent, read) = tokio::join!(
        socket.send(Message::binary(vec![3; 1 << 20])),
        guest.read_exact(&mut received)
    );
    sent.unwrap();
    read.unwrap();
    drop(guest);
    within(async { while let Some(Ok(_)) = socket.next().await {} }).await;
}

#[test]
fn pings_come_well_before_nginx_gives_up() {
    let patience = gateway::session::Patience::default();
    assert!(
        patience.ping * 2 < Duration::from_secs(60),
        "nginx closes what is silent for a minute"
    );
}
