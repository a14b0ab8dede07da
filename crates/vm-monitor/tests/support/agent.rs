//! The smallest agent that a monitor can talk to, run as a process of its own by executing the test's own
//! program again. What stands for a guest's TCP ports are things that tests need done in there.

use std::path::{Path, PathBuf};

use futures::{SinkExt, StreamExt};
use guest_protocol::codec::{self, read_message, write_message};
use guest_protocol::frames::{
    ClientFrame, Failure, GitStream, Pong, ServerFrame, StreamOpen, StreamOpened, Welcome,
    client_frame, failure, server_frame, stream_open,
};
use guest_protocol::link::{self, Link, LinkStream, Side};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

/// Echoes.
pub const ECHO: u32 = 1;
/// Opens a git stream to the host, and is connected to that.
pub const GIT: u32 = 2;
/// Starts a `sleep` in a session of its own and writes its process id.
pub const SLEEP: u32 = 3;
/// Nobody listens.
pub const REFUSED: u32 = 4;
/// Cuts the link off.
pub const CUT: u32 = 5;

const ARGUMENTS: &str = "ROOST_TEST_AGENT";

/// A program that takes an agent's arguments.
pub fn program(folder: &Path) -> PathBuf {
    let path = folder.join("agent");
    let test = std::env::current_exe().unwrap();
    let line = format!(
        "{ARGUMENTS}=\"$*\" exec {} --exact the_agent --nocapture",
        test.display()
    );
    super::script(&path, &line);
    path
}

/// To be called by a test with the name `the_agent`: is the agent when executed as that.
pub async fn run() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        return;
    };
    let words: Vec<&str> = arguments.split(' ').collect();
    let [
        "--listen-interactive",
        interactive,
        "--listen-bulk",
        bulk,
        "--root-folder",
        _root,
    ] = words[..]
    else {
        panic!("unexpected arguments: {words:?}");
    };
    println!("the agent says hello to its console");
    tokio::join!(listen(interactive), listen(bulk));
}

async fn listen(socket: &str) {
    let listener = UnixListener::bind(socket).unwrap();
    loop {
        let (mut connection, _) = listener.accept().await.unwrap();
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let carry =
            async move { tokio::io::copy_bidirectional(&mut connection, &mut theirs).await };
        let carrier = tokio::spawn(carry);
        let (link, mut incoming) = link::connect(ours, Side::Guest, link::random_nonce())
            .await
            .unwrap();
        while let Some(stream) = incoming.recv().await {
            tokio::spawn(serve(link.clone(), stream, carrier.abort_handle()));
        }
    }
}

async fn serve(link: Link, mut stream: LinkStream, carrier: AbortHandle) -> Option<()> {
    let open = read_message::<StreamOpen>(&mut stream).await.ok()??;
    let failed = Failure {
        kind: failure::Kind::Refused.into(),
        message: "nobody listens".to_owned(),
    };
    let failure = matches!(&open.kind, Some(stream_open::Kind::Tcp(tcp)) if tcp.port == REFUSED)
        .then_some(failed);
    write_message(&mut stream, &StreamOpened { failure })
        .await
        .ok()?;
    match open.kind? {
        stream_open::Kind::Session(_) => session(stream).await,
        stream_open::Kind::Git(_) => None,
        stream_open::Kind::Tcp(tcp) => match tcp.port {
            ECHO => {
                let (mut reader, mut writer) = tokio::io::split(stream);
                tokio::io::copy(&mut reader, &mut writer).await.ok()?;
                writer.shutdown().await.ok()
            }
            GIT => {
                let mut git = link.open().await.ok()?;
                let open = StreamOpen {
                    kind: Some(stream_open::Kind::Git(GitStream {})),
                };
                write_message(&mut git, &open).await.ok()?;
                tokio::io::copy_bidirectional(&mut stream, &mut git)
                    .await
                    .ok()
                    .map(drop)
            }
            CUT => {
                carrier.abort();
                None
            }
            SLEEP => {
                #[allow(clippy::zombie_processes)] // it is to outlive the agent
                let child = std::process::Command::new("setsid")
                    .args(["sleep", "1000"])
                    .spawn()
                    .unwrap();
                stream
                    .write_all(child.id().to_string().as_bytes())
                    .await
                    .ok()?;
                stream.shutdown().await.ok()
            }
            _ => None,
        },
    }
}

async fn session(stream: LinkStream) -> Option<()> {
    let mut frames = codec::framed(stream);
    loop {
        let frame: ClientFrame = codec::decode(&frames.next().await?.ok()?).ok()?;
        let body = match frame.body? {
            client_frame::Body::Hello(_) => server_frame::Body::Welcome(Welcome {
                generation: 1,
                ..Default::default()
            }),
            client_frame::Body::Ping(_) => server_frame::Body::Pong(Pong {}),
            client_frame::Body::Shutdown(_) => std::process::exit(0),
            _ => continue,
        };
        let answer = ServerFrame {
            call: frame.call,
            body: Some(body),
        };
        frames.send(codec::encode(&answer)).await.ok()?;
    }
}
