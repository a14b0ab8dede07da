//! Sessions: what a bad client can and cannot do, roles, setting up, Git, stopping.
#![allow(clippy::unwrap_used)]

mod world;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use guest_protocol::client::{Session, open_stream};
use guest_protocol::codec;
use guest_protocol::frames::{
    ClientFrame, Configure, Data, Hello, Role, ServerFrame, SessionStream, StreamClass,
    client_frame, failure, server_frame, stream_open,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use world::{World, output, shell, soon};

type Raw = Framed<guest_protocol::link::LinkStream, LengthDelimitedCodec>;

/// A session without the client's good manners.
async fn raw(world: &World, role: Role) -> Raw {
    let mut stream = world.interactive.open().await.unwrap();
    let session = SessionStream {
        class: StreamClass::Interactive.into(),
        role: role.into(),
    };
    open_stream(&mut stream, stream_open::Kind::Session(session))
        .await
        .unwrap();
    codec::framed(stream)
}

async fn send(raw: &mut Raw, call: u64, body: client_frame::Body) {
    raw.send(codec::encode(&ClientFrame {
        call,
        body: Some(body),
    }))
    .await
    .unwrap();
}

async fn receive(raw: &mut Raw) -> Option<ServerFrame> {
    let message = soon("a frame", raw.next()).await?.ok()?;
    Some(codec::decode(&message).unwrap())
}

async fn greeted(world: &World) -> Raw {
    let mut raw = raw(world, Role::Editor).await;
    send(
        &mut raw,
        0,
        client_frame::Body::Hello(Hello {
            generation: 9,
            client: "raw".into(),
        }),
    )
    .await;
    let welcome = receive(&mut raw).await.unwrap();
    let Some(server_frame::Body::Welcome(welcome)) = welcome.body else {
        panic!("{welcome:?}")
    };
    assert_eq!((welcome.generation, welcome.boot.len()), (1, 16));
    raw
}

fn failure_of(frame: ServerFrame) -> (u64, failure::Kind) {
    match frame.body {
        Some(server_frame::Body::Failure(failure)) => (frame.call, failure.kind()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn garbage_ends_that_session_and_no_other() {
    let world = World::start().await;
    let other = world.editor().await;
    let mut first = raw(&world, Role::Editor).await;
    first
        .send(Bytes::from_static(b"\xff\xff\xff\xff\xff\xff"))
        .await
        .unwrap();
    assert_eq!(
        failure_of(receive(&mut first).await.unwrap()),
        (0, failure::Kind::Invalid)
    );
    assert!(receive(&mut first).await.is_none());
    let mut second = greeted(&world).await;
    second
        .send(Bytes::from_static(b"\x0a\xff\xff\xff\xff\xff"))
        .await
        .unwrap();
    assert_eq!(
        failure_of(receive(&mut second).await.unwrap()),
        (0, failure::Kind::Invalid)
    );
    assert!(receive(&mut second).await.is_none());
    // A length beyond all measure, and a stream that says what nobody understands.
    let mut stream = greeted(&world).await.into_inner();
    stream.write_all(&[0xff; 64]).await.unwrap();
    let mut unopened = world.interactive.open().await.unwrap();
    unopened.write_all(&[0, 0, 0, 2, 0xff, 0xff]).await.unwrap();
    let mut rest = Vec::new();
    soon("its end", unopened.read_to_end(&mut rest))
        .await
        .unwrap();
    other.ping().await.unwrap();
    assert!(output(&other, "true").await.success());
}

#[tokio::test]
async fn the_protocol_of_calls_is_kept() {
    let world = World::start().await;
    let mut raw = greeted(&world).await;
    // A request of a later generation.
    raw.send(Bytes::from_static(&[0x08, 5, 0xfa, 0x3f, 0]))
        .await
        .unwrap();
    assert_eq!(
        failure_of(receive(&mut raw).await.unwrap()),
        (5, failure::Kind::Unsupported)
    );
    let watch = || client_frame::Body::PortsWatch(Default::default());
    send(&mut raw, 6, watch()).await;
    assert_eq!(receive(&mut raw).await.unwrap().call, 6);
    // More than the credit, with what the program's pipe takes.
    let start = guest_protocol::frames::ExecStart {
        stdin: true,
        ..shell("sleep 1000")
    };
    send(&mut raw, 7, client_frame::Body::ExecStart(start)).await;
    assert_eq!(receive(&mut raw).await.unwrap().call, 7);
    for _ in 0..8 {
        let data = Data {
            bytes: vec![0; 64 * 1024].into(),
            ..Data::default()
        };
        send(&mut raw, 7, client_frame::Body::Data(data)).await;
    }
    loop {
        let frame = receive(&mut raw).await.unwrap();
        if !matches!(frame.body, Some(server_frame::Body::Credit(_))) {
            assert_eq!(failure_of(frame), (7, failure::Kind::Invalid));
            break;
        }
    }
    send(&mut raw, 6, watch()).await;
    assert_eq!(
        failure_of(receive(&mut raw).await.unwrap()),
        (0, failure::Kind::Invalid)
    );
    assert!(receive(&mut raw).await.is_none());
}

#[tokio::test]
async fn clients_that_never_read_hold_up_nobody() {
    let world = World::start().await;
    std::fs::write(world.path("large"), vec![7; 5_000_000]).unwrap();
    let mut stuck = Vec::new();
    for _ in 0..5 {
        let mut raw = greeted(&world).await;
        for call in 1..50 {
            let read = guest_protocol::frames::FileRead {
                path: world.text("large"),
                ..Default::default()
            };
            send(&mut raw, call, client_frame::Body::FileRead(read)).await;
        }
        stuck.push(raw);
    }
    let session = world.editor().await;
    for _ in 0..20 {
        soon("a ping", session.ping()).await.unwrap();
        assert!(output(&session, "true").await.success());
    }
}

#[tokio::test]
async fn a_viewer_reads_and_changes_nothing() {
    let world = World::start().await;
    std::fs::write(world.path("file"), "text").unwrap();
    let viewer = world.session(Role::Viewer).await;
    let download = viewer.read_file(&world.text("file"), 0, 0).await.unwrap();
    assert_eq!(download.collect().await.unwrap(), b"text");
    assert_eq!(viewer.list(&world.text("")).await.unwrap().len(), 1);
    let refused = [
        viewer.put_file(&world.text("file"), b"x").await.map(drop),
        viewer.make_directory(&world.text("d"), false).await,
        viewer
            .rename(&world.text("file"), &world.text("f"), true)
            .await,
        viewer
            .copy(&world.text("file"), &world.text("f"), true)
            .await,
        viewer.remove(&world.text("file"), true).await,
        viewer.extract(&world.text(""), &b""[..]).await,
        viewer.exec_output(shell("true")).await.map(drop),
        viewer.repositories_status().await.map(drop),
        viewer.shutdown(0).await,
        viewer.configure(Configure::default()).await.map(drop),
        world.editor().await.shutdown(0).await,
        world
            .editor()
            .await
            .configure(Configure::default())
            .await
            .map(drop),
        world
            .session(Role::Unspecified)
            .await
            .remove(&world.text("file"), true)
            .await,
    ];
    for (number, result) in refused.into_iter().enumerate() {
        assert_eq!(
            result.unwrap_err().kind(),
            Some(failure::Kind::Refused),
            "number {number}"
        );
    }
    assert_eq!(std::fs::read(world.path("file")).unwrap(), b"text");
}

async fn configured(world: &World, folder: &str) -> (Session, String) {
    let host = world.session(Role::Host).await;
    let configure = Configure {
        folder: folder.into(),
        git_user_name: "Zoë Example".into(),
        git_user_email: "zoe@example.org".into(),
        environment: [("FROM_HOST".to_owned(), "yes".to_owned())].into(),
        nameservers: vec!["10.1.2.3".into()],
        extra_certificates: vec![
            "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----".into(),
        ],
        ..Configure::default()
    };
    let configured = host.configure(configure).await.unwrap();
    (host, configured.folder)
}

#[tokio::test]
async fn the_host_sets_the_machine_up() {
    let world = World::start().await;
    let (host, folder) = configured(&world, "demo").await;
    assert_eq!(folder, world.text("demo"));
    let session = world.editor().await;
    assert_eq!(session.welcome().workspace, folder);
    let script = "pwd; echo $FROM_HOST; git config user.email; cat $SSL_CERT_FILE | grep -c BEGIN; \
        cat ../../etc/resolv.conf";
    let result = output(&session, script).await;
    assert_eq!(
        String::from_utf8(result.stdout).unwrap(),
        format!("{folder}\nyes\nzoe@example.org\n1\nnameserver 10.1.2.3\n")
    );
    // Again, as after a restart of the host: nothing is there twice.
    configured(&world, "demo").await;
    assert_eq!(
        output(&session, "grep -c BEGIN $SSL_CERT_FILE")
            .await
            .stdout,
        b"1\n"
    );
    for outside in ["../outside", "/etc", "a/../../b"] {
        let configure = Configure {
            folder: outside.into(),
            ..Configure::default()
        };
        let error = host.configure(configure).await.unwrap_err();
        assert_eq!(error.kind(), Some(failure::Kind::Invalid), "{outside}");
    }
}

#[tokio::test]
async fn git_goes_through_the_relay_to_the_host() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut world = World::start_with(&["--git-relay-port", &port.to_string()]).await;
    configured(&world, "demo").await;
    let session = world.editor().await;
    let script = "git clone -q https://example.org/a/b.git 2>&1; echo code $?";
    let (result, request) = tokio::join!(output(&session, script), async {
        let mut stream = soon("git's stream", world.from_bulk.recv()).await.unwrap();
        let open: guest_protocol::frames::StreamOpen =
            codec::read_message(&mut stream).await.unwrap().unwrap();
        assert!(matches!(open.kind, Some(stream_open::Kind::Git(_))));
        codec::write_message(
            &mut stream,
            &guest_protocol::frames::StreamOpened::default(),
        )
        .await
        .unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8(request).unwrap()
    });
    assert!(
        request.starts_with(
            "GET /https/example.org/a/b.git/info/refs?service=git-upload-pack HTTP/1.1\r\n"
        ),
        "{request}"
    );
    let said = String::from_utf8(result.stdout).unwrap();
    assert!(said.contains("403") && said.contains("code 128"), "{said}");
}

#[tokio::test]
async fn repositories_tell_what_is_nowhere_else() {
    let world = World::start().await;
    configured(&world, "demo").await;
    let session = world.editor().await;
    let script = "set -e; git init -q --bare ../../origin.git; git clone -q ../../origin.git work 2>/dev/null; cd work; \
        git checkout -q -b main; echo 1 > a; git add a; git commit -q -m one; git push -q -u origin main; \
        echo 2 > a; git commit -q -a -m two; git checkout -q -b side; echo 3 > a; git commit -q -a -m three; \
        echo s > a; git stash -q; echo x > untracked; echo 4 > a; mkdir -p ../empty && git init -q ../empty; \
        mkdir -p ../broken/.git; echo nonsense > ../broken/.git/HEAD";
    let made = output(&session, script).await;
    assert!(made.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let found = soon("repositories", session.repositories_status())
        .await
        .unwrap();
    let [broken, empty, work] = &found[..] else {
        panic!("{found:?}")
    };
    assert!(!broken.error.is_empty());
    assert!(
        empty.no_remote && empty.uncommitted == 0 && empty.error.is_empty(),
        "{empty:?}"
    );
    assert_eq!(work.path, format!("{}/work", world.text("demo")));
    assert_eq!(
        (
            work.branch.as_str(),
            work.uncommitted,
            work.unpushed,
            work.stashes,
            work.no_remote
        ),
        ("side", 2, 2, 1, false)
    );
}

#[tokio::test]
async fn stopping_ends_what_was_started() {
    let mut world = World::start().await;
    let host = world.session(Role::Host).await;
    let exec = host
        .exec(shell("trap '' TERM HUP; sleep 1000"))
        .await
        .unwrap();
    let process = exec.started().process;
    host.terminal_create(world::plain_terminal()).await.unwrap();
    host.shutdown(200).await.unwrap();
    assert!(world.agent_ends());
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
}
