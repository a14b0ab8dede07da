//! Guest sessions of the workbench and of programs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod world;

use std::time::Duration;

use fleet_api::host::{GuestRole, GuestStream};
use fleet_api::ticket::Door;
use futures::{SinkExt, StreamExt};
use gateway::Config;
use gateway::session::{Close, Patience};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{Error, Message};
use world::{Socket, World, within};

const CODE: &str = "code.localhost";

async fn open(world: &World, path: &str, cookie: &str) -> Socket {
    let origin = format!("http://{}", world.authority(CODE));
    let cookie = format!("roost_workbench={cookie}");
    let headers = [("origin", origin.as_str()), ("cookie", cookie.as_str())];
    world.web_socket(CODE, path, &headers).await.unwrap()
}

async fn close_of(socket: &mut Socket) -> (u16, String) {
    within(async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("no close frame but {other:?}"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn messages_pass_both_ways_by_their_length() {
    let world = World::new().await;
    let ticket = world.ticket("demo", Door::Workbench);
    let mut socket = open(&world, "/w/demo/session/interactive", &ticket).await;
    let (stream, mut guest) = world.guest().await;
    assert_eq!(
        stream,
        GuestStream::Session {
            bulk: false,
            role: GuestRole::Editor
        }
    );

    socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    let mut frame = [0; 7];
    within(guest.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame, [0, 0, 0, 3, 1, 2, 3]);

    // In two pieces, and two at once.
    guest.write_all(&[0, 0, 0, 2, 9]).await.unwrap();
    guest.write_all(&[8, 0, 0, 0, 1, 7]).await.unwrap();
    assert_eq!(
        within(socket.next()).await.unwrap().unwrap(),
        Message::binary(vec![9, 8])
    );
    assert_eq!(
        within(socket.next()).await.unwrap().unwrap(),
        Message::binary(vec![7])
    );

    let large = vec![5; gateway::session::MAX_MESSAGE];
    let (sent, mut received) = (large.clone(), vec![0; 4 + large.len()]);
    let (sending, receiving) = tokio::join!(
        socket.send(Message::binary(sent)),
        guest.read_exact(&mut received)
    );
    sending.unwrap();
    receiving.unwrap();
    assert_eq!(received[4..], large);
    assert!(*world.directory.touched.lock().unwrap() >= 1);

    // The client goes: the guest sees the end.
    socket.close(None).await.unwrap();
    assert_eq!(within(guest.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn the_role_and_the_class_are_what_was_asked_and_granted() {
    let world = World::new().await;
    let viewer = world.ticket_with("demo", Door::Workbench, |ticket| {
        ticket.role = GuestRole::Viewer
    });
    let _socket = open(&world, "/w/demo/session/bulk", &viewer).await;
    let (stream, _guest) = world.guest().await;
    assert_eq!(
        stream,
        GuestStream::Session {
            bulk: true,
            role: GuestRole::Viewer
        }
    );
}

#[tokio::test]
async fn each_refusal_has_a_code_of_its_own() {
    let world = World::new().await;
    let good = world.ticket("demo", Door::Workbench);
    let path = "/w/demo/session/interactive";

    let for_other_door = world.ticket("demo", Door::Program);
    let for_other_workspace = world.ticket("other", Door::Workbench);
    let expired = world.ticket_with("demo", Door::Workbench, |ticket| ticket.expires_ms = 1);
    for wrong in [
        "",
        "garbage",
        &for_other_door,
        &for_other_workspace,
        &expired,
    ] {
        let mut socket = open(&world, path, wrong).await;
        assert_eq!(close_of(&mut socket).await.0, Close::SIGN_IN, "{wrong}");
    }
    let mut socket = open(&world, "/w/nobody/session/interactive", &good).await;
    assert_eq!(close_of(&mut socket).await.0, Close::UNKNOWN_WORKSPACE);

    world.change("demo", |route| {
        route.state = "failed".into();
        route.detail = "the disk is full".into();
        route.host = None;
    });
    let mut socket = open(&world, path, &good).await;
    assert_eq!(
        close_of(&mut socket).await,
        (Close::NOT_RUNNING, "failed: the disk is full".into())
    );

    world
        .directory
        .signed_out
        .lock()
        .unwrap()
        .insert("session-of-other".into());
    let mut socket = open(&world, "/w/other/session/bulk", &for_other_workspace).await;
    assert_eq!(close_of(&mut socket).await.0, Close::SIGN_IN);
}

#[tokio::test]
async fn a_page_of_another_origin_opens_nothing() {
    let world = World::new().await;
    let cookie = format!("roost_workbench={}", world.ticket("demo", Door::Workbench));
    let preview = format!("http://{}", world.authority("8000--demo.localhost"));
    let main = format!("http://{}", world.authority("localhost"));
    for origin in [
        Some(&*preview),
        Some(&*main),
        Some("null"),
        Some("http://code.localhost"),
        None,
    ] {
        let mut headers = vec![("cookie", &*cookie)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        match world
            .web_socket(CODE, "/w/demo/session/interactive", &headers)
            .await
        {
            Err(Error::Http(response)) => assert_eq!(response.status(), 403, "{origin:?}"),
            other => panic!("{origin:?} was let in: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_end_of_the_guest_is_told_with_its_reason() {
    let world = World::new().await;
    let ticket = world.ticket("demo", Door::Workbench);
    let mut socket = open(&world, "/w/demo/session/interactive", &ticket).await;
    let (_, guest) = world.guest().await;
    drop(guest);
    assert_eq!(close_of(&mut socket).await.0, Close::FAILED);

    let mut socket = open(&world, "/w/demo/session/interactive", &ticket).await;
    let (_, guest) = world.guest().await;
    world.change("demo", |route| route.state = "stopping".into());
    drop(guest);
    assert_eq!(
        close_of(&mut socket).await,
        (Close::NOT_RUNNING, "stopping".into())
    );
}

#[tokio::test]
async fn a_client_that_speaks_nonsense_hurts_only_itself() {
    let world = World::new().await;
    let ticket = world.ticket("demo", Door::Workbench);
    let path = "/w/demo/session/interactive";
    let mut good = open(&world, path, &ticket).await;
    let (_, mut good_guest) = world.guest().await;

    let mut texts = open(&world, path, &ticket).await;
    texts.send(Message::text("hello")).await.unwrap();
    assert_eq!(close_of(&mut texts).await.0, 1003);

    let mut large = open(&world, path, &ticket).await;
    let _ = large
        .send(Message::binary(vec![0; gateway::session::MAX_MESSAGE + 1]))
        .await;
    let ended = within(async { while let Some(Ok(_)) = large.next().await {} });
    ended.await;

    let mut raw = open(&world, path, &ticket).await;
    raw.get_mut().write_all(&[0xff; 4096]).await.unwrap();
    within(async { while let Some(Ok(_)) = raw.next().await {} }).await;

    good.send(Message::binary(vec![1])).await.unwrap();
    let mut frame = [0; 5];
    within(good_guest.read_exact(&mut frame)).await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_is_let_go_and_holds_up_nobody() {
    let patience = Patience {
        ping: Duration::from_millis(200),
        silence: Duration::from_millis(600),
        ..Patience::default()
    };
    let world = World::with(Config {
        patience,
        ..Config::default()
    })
    .await;
    let ticket = world.ticket("demo", Door::Workbench);
    let _stuck = open(&world, "/w/demo/session/bulk", &ticket).await;
    let (_, mut guest) = world.guest().await;
    // The guest is stopped after what fits into buffers, and then sees the end.
    let message = [&[0, 4, 0, 0][..], &vec![0; 0x40000]].concat();
    let mut written = 0;
    let end = within(async {
        loop {
            match guest.write_all(&message).await {
                Ok(()) => written += message.len(),
                Err(error) => break error,
            }
        }
    })
    .await;
    assert_eq!(end.kind(), std::io::ErrorKind::BrokenPipe);
    assert!(
        written < 32 << 20,
        "{written} bytes were buffered for a client that never reads"
    );
}

#[tokio::test]
async fn pings_keep_a_silent_session_and_a_sign_out_ends_it() {
    let patience = Patience {
        ping: Duration::from_millis(50),
        silence: Duration::from_millis(2_000),
        sign_out: Duration::from_millis(20),
        ..Patience::default()
    };
    let world = World::with(Config {
        patience,
        ..Config::default()
    })
    .await;
    let ticket = world.ticket("demo", Door::Workbench);
    let mut socket = open(&world, "/w/demo/session/interactive", &ticket).await;
    let (_, _guest) = world.guest().await;
    // A control plane that cannot tell throws nobody out.
    *world.directory.silent.lock().unwrap() = true;
    let mut pings = 0;
    within(async {
        while pings < 3 {
            if let Some(Ok(Message::Ping(_))) = socket.next().await {
                pings += 1;
            }
        }
    })
    .await;
    *world.directory.silent.lock().unwrap() = false;
    world.sign_out("session-of-demo");
    assert_eq!(close_of(&mut socket).await.0, Close::SIGN_IN);
}

#[tokio::test]
async fn programs_come_in_with_a_token_and_with_no_cookie() {
    let world = World::new().await;
    let path = "/api/v1/session/demo/interactive";
    let status = |result: Result<Socket, Error>| match result {
        Err(Error::Http(response)) => response.status().as_u16(),
        Ok(_) => 101,
        Err(error) => panic!("{error}"),
    };
    let cookie = format!("roost_workbench={}", world.ticket("demo", Door::Workbench));
    let program = format!("Bearer {}", world.ticket("demo", Door::Program));
    let workbench = format!("Bearer {}", world.ticket("demo", Door::Workbench));
    for (header, value, expected) in [
        ("cookie", &*cookie, 401),
        ("authorization", "Bearer nonsense", 401),
        ("authorization", &*workbench, 401),
        ("authorization", "Bearer token-of-bob", 404),
        ("authorization", "Bearer token-of-ada", 101),
        ("authorization", &*program, 101),
    ] {
        let opened = world
            .web_socket("localhost", path, &[(header, value)])
            .await;
        assert_eq!(status(opened), expected, "{header}: {value}");
    }
    *world.host.running.lock().unwrap() = false;
    world.change("demo", |route| {
        route.state = "stopped".into();
        route.host = None;
    });
    let opened = world
        .web_socket("localhost", path, &[("authorization", &program)])
        .await;
    assert_eq!(status(opened), 409);
}
