//! Running a command: what it says, a line of JSON for each piece, while it runs.

use std::sync::Arc;
use std::time::Duration;

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, NoContent, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control_api::programs::{
    ExecData, ExecEvent, ExecOffsets, ExecRequest, ExecStream, InExec, InWorkspace, NDJSON,
    SignalRequest,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use guest_protocol::client::{Error, Exec, ExecEvent as GuestEvent};
use guest_protocol::frames::{ExecAttach, ExecStart, StreamClass};
use http_api::answers::describe_body;
use http_api::inputs::{Body, InPath, Params};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::admit;
use super::guest::{open, problem, session};
use crate::Gateway;
use crate::answers::Problem;
use crate::guest_session::Guest;

/// After how long of silence a sign of life is sent: proxies give up after a minute.
const ALIVE: Duration = Duration::from_secs(20);

pub async fn start(
    State(gateway): State<Arc<Gateway>>,
    InPath(path): InPath<InWorkspace>,
    headers: HeaderMap,
    Body(request): Body<ExecRequest>,
) -> Result<Lines, Problem> {
    let guest = admit(&gateway, &headers, &path.workspace).await?;
    let session = open(&gateway, &guest, StreamClass::Interactive).await?;
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
    Ok(stream(gateway, guest, exec, input))
}

pub async fn attach(
    State(gateway): State<Arc<Gateway>>,
    InPath(path): InPath<InExec>,
    Params(offsets): Params<ExecOffsets>,
    headers: HeaderMap,
) -> Result<Lines, Problem> {
    let guest = admit(&gateway, &headers, &path.workspace).await?;
    let session = open(&gateway, &guest, StreamClass::Interactive).await?;
    let attached = session
        .exec_attach(ExecAttach {
            exec: path.exec,
            stdout_offset: offsets.stdout_offset,
            stderr_offset: offsets.stderr_offset,
        })
        .await;
    Ok(stream(gateway, guest, attached.map_err(problem)?, None))
}

pub async fn signal(
    State(gateway): State<Arc<Gateway>>,
    InPath(path): InPath<InExec>,
    headers: HeaderMap,
    Body(request): Body<SignalRequest>,
) -> Result<NoContent, Problem> {
    let session = session(
        &gateway,
        &headers,
        &path.workspace,
        StreamClass::Interactive,
    )
    .await?;
    session
        .exec_signal(&path.exec, request.signal)
        .await
        .map_err(problem)?;
    Ok(NoContent)
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
    signed_out: BoxFuture<'static, ()>,
    /// The first event was sent; the last was.
    began: bool,
    ended: bool,
}

fn stream(
    gateway: Arc<Gateway>,
    guest: Guest,
    exec: Exec,
    input: Option<AbortOnDropHandle<()>>,
) -> Lines {
    let running = Running {
        exec,
        _input: input,
        signed_out: async move { gateway.tickets.signed_out(&guest.session).await }.boxed(),
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
    let mut response = Response::new(axum::body::Body::from_stream(lines));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx holds answers back otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Lines(response)
}

/// [`ExecEvent`]s, one a line, while they happen.
pub struct Lines(Response);

impl IntoResponse for Lines {
    fn into_response(self) -> Response {
        self.0
    }
}

impl OperationOutput for Lines {
    type Inner = ExecEvent;

    fn inferred_responses(
        context: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, Described)> {
        describe_body::<ExecEvent>(context, 200, NDJSON)
    }
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
        let event = tokio::select! {
            next = timeout(ALIVE, self.exec.next()) => match next {
                Err(_) => ExecEvent::Alive,
                Ok(Ok(Some(event))) => said(event),
                Ok(Ok(None)) => ExecEvent::Failed {
                    detail: "it ended without an exit status".into(),
                },
                Ok(Err(error)) => failed(&error),
            },
            () = &mut self.signed_out => ExecEvent::Failed {
                detail: "the sign-in has ended; the program runs on for a while".into(),
            },
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
