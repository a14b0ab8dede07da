//! Commands and files over plain HTTP, against a guest that plays its part of the protocol.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod world;

use axum::http::StatusCode;
use futures::{SinkExt, StreamExt};
use guest_protocol::client::{Answer, Request};
use guest_protocol::codec;
use guest_protocol::frames::{
    ClientFrame, Data, Done, ExecExited, ExecStarted, Failure, FileInfo, FileWritten, ServerFrame,
    Welcome, data, failure,
};
use reqwest::Method;
use tokio::io::DuplexStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use world::{World, within};

const BASE: &str = "/api/v1/workspaces/demo";

fn ask(world: &World, method: Method, path: &str) -> reqwest::RequestBuilder {
    world
        .request(method, "localhost", &format!("{BASE}/{path}"))
        .header("authorization", "Bearer token-of-ada")
}

/// The guest's side of one session.
struct Guest(Framed<DuplexStream, LengthDelimitedCodec>);

impl Guest {
    async fn greet(world: &World) -> Self {
        let (_, stream) = world.guest().await;
        let mut guest = Self(codec::framed(stream));
        let hello = guest.next().await;
        assert!(matches!(hello.body, Some(Request::Hello(_))));
        guest
            .say(
                0,
                Answer::Welcome(Welcome {
                    generation: 1,
                    ..Welcome::default()
                }),
            )
            .await;
        guest
    }

    async fn next(&mut self) -> ClientFrame {
        let frame = within(self.0.next()).await.unwrap().unwrap();
        codec::decode(&frame).unwrap()
    }

    async fn say(&mut self, call: u64, body: Answer) {
        let frame = ServerFrame {
            call,
            body: Some(body),
        };
        within(self.0.send(codec::encode(&frame))).await.unwrap();
    }

    async fn data(
        &mut self,
        call: u64,
        offset: u64,
        bytes: &[u8],
        channel: data::Channel,
        end: bool,
    ) {
        let bytes = bytes.to_vec().into();
        self.say(
            call,
            Answer::Data(Data {
                offset,
                bytes,
                channel: channel.into(),
                end,
            }),
        )
        .await;
    }

    async fn fail(&mut self, call: u64, kind: failure::Kind, message: &str) {
        self.say(
            call,
            Answer::Failure(Failure {
                kind: kind.into(),
                message: message.into(),
            }),
        )
        .await;
    }
}

#[tokio::test]
async fn a_command_is_followed_line_by_line_and_attached_to_again() {
    let world = World::new().await;
    let body = serde_json::json!({
        "command": ["cat", "-"], "cwd": "/tmp", "env": {"A": "b"}, "stdin": "hello"
    });
    let request = ask(&world, Method::POST, "exec").json(&body).send();
    let play = async {
        let mut guest = Guest::greet(&world).await;
        let frame = guest.next().await;
        let Some(Request::ExecStart(start)) = frame.body else {
            panic!("{frame:?}")
        };
        assert_eq!(
            (start.command, start.working_directory.as_str()),
            (vec!["cat".into(), "-".into()], "/tmp")
        );
        assert!(start.stdin && start.environment["A"] == "b");
        let started = ExecStarted {
            exec: "x1".into(),
            process: 7,
            ..ExecStarted::default()
        };
        guest.say(frame.call, Answer::ExecStarted(started)).await;
        let input = guest.next().await;
        let Some(Request::Data(input)) = input.body else {
            panic!("{input:?}")
        };
        assert_eq!(input.bytes, "hello");
        guest
            .data(frame.call, 0, b"hello", data::Channel::Main, false)
            .await;
        guest
            .data(frame.call, 0, &[0xff, 0], data::Channel::Stderr, false)
            .await;
        let exited = ExecExited {
            code: 3,
            signaled: false,
        };
        guest.say(frame.call, Answer::ExecExited(exited)).await;
        guest
    };
    let (answer, _guest) = tokio::join!(within(request), play);
    let answer = answer.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let lines: Vec<serde_json::Value> = answer
        .text()
        .await
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["exec"], "x1");
    assert_eq!(
        lines[1],
        serde_json::json!({
            "event": "output", "stream": "stdout", "offset": 0, "text": "hello"
        })
    );
    assert_eq!(lines[2]["base64"], "/wA=");
    assert_eq!(
        lines[3],
        serde_json::json!({"event": "exited", "code": 3, "signaled": false})
    );

    let request = ask(
        &world,
        Method::GET,
        "exec/x1?stdout_offset=5&stderr_offset=2",
    )
    .send();
    let play = async {
        let mut guest = Guest::greet(&world).await;
        let frame = guest.next().await;
        let Some(Request::ExecAttach(attach)) = frame.body else {
            panic!("{frame:?}")
        };
        assert_eq!(
            (
                attach.exec.as_str(),
                attach.stdout_offset,
                attach.stderr_offset
            ),
            ("x1", 5, 2)
        );
        guest
            .fail(
                frame.call,
                failure::Kind::NotFound,
                "there is no program x1",
            )
            .await;
        guest
    };
    let (answer, _guest) = tokio::join!(within(request), play);
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(problem["detail"], "there is no program x1");
}

