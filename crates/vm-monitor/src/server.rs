//! Answers the host agent: one request for each connection of the monitor's socket.

use std::io;
use std::time::Duration;

use disk_server::Supervisor;
use microvm::driver::{LinkClass, VmError};
use monitor_protocol::GENERATION;
use monitor_protocol::messages::request::Body;
use monitor_protocol::messages::vm_status::Phase;
use monitor_protocol::messages::{Failure, Open, Request, Response, VmStatus};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};

use crate::disk;
use crate::links::Links;
use crate::monitor::Command;
use crate::pipe;

/// Longest request, bytes.
const MAX_REQUEST: usize = 64 * 1024;
const ASKS_WITHIN: Duration = Duration::from_secs(10);
/// After a failure to accept, for lack of descriptors for instance.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What each connection may use.
#[derive(Clone)]
pub struct Access {
    pub links: Links,
    pub status: watch::Receiver<VmStatus>,
    pub commands: mpsc::Sender<Command>,
    pub disk: Option<Supervisor>,
}

/// Serves connections for as long as the monitor lives.
pub async fn serve(listener: UnixListener, access: Access) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                let access = access.clone();
                tokio::spawn(async move {
                    if let Err(error) = access.answer(connection).await {
                        tracing::debug!(%error, "connection failed");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "connections cannot be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

impl Access {
    async fn answer(mut self, mut connection: UnixStream) -> io::Result<()> {
        let request = tokio::time::timeout(ASKS_WITHIN, receive(&mut connection)).await??;
        let outcome = match request.body {
            Some(Body::Status(_)) => Ok(()),
            Some(Body::Watch(_)) => return self.watch(connection).await,
            Some(Body::Open(open)) => return self.open(connection, open).await,
            Some(Body::Stop(stop)) => {
                let deadline = Duration::from_millis(stop.deadline_ms.into());
                return self.end(connection, Command::Stop { deadline }).await;
            }
            Some(Body::Kill(_)) => return self.end(connection, Command::Kill).await,
            Some(Body::Pause(_)) => self.ask(Command::Pause).await,
            Some(Body::Continue(_)) => self.ask(Command::Continue).await,
            Some(Body::Disk(_)) => return self.disk(connection, |_| async { Ok(()) }).await,
            Some(Body::Settle(_)) => {
                let settle = |disk: Supervisor| async move { disk.settle().await.map(drop) };
                return self.disk(connection, settle).await;
            }
            Some(Body::Point(point)) => {
                let take = |disk: Supervisor| async move {
                    let point = disk::point(&point)?;
                    disk.point(point).await.map(drop)
                };
                return self.disk(connection, take).await;
            }
            Some(Body::Forget(forget)) => {
                let forget =
                    |disk: Supervisor| async move { disk.forget(forget.version).await.map(drop) };
                return self.disk(connection, forget).await;
            }
            Some(Body::Grow(grow)) => {
                let this = self.clone();
                let grow = |disk: Supervisor| async move {
                    disk.grow(disk::blocks(grow.bytes)?).await?;
                    this.ask(|answer| Command::DiskGrew(grow.bytes, answer))
                        .await
                };
                return self.disk(connection, grow).await;
            }
            None => Err(format!(
                "this monitor speaks generation {GENERATION} and does not know what it was asked"
            )),
        };
        match outcome {
            Ok(()) => {
                let status = self.status.borrow().clone();
                send(&mut connection, done(Some(status))).await
            }
            Err(message) => send(&mut connection, failed(message)).await,
        }
    }

    /// Has something done with the disk, and answers with how it is then.
    async fn disk<F: Future<Output = Result<(), String>>>(
        &self,
        mut connection: UnixStream,
        act: impl FnOnce(Supervisor) -> F,
    ) -> io::Result<()> {
        let Some(disk) = &self.disk else {
            let text = "this machine's disk is not served: it takes no points and does not grow";
            return send(&mut connection, failed(text.to_owned())).await;
        };
        let response = match act(disk.clone()).await {
            Ok(()) => Response {
                generation: GENERATION,
                failure: None,
                status: None,
                disk: Some(disk::status(&disk.status().borrow())),
            },
            Err(message) => failed(message),
        };
        send(&mut connection, response).await
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), VmError>>) -> Command,
    ) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let gone = || VmError::Ended.to_string();
        self.commands
            .send(command(answer))
            .await
            .map_err(|_| gone())?;
        answered
            .await
            .map_err(|_| gone())?
            .map_err(|error| error.to_string())
    }

    /// Answers when the VM has ended, and lets the monitor know that somebody knows.
    async fn end(&mut self, mut connection: UnixStream, command: Command) -> io::Result<()> {
        let _ = self.commands.send(command).await;
        let ended = self
            .status
            .wait_for(|status| status.phase() == Phase::Exited)
            .await;
        let status = ended.map_err(io::Error::other)?.clone();
        send(&mut connection, done(Some(status))).await?;
        let _ = self.commands.send(Command::EndSeen).await;
        Ok(())
    }

    async fn watch(&mut self, mut connection: UnixStream) -> io::Result<()> {
        self.status.mark_changed();
        let mut ignored = [0; 1];
        loop {
            tokio::select! {
                changed = self.status.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let status = self.status.borrow_and_update().clone();
                    send(&mut connection, done(Some(status))).await?;
                }
                // Nothing more is said: it can only be the end.
                _ = connection.read(&mut ignored) => return Ok(()),
            }
        }
    }

    async fn open(&self, mut connection: UnixStream, open: Open) -> io::Result<()> {
        let (class, buffer) = match open.bulk {
            true => (LinkClass::Bulk, pipe::BULK),
            false => (LinkClass::Interactive, pipe::INTERACTIVE),
        };
        let opened = async {
            let mut stream = self.links.open(class).await?;
            stream.write_u32(open.stream_open.len() as u32).await?;
            stream.write_all(&open.stream_open).await?;
            stream.flush().await?;
            Ok::<_, io::Error>(stream)
        };
        match opened.await {
            Ok(stream) => {
                send(&mut connection, done(None)).await?;
                pipe::both_ways(connection, stream, buffer).await
            }
            Err(error) => send(&mut connection, failed(error.to_string())).await,
        }
    }
}

fn done(status: Option<VmStatus>) -> Response {
    Response {
        generation: GENERATION,
        failure: None,
        status,
        disk: None,
    }
}

fn failed(message: String) -> Response {
    Response {
        generation: GENERATION,
        failure: Some(Failure { message }),
        status: None,
        disk: None,
    }
}

async fn send(connection: &mut UnixStream, response: Response) -> io::Result<()> {
    let body = response.encode_to_vec();
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    connection.write_all(&frame).await
}

async fn receive(connection: &mut UnixStream) -> io::Result<Request> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let length = connection.read_u32().await? as usize;
    if length > MAX_REQUEST {
        return Err(invalid(format!("a request of {length} bytes")));
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    Request::decode(body.as_slice()).map_err(|error| invalid(error.to_string()))
}
