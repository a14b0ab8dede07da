//! Listens for one workspace and carries its git requests.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet_api::control::{Credential, GitCredentials, GitRemote};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::WorkspaceId;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;

use crate::git::remote::{self, Asked, Service};
use crate::git::upstream::{Body, Connection, Upstream, UpstreamError, basic};

/// Requests of one workspace at a time; more wait.
const AT_A_TIME: usize = 16;
/// How long a server may think before it answers: packing a large repository takes minutes.
const ADVERTISE: Duration = Duration::from_secs(60);
const EXCHANGE: Duration = Duration::from_secs(30 * 60);

/// Headers that belong to one connection, or that the relay writes itself.
const NOT_PASSED_ON: [HeaderName; 10] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::AUTHORIZATION,
];

/// How the last request to a server ended, when it did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    /// What git was told.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    Credentials,
    NotFound,
    Unreachable,
}

/// What all workspaces' relays share.
pub struct Relay {
    pub upstream: Upstream,
    pub credentials: Arc<dyn GitCredentials>,
}

/// The listener of one workspace; dropping it closes the door and removes the socket.
#[derive(Debug)]
pub struct RelayDoor {
    socket: PathBuf,
    task: JoinHandle<()>,
    last: Arc<Mutex<Option<Refusal>>>,
}

impl RelayDoor {
    /// Listens at `socket` for streams of this workspace's guest. An old socket there is replaced.
    pub fn open(relay: Arc<Relay>, workspace: WorkspaceId, socket: &Path) -> io::Result<Self> {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        let last = Arc::new(Mutex::new(None));
        let door = Arc::new(Door {
            relay,
            workspace,
            last: last.clone(),
            at_a_time: Semaphore::new(AT_A_TIME),
        });
        let task = tokio::spawn(accept(listener, door));
        Ok(Self {
            socket: socket.into(),
            task,
            last,
        })
    }

    /// Forgets how the last request ended.
    pub fn forget_refusal(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why the last request since [`Self::forget_refusal`] that failed did so.
    pub fn refusal(&self) -> Option<Refusal> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for RelayDoor {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

struct Door {
    relay: Arc<Relay>,
    workspace: WorkspaceId,
    last: Arc<Mutex<Option<Refusal>>>,
    at_a_time: Semaphore,
}

async fn accept(listener: UnixListener, door: Arc<Door>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, door.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "git relay cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: UnixStream, door: Arc<Door>) {
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { Ok::<_, std::convert::Infallible>(door.answer(request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(120))
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a git stream of a guest ended early");
    }
}

impl Door {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let asked = match remote::understand(request.method(), target) {
            Ok(asked) => asked,
            Err(refused) => return told(StatusCode::FORBIDDEN, &refused.to_string()),
        };
        let Ok(_permit) = self.at_a_time.acquire().await else {
            return told(StatusCode::SERVICE_UNAVAILABLE, "Roost is stopping");
        };
        let remote = asked.remote.clone();
        let started = std::time::Instant::now();
        let answer = match self.carry(asked, request).await {
            Ok(answer) => answer,
            Err(error) => {
                let message = error.to_string();
                self.note(RefusalKind::Unreachable, &message);
                let status = match error {
                    UpstreamError::Private { .. } => StatusCode::FORBIDDEN,
                    _ => StatusCode::BAD_GATEWAY,
                };
                told(status, &message)
            }
        };
        tracing::info!(
            workspace = %self.workspace,
            server = remote.authority,
            repository = remote.path,
            write = remote.write,
            status = answer.status().as_u16(),
            took_ms = started.elapsed().as_millis() as u64,
            "git request"
        );
        answer
    }

    async fn carry(
        &self,
        asked: Asked,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, UpstreamError> {
        let Asked {
            remote,
            service,
            target,
            explicit,
        } = asked;
        let stored = match explicit {
            Some(explicit) => Some(explicit),
            None => {
                self.relay
                    .credentials
                    .credential(&self.workspace, &remote)
                    .await
            }
        };
        let given = request.headers().get(header::AUTHORIZATION).cloned();
        let authorization = stored.as_ref().map(authorization).or(given);
        let had_credentials = authorization.is_some();
        let connection = self.relay.upstream.connect(&remote).await?;
        let deadline = match service {
            Service::Advertise => ADVERTISE,
            Service::Exchange => EXCHANGE,
        };
        let (parts, body) = request.into_parts();
        let mut headers = passed_on(&parts.headers);
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value);
        }
        let outgoing = outgoing(
            parts.method,
            headers,
            &remote,
            &target,
            &connection,
            body.boxed(),
        );
        let mut sender = connection.sender;
        let host = &remote.authority;
        let answer = timeout(deadline, sender.send_request(outgoing))
            .await
            .map_err(|_| UpstreamError::Slow {
                host: host.clone(),
                seconds: deadline.as_secs(),
            })?
            .map_err(|source| UpstreamError::Http {
                host: host.clone(),
                source,
            })?;
        Ok(self.judge(&remote, &target, had_credentials, answer))
    }

    /// Passes a good answer on; tells in words what a bad one means.
    fn judge(
        &self,
        remote: &GitRemote,
        target: &str,
        had_credentials: bool,
        answer: Response<Incoming>,
    ) -> Response<Body> {
        let status = answer.status();
        let host = &remote.authority;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.relay.credentials.rejected(&self.workspace, remote);
                let message = refused_text(remote, status, had_credentials);
                self.note(RefusalKind::Credentials, &message);
                // Never 401: git would ask for a password in the terminal, which belongs in the profile.
                told(StatusCode::FORBIDDEN, &message)
            }
            StatusCode::NOT_FOUND => {
                let message = no_repository(remote);
                self.note(RefusalKind::NotFound, &message);
                told(StatusCode::NOT_FOUND, &message)
            }
            _ if status.is_redirection() => match redirected(remote, target, answer.headers()) {
                Some(location) => {
                    let mut redirect = told(status, "moved");
                    redirect.headers_mut().insert(header::LOCATION, location);
                    redirect
                }
                None => told(
                    StatusCode::BAD_GATEWAY,
                    &format!("{host} answers with a redirect that leads nowhere"),
                ),
            },
            _ => {
                let (parts, body) = answer.into_parts();
                let mut passed = Response::new(body.boxed());
                *passed.status_mut() = parts.status;
                *passed.headers_mut() = passed_on(&parts.headers);
                passed
            }
        }
    }