#[tokio::test]
async fn a_command_is_followed_only_while_the_token_is_valid() {
    let world = World::watchful().await;
    let request = ask(&world, Method::GET, "exec/x1").send();
    let play = async {
        let mut guest = Guest::greet(&world).await;
        let frame = guest.next().await;
        let started = ExecStarted {
            exec: "x1".into(),
            ..ExecStarted::default()
        };
        guest.say(frame.call, Answer::ExecStarted(started)).await;
        guest
    };
    let (answer, _guest) = tokio::join!(within(request), play);
    world.sign_out("token-of-ada");
    let text = within(answer.unwrap().text()).await.unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "failed", "{text}");
    assert!(
        last["detail"].as_str().unwrap().contains("sign-in"),
        "{text}"
    );
}

#[tokio::test]
async fn files_go_in_and_out_with_their_versions() {
    let world = World::new().await;
    let info = FileInfo {
        size: 5,
        version: "v1".into(),
        name: "f".into(),
        mode: 0o600,
        ..FileInfo::default()
    };
    let request = ask(&world, Method::GET, "files?path=/f").send();
    let play = async {
        let mut guest = Guest::greet(&world).await;
        let call = guest.next().await.call;
        guest.say(call, Answer::FileInfo(info.clone())).await;
        guest.data(call, 0, b"he", data::Channel::Main, false).await;
        guest.data(call, 2, b"llo", data::Channel::Main, true).await;
        guest
    };
    let (answer, _guest) = tokio::join!(within(request), play);
    let answer = answer.unwrap();
    assert_eq!(answer.headers()["etag"], "\"v1\"");
    assert_eq!(
        answer.headers()["content-disposition"],
        "attachment",
        "it could be a page of this origin"
    );
    assert_eq!(answer.text().await.unwrap(), "hello");

    let request = ask(&world, Method::PUT, "files?path=/f&mode=600&parents=true")
        .header("if-match", "\"v1\"")
        .body("new")
        .send();
    let play = async {
        let mut guest = Guest::greet(&world).await;
        let frame = guest.next().await;
        let Some(Request::FileWrite(write)) = frame.body else {
            panic!("{frame:?}")
        };
        assert_eq!(
            (write.if_version.as_str(), write.mode, write.make_parents),
            ("v1", 0o600, true)
        );
        let mut content = Vec::new();
        loop {
            let Some(Request::Data(data)) = guest.next().await.body else {
                panic!("no data")
            };
            content.extend_from_slice(&data.bytes);
            if data.end {
                break;
            }
        }
        assert_eq!(content, b"new");
        guest
            .say(
                frame.call,
                Answer::FileWritten(FileWritten {
                    info: Some(info.clone()),
                }),
            )
            .await;
        guest
    };
    let (answer, _guest) = tokio::join!(within(request), play);
    let entry: serde_json::Value = answer.unwrap().json().await.unwrap();
    assert_eq!(entry["version"], "v1");

    let request = ask(&world, Method::DELETE, "files?path=/f&recursive=true").send();
    let play = async {
        let mut guest = Guest::greet(&world).await;
        let frame = guest.next().await;
        assert!(matches!(frame.body, Some(Request::FileRemove(ref remove)) if remove.recursive));
        guest.say(frame.call, Answer::Done(Done {})).await;
        guest
    };
    let (answer, _guest) = tokio::join!(within(request), play);
    assert_eq!(answer.unwrap().status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_broken_download_is_not_taken_for_a_whole_one() {
    let world = World::new().await;
    let request = ask(&world, Method::GET, "files?path=/f").send();
    let play = async {
        let mut guest = Guest::greet(&world).await;
        let call = guest.next().await.call;
        guest.say(call, Answer::FileInfo(FileInfo::default())).await;
        guest
            .data(call, 0, b"part", data::Channel::Main, false)
            .await;
        // And gone.
    };
    let (answer, ()) = tokio::join!(within(request), play);
    // It may break off even before the head is out.
    if let Ok(answer) = answer {
        assert!(answer.bytes().await.is_err());
    }
}

#[tokio::test]
async fn failures_say_what_the_caller_can_do() {
    let world = World::new().await;
    for (kind, status) in [
        (failure::Kind::NotFound, 404),
        (failure::Kind::IsADirectory, 409),
        (failure::Kind::Permission, 403),
        (failure::Kind::NoSpace, 507),
        (failure::Kind::Conflict, 412),
        (failure::Kind::Busy, 429),
        (failure::Kind::Internal, 502),
    ] {
        let request = ask(&world, Method::GET, "files?path=/f").send();
        let play = async {
            let mut guest = Guest::greet(&world).await;
            let call = guest.next().await.call;
            guest.fail(call, kind, "words of the guest").await;
            guest
        };
        let (answer, _guest) = tokio::join!(within(request), play);
        let answer = answer.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{kind:?}");
        assert!(answer.text().await.unwrap().contains("words of the guest"));
    }
}

#[tokio::test]
async fn strangers_and_stopped_workspaces_are_refused_before_the_guest_is_asked() {
    let world = World::new().await;
    let plain = |name: &'static str, value: String| {
        world
            .get("localhost", &format!("{BASE}/files?path=/f"))
            .header(name, value)
            .send()
    };
    let cookie = world.ticket("demo", fleet_api::ticket::Door::Workbench);
    let cases = [
        (
            "cookie",
            format!("roost_workbench={cookie}; roost_session=x"),
            401,
        ),
        ("authorization", "Bearer wrong".into(), 401),
        ("authorization", "Bearer token-of-bob".into(), 404),
    ];
    for (name, value, status) in cases {
        assert_eq!(
            plain(name, value.clone()).await.unwrap().status().as_u16(),
            status,
            "{value}"
        );
    }
    *world.host.running.lock().unwrap() = false;
    world.change("demo", |route| route.state = "stopped".into());
    let answer = ask(&world, Method::POST, "exec")
        .json(&serde_json::json!({"command": ["x"]}))
        .send();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert!(answer.text().await.unwrap().contains("stopped"));
    assert!(
        world.guests.lock().await.try_recv().is_err(),
        "the guest was asked"
    );
}

#[tokio::test]
async fn wrong_requests_are_answered_with_problems() {
    let world = World::new().await;
    let json = |body: &'static str| ("content-type", "application/json", body);
    let cases = [
        (
            Method::PATCH,
            "files?path=/f",
            json(""),
            405,
            "method-not-allowed",
        ),
        (Method::GET, "files", json(""), 400, "invalid-request"),
        (
            Method::GET,
            "files?path=/f&pth=/g",
            json(""),
            400,
            "invalid-request",
        ),
        (
            Method::GET,
            "archive?path=/f&format=rar",
            json(""),
            400,
            "invalid-request",
        ),
        (Method::POST, "exec", json("{"), 400, "invalid-request"),
        (
            Method::POST,
            "exec",
            ("content-type", "text/plain", "{}"),
            415,
            "unsupported-media-type",
        ),
    ];
    for (method, path, (name, value, body), status, kind) in cases {
        let request = ask(&world, method.clone(), path).header(name, value);
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], format!("urn:problem-type:roost:{kind}"));
    }
    for path in [
        "/api/v1/tunnel/demo/http",
        "/api/v1/tunnel/demo/80",
        "/api/v1/session/demo/x",
    ] {
        let request = world.request(Method::GET, "localhost", path);
        let answer = request
            .header("authorization", "Bearer token-of-ada")
            .send()
            .await
            .unwrap();
        assert_eq!(
            answer.headers()["content-type"],
            "application/problem+json",
            "{path}"
        );
    }
    assert!(
        world.guests.lock().await.try_recv().is_err(),
        "the guest was asked"
    );
}
