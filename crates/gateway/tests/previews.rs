//! Forwarded ports: signing in, what passes, and whom a preview is safe from.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod world;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use bytes::Bytes;
use fleet_api::ticket::Door;
use futures::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use reqwest::Method;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use world::{World, app, within};

const HOST: &str = "3000--demo.localhost";

/// Says what it was asked, and tries to set a cookie of ours.
async fn echoing(world: &World) {
    let router = Router::new().fallback(any(|request: Request| async move {
        let text = format!("{} {:?}", request.uri(), request.headers());
        let mut response = text.into_response();
        for cookie in ["roost_preview=planted", "app=1"] {
            response
                .headers_mut()
                .append("set-cookie", cookie.parse().unwrap());
        }
        response
    }));
    app(world, 3000, router).await;
}

fn cookie(world: &World) -> String {
    format!(
        "roost_preview={}",
        world.ticket("demo", Door::Preview { port: 3000 })
    )
}

#[tokio::test]
async fn a_link_signs_in_by_redirects_and_the_ticket_works_once() {
    let world = World::new().await;
    echoing(&world).await;
    let answer = world
        .navigate(HOST, "/page?x=1&y=a%26b")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 303);
    let expected = format!(
        "http://{}/preview-entry?workspace=demo&port=3000&to=%2Fpage%3Fx%3D1%26y%3Da%2526b",
        world.authority("localhost")
    );
    assert_eq!(answer.headers()["location"], expected.as_str());

    let ticket = world.ticket("demo", Door::PreviewEntry { port: 3000 });
    let enter = format!("/.roost/enter?ticket={ticket}&to=%2Fpage%3Fx%3D1");
    let answer = world.navigate(HOST, &enter).send().await.unwrap();
    assert_eq!(answer.status(), 303);
    let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 2);
    let (lax, cross) = (cookies[0].to_str().unwrap(), cookies[1].to_str().unwrap());
    assert!(
        lax.contains("; HttpOnly; SameSite=Lax") && !lax.contains("Domain"),
        "{lax}"
    );
    assert!(
        cross.ends_with("; HttpOnly; SameSite=None; Secure"),
        "{cross}"
    );
    let entered = answer.headers()["location"].to_str().unwrap().to_owned();
    let pair = lax.split(';').next().unwrap();
    let answer = world
        .navigate(HOST, &entered)
        .header("cookie", pair)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["location"], "/page?x=1");
    let answer = world
        .navigate(HOST, "/page?x=1")
        .header("cookie", pair)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let answer = world.navigate(HOST, &entered).send().await.unwrap();
    assert_eq!(answer.status(), 403, "a browser without cookies is told so");

    let again = world.navigate(HOST, &enter).send().await.unwrap();
    assert_eq!(again.headers()["location"], "/page?x=1");
    assert!(
        again.headers().get("set-cookie").is_none(),
        "a used ticket gave a cookie"
    );
}

#[tokio::test]
async fn entry_redirects_lead_nowhere_else() {
    let world = World::new().await;
    for to in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "evil",
        "/a%0d%0ab",
    ] {
        let ticket = world.ticket("demo", Door::PreviewEntry { port: 3000 });
        let path = format!("/.roost/enter?ticket={ticket}&to={to}");
        let answer = world.navigate(HOST, &path).send().await.unwrap();
        assert_eq!(
            answer.headers()["location"],
            "/.roost/entered?to=%2F",
            "{to}"
        );
    }
}