    fn note(&self, kind: RefusalKind, message: &str) {
        let refusal = Refusal {
            kind,
            message: message.into(),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }
}

/// What a refusal of the server means to the user.
/// The way out of a repository that is not there.
pub const CHECK_URL: &str =
    "Check the URL; if it is private, add a token for it in your Roost profile and clone again";

pub fn no_repository(remote: &GitRemote) -> String {
    let host = &remote.authority;
    format!(
        "{host} has no repository {}, or hides it. {CHECK_URL}",
        remote.path
    )
}

pub fn refused_text(remote: &GitRemote, status: StatusCode, had_credentials: bool) -> String {
    let host = &remote.authority;
    let what = if remote.write { "push to" } else { "read" };
    match (status, had_credentials) {
        (StatusCode::UNAUTHORIZED, true) => format!(
            "{host} does not accept your credentials. Renew the token for {host} in your Roost profile"
        ),
        (_, true) => format!(
            "{host} does not let you {what} {}: check what the token for {host} in your Roost profile may do",
            remote.path
        ),
        (_, false) => format!(
            "{host} asks for credentials to {what} {}. Add a token for {host} in your Roost profile, or \
             check the URL: private and missing repositories look the same",
            remote.path
        ),
    }
}

pub fn authorization(credential: &Credential) -> HeaderValue {
    let mut value = HeaderValue::from_str(&basic(&credential.username, &credential.secret))
        .expect("base64 is printable");
    value.set_sensitive(true);
    value
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| {
            value
                .split(',')
                .map(|name| name.trim().to_ascii_lowercase())
        })
        .collect();
    headers
        .iter()
        .filter(|(name, _)| !NOT_PASSED_ON.contains(name) && *name != "keep-alive")
        .filter(|(name, _)| !named.iter().any(|listed| listed == name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The request as the server, or the proxy before it, is to see it.
pub fn outgoing(
    method: http::Method,
    mut headers: HeaderMap,
    remote: &GitRemote,
    target: &str,
    connection: &Connection,
    body: Body,
) -> Request<Body> {
    let host = HeaderValue::from_str(&remote.authority).expect("an authority is printable");
    headers.insert(header::HOST, host);
    let target = if connection.absolute {
        format!("{}://{}{target}", remote.scheme, remote.authority)
    } else {
        target.to_owned()
    };
    if let Some(proxy) = &connection.proxy_authorization {
        let value = HeaderValue::from_str(proxy).expect("base64 is printable");
        headers.insert(header::PROXY_AUTHORIZATION, value);
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().unwrap_or_else(|_| Uri::from_static("/"));
    *request.headers_mut() = headers;
    request
}

/// Where a redirect leads, on the relay: the next request is judged, and gets credentials, anew.
fn redirected(remote: &GitRemote, target: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    let base = Url::parse(&format!("{}://{}{target}", remote.scheme, remote.authority)).ok()?;
    let location = base
        .join(headers.get(header::LOCATION)?.to_str().ok()?)
        .ok()?;
    HeaderValue::from_str(&remote::relayed(&location)?).ok()
}

/// An answer in words: git shows a plain text as `remote: …`.
fn told(status: StatusCode, message: &str) -> Response<Body> {
    let text = Full::new(format!("{message}\n").into());
    let mut response = Response::new(text.map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// A body of nothing.
pub fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}
