//! Running a command: what it says, a line of JSON for each piece, while it runs.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control_api::programs::{ExecData, ExecEvent, ExecRequest, ExecStream, NDJSON, SignalRequest};
use guest_protocol::client::{Error, Exec, ExecEvent as GuestEvent};
use guest_protocol::frames::{ExecAttach, ExecStart, StreamClass};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::guest::{problem, session};
use crate::Gateway;
use crate::answers::Problem;

/// After how long of silence a sign of life is sent: proxies give up after a minute.
const ALIVE: Duration = Duration::from_secs(20);

pub async fn start(
    State(gateway): State<Arc<Gateway>>,
    Path(workspace): Path<String>,
    headers: HeaderMap,
    request: Result<Json<ExecRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let session = session(&gateway, &headers, &workspace, StreamClass::Interactive).await?;
    let request = valid(request)?;
    if request.command.is_empty() {
        return Err(Problem::invalid("`command` names no program."));
    }
    let mut exec = session
        .exec(ExecStart {
            command: request.command,
            working_directory: request.cwd.unwrap_or_default(),
            environment: request.env.into_iter().collect(),
            linger_seconds: request.linger_seconds.unwrap_or_default(),
            stdin: request.stdin.is_some(),
            key: request.key.unwrap_or_default(),
            ..ExecStart::default()
        })
        .await
        .map_err(problem)?;
    let input = request.stdin.map(|text| feed(&mut exec, text));
    Ok(stream(exec, input))
}

#[derive(Deserialize)]
pub struct Offsets {
    #[serde(default)]
    stdout_offset: u64,
    #[serde(default)]
    stderr_offset: u64,
}

pub async fn attach(
    State(gateway): State<Arc<Gateway>>,
    Path((workspace, exec)): Path<(String, String)>,
    Query(offsets): Query<Offsets>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = session(&gateway, &headers, &workspace, StreamClass::Interactive).await?;
    let Offsets {
        stdout_offset,
        stderr_offset,
    } = offsets;
    let attached = session
        .exec_attach(ExecAttach {
            exec,
            stdout_offset,
            stderr_offset,
        })
        .await;
    Ok(stream(attached.map_err(problem)?, None))
}

pub async fn signal(
    State(gateway): State<Arc<Gateway>>,
    Path((workspace, exec)): Path<(String, String)>,
    headers: HeaderMap,
    request: Result<Json<SignalRequest>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let session = session(&gateway, &headers, &workspace, StreamClass::Interactive).await?;
    session
        .exec_signal(&exec, valid(request)?.signal)
        .await
        .map_err(problem)?;
    Ok(StatusCode::NO_CONTENT)
}

fn valid<T>(request: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    request
        .map(|Json(request)| request)
        .map_err(|error| Problem::invalid(error.body_text()))
}

/// Beside the output, since a program may want to be read before it reads on.
fn feed(exec: &mut Exec, text: String) -> AbortOnDropHandle<()> {
    let mut stdin = exec.stdin();
    AbortOnDropHandle::new(tokio::spawn(async move {
        // A program may end, or close its input, before it has read everything.
        if stdin.write(text.into_bytes()).await.is_ok() {
            let _ = stdin.end().await;
        }
    }))
}

struct Running {
    exec: Exec,
    _input: Option<AbortOnDropHandle<()>>,
    /// The first event was sent; the last was.
    began: bool,
    ended: bool,
}

fn stream(exec: Exec, input: Option<AbortOnDropHandle<()>>) -> Response {
    let running = Running {
        exec,
        _input: input,
        began: false,
        ended: false,
    };
    let lines = futures::stream::unfold(running, |mut running| async move {
        let event = running.next().await?;
        let mut line = serde_json::to_vec(&event).expect("events have only plain fields");
        line.push(b'\n');
        Some((
            Ok::<_, std::convert::Infallible>(Bytes::from(line)),
            running,
        ))
    });
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx holds answers back otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Running {
    async fn next(&mut self) -> Option<ExecEvent> {
        if self.ended {
            return None;
        }
        if !self.began {
            self.began = true;
            let started = self.exec.started();
            return Some(ExecEvent::Started {
                exec: started.exec.clone(),
                process: started.process,
                stdout_offset: started.stdout_offset,
                stderr_offset: started.stderr_offset,
            });
        }
        // Waiting for an answer takes nothing out of the channel when it is given up.
        let event = match timeout(ALIVE, self.exec.next()).await {
            Err(_) => ExecEvent::Alive,
            Ok(Ok(Some(event))) => said(event),
            Ok(Ok(None)) => ExecEvent::Failed {
                detail: "it ended without an exit status".into(),
            },
            Ok(Err(error)) => failed(&error),
        };
        self.ended = matches!(event, ExecEvent::Exited { .. } | ExecEvent::Failed { .. });
        Some(event)
    }
}

fn said(event: GuestEvent) -> ExecEvent {
    let output = |stream, offset, bytes: Bytes| {
        let data = match std::str::from_utf8(&bytes) {
            Ok(text) => ExecData::Text(text.into()),
            Err(_) => ExecData::Base64(STANDARD.encode(&bytes)),
        };
        ExecEvent::Output {
            stream,
            offset,
            data,
        }
    };
    match event {
        GuestEvent::Stdout { offset, bytes } => output(ExecStream::Stdout, offset, bytes),
        GuestEvent::Stderr { offset, bytes } => output(ExecStream::Stderr, offset, bytes),
        GuestEvent::Exited(exited) => ExecEvent::Exited {
            code: exited.code,
            signaled: exited.signaled,
        },
    }
}

fn failed(error: &Error) -> ExecEvent {
    ExecEvent::Failed {
        detail: error.to_string(),
    }
}