#[tokio::test]
async fn tickets_open_their_own_preview_only() {
    let world = World::new().await;
    echoing(&world).await;
    for ticket in [
        world.ticket("demo", Door::Preview { port: 3001 }),
        world.ticket("other", Door::Preview { port: 3000 }),
        world.ticket("demo", Door::Workbench),
        world.ticket("demo", Door::PreviewEntry { port: 3000 }),
        world.ticket_with("demo", Door::Preview { port: 3000 }, |ticket| {
            ticket.expires_ms = 1
        }),
        world.ticket_with("demo", Door::Preview { port: 3000 }, |ticket| {
            ticket.user = model::UserId::new("bob");
        }),
    ] {
        let cookie = format!("roost_preview={ticket}");
        let answer = world
            .get(HOST, "/")
            .header("cookie", cookie)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
    }
    let good = cookie(&world);
    let planted = format!("roost_preview=garbage; {good}");
    let answer = world
        .get(HOST, "/")
        .header("cookie", planted)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "a planted cookie shut the owner out");
    world
        .directory
        .signed_out
        .lock()
        .unwrap()
        .insert("gone".into());
    let gone = world.ticket_with("demo", Door::Preview { port: 3000 }, |ticket| {
        ticket.session = "gone".into();
    });
    let answer = world
        .get(HOST, "/")
        .header("cookie", format!("roost_preview={gone}"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn the_guest_sees_the_request_without_our_cookies() {
    let world = World::new().await;
    echoing(&world).await;
    let answer = world
        .get(HOST, "/a/b?c=d")
        .header(
            "cookie",
            format!("mine=1; {}; roost_preview_cross=x", cookie(&world)),
        )
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "secret")
        .header("x-forwarded-for", "6.6.6.6")
        .send()
        .await
        .unwrap();
    let cookies: Vec<_> = answer
        .headers()
        .get_all("set-cookie")
        .iter()
        .cloned()
        .collect();
    assert_eq!(cookies, ["app=1"], "a guest set a cookie of ours");
    let text = answer.text().await.unwrap();
    assert!(text.starts_with("/a/b?c=d "), "{text}");
    assert!(text.contains("\"cookie\": \"mine=1\""), "{text}");
    assert!(
        !text.contains("roost_") && !text.contains("x-hop") && !text.contains("6.6.6.6"),
        "{text}"
    );
    let host = world.authority(HOST);
    for header in [
        format!("\"host\": \"{host}\""),
        format!("\"x-forwarded-host\": \"{host}\""),
        "\"x-forwarded-proto\": \"http\"".into(),
        "\"x-forwarded-for\": \"127.0.0.1\"".into(),
    ] {
        assert!(text.contains(&header), "{header} is not in {text}");
    }
}

#[tokio::test]
async fn hostile_pages_get_nothing() {
    let world = World::new().await;
    let (hit, mut hits) = mpsc::unbounded_channel();
    let router = Router::new().fallback(any(move |request: Request| {
        let _ = hit.send(request.uri().to_string());
        async { "secret" }
    }));
    app(&world, 3000, router).await;
    let hostile = [
        "https://evil.example".to_owned(),
        format!("http://{}", world.authority("3000--other.localhost")),
        format!("http://{}", world.authority("localhost")),
        "null".into(),
    ];
    for origin in &hostile {
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
        ] {
            let answer = world
                .request(method, HOST, "/")
                .header("cookie", cookie(&world))
                .header("origin", origin)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 403, "{origin}");
            assert!(!answer.text().await.unwrap().contains("secret"));
        }
        let cookie = cookie(&world);
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        assert!(
            world.web_socket(HOST, "/", &headers).await.is_err(),
            "{origin}"
        );
    }
    // A frame, a picture, a form without an Origin.
    for (method, mode, dest) in [
        (Method::GET, "navigate", "iframe"),
        (Method::GET, "no-cors", "image"),
        (Method::POST, "navigate", "document"),
    ] {
        let answer = world
            .request(method, HOST, "/")
            .header("cookie", cookie(&world))
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", mode)
            .header("sec-fetch-dest", dest)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 403, "{mode} {dest}");
    }
    assert!(hits.try_recv().is_err(), "the guest was asked");
}

