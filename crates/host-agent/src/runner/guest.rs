//! Streams and sessions to a guest, through its monitor.

use std::time::Duration;

use bytes::Bytes;
use fleet_api::host::{GuestFigures, GuestRole, GuestStream, HostError};
use guest_protocol::client::{Error as GuestError, Session};
use guest_protocol::codec;
use guest_protocol::frames::failure::Kind;
use guest_protocol::frames::{
    ExecStart, Role, SessionStream, StreamClass, StreamOpen, StreamOpened, TcpStream, stream_open,
};
use monitor_protocol::client::{MonitorClient, MonitorError};
use monitor_protocol::messages::{Grow, request};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long a guest may take to accept a stream.
const OPENS_WITHIN: Duration = Duration::from_secs(15);

/// A file system grows within seconds, however large.
const GROWS_WITHIN: Duration = Duration::from_secs(60);

/// Over how long the CPU's share is measured, in milliseconds.
const FIGURES_OVER: u32 = 500;

/// What the machine uses; takes a moment, since load is a thing of time.
pub async fn figures(monitor: &MonitorClient) -> Result<GuestFigures, HostError> {
    let message = "the workspace did not say what it uses";
    let ask = async {
        let session = session(monitor, false).await?;
        let mut feed = session.watch_metrics(FIGURES_OVER)?;
        // The first has no time to look back on.
        feed.next().await?;
        feed.next().await
    };
    let figures = timeout(OPENS_WITHIN, ask)
        .await
        .map_err(|_| HostError::Guest {
            message: message.into(),
        })?
        .map_err(|error| HostError::Guest {
            message: error.to_string(),
        })?
        .ok_or_else(|| HostError::Guest {
            message: message.into(),
        })?;
    Ok(GuestFigures {
        cpu: figures.cpu,
        cpus: figures.cpus,
        memory_used: figures.memory_used,
        memory_total: figures.memory_total,
        disk_used: figures.disk_used,
        disk_total: figures.disk_total,
    })
}

/// Makes the disk larger under a running guest, and the file system on it.
pub async fn grow_disk(monitor: &MonitorClient, bytes: u64) -> Result<(), HostError> {
    let grow = request::Body::Grow(Grow { bytes });
    let grown = timeout(OPENS_WITHIN, monitor.ask_disk(grow)).await;
    let refused = |message: String| HostError::Failed { message };
    grown
        .map_err(|_| refused("the disk did not grow in time".into()))?
        .map_err(|error| refused(error.to_string()))?;
    let resize = ExecStart {
        command: ["resize2fs", "/dev/vda"].map(String::from).into(),
        root: true,
        ..ExecStart::default()
    };
    let ask = async { session(monitor, true).await?.exec_output(resize).await };
    let output = timeout(GROWS_WITHIN, ask)
        .await
        .map_err(|_| HostError::Guest {
            message: "the file system did not grow in time: it goes on".into(),
        })?
        .map_err(|error| HostError::Guest {
            message: error.to_string(),
        })?;
    if output.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(HostError::Guest {
        message: format!("the file system does not grow: {}", said.trim()),
    })
}

/// Opens what a gateway asks for.
pub async fn connect(
    monitor: &MonitorClient,
    stream: GuestStream,
) -> Result<UnixStream, HostError> {
    let (kind, bulk) = match stream {
        GuestStream::Session { bulk, role } => {
            let role = match role {
                GuestRole::Viewer => Role::Viewer,
                GuestRole::Editor => Role::Editor,
            };
            (session_of(bulk, role), bulk)
        }
        GuestStream::Tcp { port } => {
            // Forwarded connections carry files and pages: they must not delay a key.
            (
                stream_open::Kind::Tcp(TcpStream { port: port.into() }),
                true,
            )
        }
    };
    let refused = |failure: guest_protocol::frames::Failure| match stream {
        GuestStream::Tcp { port } if failure.kind() == Kind::Refused => {
            HostError::PortClosed { port }
        }
        _ => HostError::Guest {
            message: failure.message,
        },
    };
    open(monitor, bulk, kind).await?.map_err(refused)
}

/// A session with all rights, for the host's own requests.
pub async fn session(monitor: &MonitorClient, bulk: bool) -> Result<Session, GuestError> {
    let lost = |error: HostError| GuestError::Disconnected(error.to_string());
    let stream = open(monitor, bulk, session_of(bulk, Role::Host))
        .await
        .map_err(lost)??;
    let class = if bulk {
        StreamClass::Bulk
    } else {
        StreamClass::Interactive
    };
    Session::connect(stream, class, concat!("roost ", env!("CARGO_PKG_VERSION"))).await
}

fn session_of(bulk: bool, role: Role) -> stream_open::Kind {
    let class = if bulk {
        StreamClass::Bulk
    } else {
        StreamClass::Interactive
    };
    stream_open::Kind::Session(SessionStream {
        class: class.into(),
        role: role.into(),
    })
}

type Opened = Result<UnixStream, guest_protocol::frames::Failure>;

async fn open(
    monitor: &MonitorClient,
    bulk: bool,
    kind: stream_open::Kind,
) -> Result<Opened, HostError> {
    let silent = || HostError::Guest {
        message: "the workspace does not answer".into(),
    };
    let open = async {
        let request: Bytes = codec::encode(&StreamOpen { kind: Some(kind) });
        let mut stream = monitor
            .open(bulk, request)
            .await
            .map_err(|error| match error {
                MonitorError::Gone { .. } => HostError::NotRunning,
                MonitorError::Refused(message) => HostError::Guest { message },
                MonitorError::Connection(error) => HostError::Guest {
                    message: error.to_string(),
                },
            })?;
        match codec::read_message::<StreamOpened>(&mut stream).await {
            Ok(Some(StreamOpened { failure: None })) => Ok(Ok(stream)),
            Ok(Some(StreamOpened {
                failure: Some(failure),
            })) => Ok(Err(failure)),
            Ok(None) => Err(silent()),
            Err(error) => Err(HostError::Guest {
                message: error.to_string(),
            }),
        }
    };
    timeout(OPENS_WITHIN, open)
        .await
        .unwrap_or_else(|_| Err(silent()))
}
