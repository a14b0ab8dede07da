//! Asks a monitor over its Unix socket: one connection for each request.

use std::io;
use std::path::{Path, PathBuf};

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::GENERATION;
use crate::messages::{DiskStatus, Open, Request, Response, Status, VmStatus, Watch, request};

/// Largest message, bytes: a status with its console excerpt is far below it.
const MAX_MESSAGE: usize = 1024 * 1024;

/// Why a monitor did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// Nobody answers on the socket: there is no such monitor, or it has just ended.
    #[error("no monitor answers at {path}")]
    Gone { path: PathBuf, source: io::Error },
    #[error("the connection to the monitor failed")]
    Connection(#[from] io::Error),
    /// The monitor's own words.
    #[error("{0}")]
    Refused(String),
}

/// Where one VM's monitor listens.
#[derive(Clone, Debug)]
pub struct MonitorClient {
    socket: PathBuf,
}

impl MonitorClient {
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub async fn status(&self) -> Result<VmStatus, MonitorError> {
        self.ask(request::Body::Status(Status {})).await
    }

    /// Sends one request and waits for its answer. `stop` and `kill` answer when the VMM has exited.
    pub async fn ask(&self, body: request::Body) -> Result<VmStatus, MonitorError> {
        Ok(self.answer(body).await?.status.unwrap_or_default())
    }

    /// The same for what is asked of the disk.
    pub async fn ask_disk(&self, body: request::Body) -> Result<DiskStatus, MonitorError> {
        Ok(self.answer(body).await?.disk.unwrap_or_default())
    }

    async fn answer(&self, body: request::Body) -> Result<Response, MonitorError> {
        let mut connection = self.connect().await?;
        send(&mut connection, body).await?;
        receive(&mut connection).await?.ok_or_else(closed)
    }

    /// Opens a stream to the guest; `stream_open` is an encoded `StreamOpen`. The guest's own
    /// `StreamOpened` is the first thing to be read from it.
    pub async fn open(
        &self,
        bulk: bool,
        stream_open: bytes::Bytes,
    ) -> Result<UnixStream, MonitorError> {
        let mut connection = self.connect().await?;
        send(
            &mut connection,
            request::Body::Open(Open { bulk, stream_open }),
        )
        .await?;
        receive(&mut connection).await?.ok_or_else(closed)?;
        Ok(connection)
    }

    /// Follows the VM's status: now, and at every change until the monitor ends.
    pub async fn watch(&self) -> Result<StatusWatch, MonitorError> {
        let mut connection = self.connect().await?;
        send(&mut connection, request::Body::Watch(Watch {})).await?;
        Ok(StatusWatch { connection })
    }

    async fn connect(&self) -> Result<UnixStream, MonitorError> {
        UnixStream::connect(&self.socket)
            .await
            .map_err(|source| MonitorError::Gone {
                path: self.socket.clone(),
                source,
            })
    }
}

/// See [`MonitorClient::watch`].
#[derive(Debug)]
pub struct StatusWatch {
    connection: UnixStream,
}

impl StatusWatch {
    /// The next status; `None` when the monitor has ended.
    pub async fn next(&mut self) -> Result<Option<VmStatus>, MonitorError> {
        Ok(receive(&mut self.connection)
            .await?
            .map(|answer| answer.status.unwrap_or_default()))
    }
}

fn closed() -> MonitorError {
    MonitorError::Connection(io::ErrorKind::UnexpectedEof.into())
}

async fn send(connection: &mut UnixStream, body: request::Body) -> io::Result<()> {
    let request = Request {
        generation: GENERATION,
        body: Some(body),
    }
    .encode_to_vec();
    let mut frame = (request.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&request);
    connection.write_all(&frame).await
}

async fn receive(connection: &mut UnixStream) -> Result<Option<Response>, MonitorError> {
    let length = match connection.read_u32().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other? as usize,
    };
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "oversized answer").into());
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    let response = Response::decode(body.as_slice())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match response.failure {
        Some(failure) => Err(MonitorError::Refused(failure.message)),
        None => Ok(Some(response)),
    }
}