#[tokio::test]
async fn siblings_ask_with_credentials_after_a_preflight_without() {
    let world = World::new().await;
    let origin = format!("http://{}", world.authority("5173--demo.localhost"));
    let allowed = origin.clone();
    let router = Router::new().route(
        "/api",
        post(|body: String| async move { format!("got {body}") }).options(move || async move {
            [
                ("access-control-allow-origin", allowed),
                ("access-control-allow-methods", "POST".into()),
            ]
        }),
    );
    app(&world, 3000, router).await;
    let preflight = world
        .request(Method::OPTIONS, HOST, "/api")
        .header("origin", &origin)
        .header("access-control-request-method", "POST")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 200);
    assert_eq!(
        preflight.headers()["access-control-allow-origin"],
        origin.as_str()
    );
    let asked = |cookie: String| {
        world
            .request(Method::POST, HOST, "/api")
            .header("origin", &origin)
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", "cors")
            .header("cookie", cookie)
            .body("x")
            .send()
    };
    let cross = cookie(&world).replace("roost_preview=", "roost_preview_cross=");
    assert_eq!(asked(cross).await.unwrap().text().await.unwrap(), "got x");
    let refused = asked("a=b".into()).await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(
        refused.headers()["access-control-allow-origin"],
        origin.as_str()
    );
    let plain_options = world
        .request(Method::OPTIONS, HOST, "/api")
        .header("origin", &origin)
        .send()
        .await
        .unwrap();
    assert_eq!(
        plain_options.status(),
        401,
        "only a preflight passes without a cookie"
    );
}

#[tokio::test]
async fn bodies_stream_both_ways_as_they_come() {
    let world = World::new().await;
    // Answers each piece of the request's body while the rest is still to come.
    let router = Router::new().route(
        "/stream",
        post(|request: Request| async move {
            let pieces = request.into_body().into_data_stream();
            let answers = pieces
                .map(|piece| piece.map(|bytes| Bytes::from([b"<", &bytes[..], b">"].concat())));
            Body::from_stream(answers)
        }),
    );
    app(&world, 3000, router).await;
    let (send, receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(futures::stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|piece| (piece, receive))
    }));
    send.send(Ok(Bytes::from("one"))).await.unwrap();
    let request = world
        .request(Method::POST, HOST, "/stream")
        .header("cookie", cookie(&world))
        .body(body)
        .send();
    let mut answer = within(request).await.unwrap();
    assert_eq!(within(answer.chunk()).await.unwrap().unwrap(), "<one>");
    send.send(Ok(Bytes::from("two"))).await.unwrap();
    assert_eq!(within(answer.chunk()).await.unwrap().unwrap(), "<two>");
    drop(send);
    assert_eq!(within(answer.chunk()).await.unwrap(), None);
}

