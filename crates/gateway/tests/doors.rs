//! Other doors to a port: a listener of its own, and a tunnel for programs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod world;

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use fleet_api::ticket::Door;
use futures::{SinkExt, StreamExt};
use gateway::Config;
use gateway::session::Patience;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{Error, Message};
use world::{World, app, within};

const CODE: &str = "code.localhost";

async fn open(world: &World, name: &str, port: u16) -> serde_json::Value {
    let cookie = format!("roost_workbench={}", world.ticket(name, Door::Workbench));
    let answer = world
        .request(
            Method::POST,
            CODE,
            &format!("/w/{name}/ports/{port}/listener"),
        )
        .header("cookie", cookie)
        .header("origin", format!("http://{}", world.authority(CODE)))
        .header("x-roost", "1")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_listener_of_its_own_serves_a_port_to_its_owner() {
    let world = World::new().await;
    let echo = Router::new().fallback(any(|request: Request| async move {
        format!("{} {:?}", request.uri(), request.headers())
    }));
    app(&world, 3000, echo).await;
    let opened = open(&world, "demo", 3000).await;
    let address = opened["address"].as_str().unwrap();
    let get = |path: &str| world.http.get(format!("http://{address}{path}"));
    assert_eq!(
        get("/").send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );

    let enter = world
        .http
        .get(opened["url"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    let cookies: Vec<_> = enter.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 1);
    let pair = cookies[0].to_str().unwrap().split(';').next().unwrap();
    assert!(pair.starts_with("roost_preview_3000="), "{pair}");
    let page = get("/x")
        .header("cookie", format!("a=1; {pair}"))
        .send()
        .await
        .unwrap();
    let text = page.text().await.unwrap();
    assert!(
        text.starts_with("/x ") && text.contains("\"cookie\": \"a=1\""),
        "{text}"
    );
    assert!(text.contains(&format!("\"host\": \"{address}\"")), "{text}");

    // Another name that leads to this address is not this origin, and a hostile page is no sibling.
    let rebound = get("/")
        .header("host", "evil.example")
        .header("cookie", pair)
        .send()
        .await
        .unwrap();
    assert_eq!(rebound.status(), StatusCode::MISDIRECTED_REQUEST);
    let hostile = get("/")
        .header("origin", "http://evil.example")
        .header("cookie", pair);
    assert_eq!(
        hostile.send().await.unwrap().status(),
        StatusCode::FORBIDDEN
    );

    // The same again for the same port; another host for another workspace, so that cookies stay apart.
    assert_eq!(
        open(&world, "demo", 3000).await["address"],
        opened["address"]
    );
    let host = |value: &serde_json::Value| {
        value["address"]
            .as_str()
            .unwrap()
            .split(':')
            .next()
            .unwrap()
            .to_owned()
    };
    let second = open(&world, "demo", 3001).await;
    let other = open(&world, "other", 3000).await;
    assert_eq!(host(&second), host(&opened));
    assert_ne!(host(&other), host(&opened));
    assert!(host(&other).starts_with("127."));
}

#[tokio::test]
async fn a_listener_that_nobody_uses_closes_and_is_opened_anew() {
    let patience = Patience {
        unused_listener: Duration::from_millis(50),
        ..Patience::default()
    };
    let world = World::with(Config {
        patience,
        ..Config::default()
    })
    .await;
    let opened = open(&world, "demo", 3000).await;
    let address = opened["address"].as_str().unwrap();
    within(async {
        // Each attempt that succeeds is a use; between two of them there must be time to find it unused.
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let again = open(&world, "demo", 3000).await;
    let address = again["address"].as_str().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_ok());
}

#[tokio::test]
async fn a_tunnel_carries_bytes_and_the_end_of_each_direction() {
    let world = World::new().await;
    // Answers only when everything has come, as some protocols do.
    let listener = world.listen(5432).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all.reverse();
        stream.write_all(&all).await.unwrap();
    });
    let token = [("authorization", "Bearer token-of-ada")];
    let mut socket = world
        .web_socket("localhost", "/api/v1/tunnel/demo/5432", &token)
        .await
        .unwrap();
    socket.send(Message::binary(vec![1, 2])).await.unwrap();
    socket.send(Message::binary(vec![3])).await.unwrap();
    socket.send(Message::binary(vec![])).await.unwrap();
    let mut received = Vec::new();
    within(async {
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Binary(bytes) if bytes.is_empty() => break,
                Message::Binary(bytes) => received.extend_from_slice(&bytes),
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(received, [3, 2, 1]);

    let refused = |path: &'static str, token: &'static str| {
        let headers = [("authorization", token)];
        let world = &world;
        async move {
            match world.web_socket("localhost", path, &headers).await {
                Err(Error::Http(response)) => response.status().as_u16(),
                other => panic!("{path} was opened: {other:?}"),
            }
        }
    };
    assert_eq!(
        refused("/api/v1/tunnel/demo/1", "Bearer token-of-ada").await,
        502
    );
    assert_eq!(
        refused("/api/v1/tunnel/demo/5432", "Bearer token-of-bob").await,
        404
    );
    assert_eq!(refused("/api/v1/tunnel/demo/5432", "Bearer x").await, 401);
    *world.host.running.lock().unwrap() = false;
    assert_eq!(
        refused("/api/v1/tunnel/demo/5432", "Bearer token-of-ada").await,
        409
    );
}

#[tokio::test]
async fn a_tunnel_ends_when_its_token_is_revoked() {
    let world = World::watchful().await;
    let listener = world.listen(5432).await;
    let token = [("authorization", "Bearer token-of-ada")];
    let mut socket = world
        .web_socket("localhost", "/api/v1/tunnel/demo/5432", &token)
        .await
        .unwrap();
    let (mut program, _) = within(listener.accept()).await.unwrap();
    socket.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(within(program.read_u8()).await.unwrap(), 1);
    world.sign_out("token-of-ada");
    let end = within(program.read(&mut [0; 8])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}