#[tokio::test]
async fn large_uploads_and_downloads_pass_without_being_held() {
    let world = World::new().await;
    let router = Router::new()
        .route(
            "/up",
            post(|request: Request| async move {
                let mut body = request.into_body();
                let mut total = 0;
                while let Some(Ok(frame)) = body.frame().await {
                    total += frame.data_ref().map_or(0, Bytes::len);
                }
                total.to_string()
            }),
        )
        .route(
            "/down",
            get(|| async {
                let piece = Bytes::from(vec![7; 1 << 20]);
                Body::from_stream(futures::stream::iter(
                    (0..100).map(move |_| Ok::<_, std::io::Error>(piece.clone())),
                ))
            }),
        );
    app(&world, 3000, router).await;
    let piece = Bytes::from(vec![1; 1 << 20]);
    let pieces =
        futures::stream::iter((0..100).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let answer = world
        .request(Method::POST, HOST, "/up")
        .header("cookie", cookie(&world))
        .body(reqwest::Body::wrap_stream(pieces))
        .send();
    assert_eq!(
        within(answer).await.unwrap().text().await.unwrap(),
        (100 << 20).to_string()
    );
    let answer = world
        .get(HOST, "/down")
        .header("cookie", cookie(&world))
        .send()
        .await
        .unwrap();
    let mut stream = answer.bytes_stream();
    let mut total = 0;
    while let Some(piece) = within(stream.next()).await {
        total += piece.unwrap().len();
    }
    assert_eq!(total, 100 << 20);
}

#[tokio::test]
async fn events_arrive_until_the_sign_in_ends() {
    let world = World::watchful().await;
    let (send, receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let receive = std::sync::Arc::new(tokio::sync::Mutex::new(Some(receive)));
    let router = Router::new().route(
        "/events",
        get(move || async move {
            let receive = receive.lock().await.take().unwrap();
            let events = futures::stream::unfold(receive, |mut receive| async {
                receive.recv().await.map(|event| (event, receive))
            });
            (
                [("content-type", "text/event-stream")],
                Body::from_stream(events),
            )
        }),
    );
    app(&world, 3000, router).await;
    let mut answer = within(
        world
            .get(HOST, "/events")
            .header("cookie", cookie(&world))
            .send(),
    )
    .await
    .unwrap();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        send.send(Ok(Bytes::from(event))).await.unwrap();
        assert_eq!(within(answer.chunk()).await.unwrap().unwrap(), event);
    }
    world.sign_out("session-of-demo");
    let end = within(answer.chunk()).await;
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn web_sockets_pass_until_the_sign_in_ends() {
    let world = World::watchful().await;
    let router = Router::new().route(
        "/socket",
        any(|upgrade: WebSocketUpgrade| async {
            upgrade
                .protocols(["vite-hmr"])
                .on_upgrade(|mut socket| async move {
                    while let Some(Ok(message)) = socket.recv().await {
                        let _ = socket.send(message).await;
                    }
                })
        }),
    );
    app(&world, 3000, router).await;
    let cookie = cookie(&world);
    let origin = format!("http://{}", world.authority(HOST));
    let headers = [
        ("cookie", cookie.as_str()),
        ("origin", origin.as_str()),
        ("sec-websocket-protocol", "vite-hmr"),
    ];
    let mut socket = world.web_socket(HOST, "/socket", &headers).await.unwrap();
    for message in [Message::text("hello"), Message::binary(vec![9; 300_000])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(within(socket.next()).await.unwrap().unwrap(), message);
    }
    let refused = world
        .web_socket(HOST, "/socket", &[("origin", origin.as_str())])
        .await;
    assert!(refused.is_err(), "a WebSocket without a cookie was let in");

    world.sign_out("session-of-demo");
    let end = within(socket.next()).await;
    assert!(
        !matches!(end, Some(Ok(Message::Text(_) | Message::Binary(_)))),
        "{end:?}"
    );
}

#[tokio::test]
async fn what_does_not_work_is_said_to_people_and_to_programs() {
    let world = World::new().await;
    let cookie = cookie(&world);
    let page = world
        .navigate(HOST, "/")
        .header("cookie", &cookie)
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 502);
    let text = page.text().await.unwrap();
    assert!(
        text.contains("Nothing listens on this port") && text.contains("refresh"),
        "{text}"
    );
    let answer = world
        .get(HOST, "/")
        .header("cookie", &cookie)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 502);
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], "urn:problem-type:roost:port-closed");

    // Something that speaks no HTTP.
    let listener = world.listen(3000).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-x\r\n\r\n").await;
    });
    let answer = world
        .get(HOST, "/")
        .header("cookie", &cookie)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 502);

    *world.host.running.lock().unwrap() = false;
    world.change("demo", |route| route.state = "stopped".into());
    let page = world
        .navigate(HOST, "/")
        .header("cookie", &cookie)
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 503);
    let text = page.text().await.unwrap();
    assert!(text.contains("demo is stopped"), "{text}");
    assert!(
        text.contains(&format!(
            "http://{}/open/demo",
            world.authority("localhost")
        )),
        "{text}"
    );

    let page = world
        .navigate("3000--nobody.localhost", "/")
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 404);
}
