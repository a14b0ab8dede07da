//! Listens, speaks TLS and HTTP, and sends each request to the origin that it is for.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::Instrument;

use crate::answers::{Page, redirect};
use crate::arrival::{self, Arrival};
use crate::origins::{Scheme, Site};
use crate::preview::Target;
use crate::{Gateway, main_site, policies, preview, tls, workbench};

/// For the TLS handshake, and for the head of a request.
const HEAD: Duration = Duration::from_secs(30);

/// For requests under way when the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// The routers of all origins.
#[derive(Clone)]
pub struct Doors {
    gateway: Arc<Gateway>,
    main: Router,
    workbench: Router,
}

impl Doors {
    pub fn new(gateway: Arc<Gateway>, control: Router) -> Self {
        Self {
            main: main_site::router(gateway.clone(), control),
            workbench: workbench::router(gateway.clone()),
            gateway,
        }
    }
}

pub async fn serve(
    doors: Doors,
    listener: TcpListener,
    tls: Option<tls::Acceptor>,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let scheme = if tls.is_some() {
        Scheme::Https
    } else {
        Scheme::Http
    };
    while let Some((stream, peer)) = accept(&listener, &stop).await {
        let (doors, tls, watcher) = (doors.clone(), tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            let answer = move |request: Request<Incoming>| {
                let (doors, request) = (doors.clone(), request.map(Body::new));
                async move { Ok::<_, Infallible>(handle(doors, request, peer, scheme).await) }
            };
            match tls {
                None => connection(stream, watcher, answer).await,
                Some(tls) => match timeout(HEAD, tls.accept(stream)).await {
                    Ok(Ok(stream)) => connection(stream, watcher, answer).await,
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                },
            }
        });
    }
    drop(listener);
    let _ = timeout(GRACE, graceful.shutdown()).await;
}

/// A listener for one preview. Ends when nobody has come for long: by default, until every cookie for it is
/// invalid, so that whoever comes then has to ask for a way in again, and gets a new listener with it.
pub async fn listen_for_preview(gateway: Arc<Gateway>, listener: TcpListener, target: Target) {
    let never = CancellationToken::new();
    let unused = gateway.patience.unused_listener;
    let graceful = GracefulShutdown::new();
    let host = target.origin.trim_start_matches("http://").to_owned();
    while let Ok(Some((stream, peer))) = timeout(unused, accept(&listener, &never)).await {
        let (gateway, target, host, watcher) = (
            gateway.clone(),
            target.clone(),
            host.clone(),
            graceful.watcher(),
        );
        let answer = move |request: Request<Incoming>| {
            let (gateway, target, host) = (gateway.clone(), target.clone(), host.clone());
            let mut request = request.map(Body::new);
            async move {
                let mut arrived =
                    arrival::note(&mut request, peer, Scheme::Http, &gateway.domain, &[]);
                // Another name for this address is somebody's attempt to be of the same origin.
                if request
                    .headers()
                    .get(header::HOST)
                    .is_none_or(|given| given != host.as_str())
                {
                    return Ok::<_, Infallible>(misdirected(&format!("http://{host}")));
                }
                arrived.origins = target.origins.clone();
                request.extensions_mut().insert(arrived);
                Ok(preview::serve(&gateway, target, request).await)
            }
        };
        tokio::spawn(connection(stream, watcher, answer));
    }
}

async fn accept(
    listener: &TcpListener,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return None,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Keystrokes are small and must not wait for more.
                let _ = stream.set_nodelay(true);
                return Some((stream, peer));
            }
            Err(error) => {
                // Most likely out of descriptors: others must close theirs first.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection<S, F>(
    stream: S,
    watcher: Watcher,
    answer: impl Fn(Request<Incoming>) -> F + Send + 'static,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20));
    let serving = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service_fn(answer))
        .into_owned();
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%error, "connection");
    }
}

async fn handle(doors: Doors, mut request: Request, peer: SocketAddr, own: Scheme) -> Response {
    let gateway = doors.gateway.clone();
    let arrived = arrival::note(&mut request, peer, own, &gateway.domain, &gateway.proxies);
    let span = tracing::info_span!(
        "request",
        trace = &*arrived.trace,
        method = %request.method(),
        path = request.uri().path(),
    );
    request
        .extensions_mut()
        .insert(ConnectInfo(SocketAddr::new(arrived.client, peer.port())));
    request.extensions_mut().insert(arrived.clone());
    let trace = HeaderValue::from_str(&arrived.trace).expect("nonces are ASCII");
    // A task of its own: a client that goes away must not stop half-way what it has asked for.
    let answering = tokio::spawn(dispatch(doors, request, arrived).instrument(span.clone()));
    let mut response = answering.await.unwrap_or_else(|error| {
        span.in_scope(|| tracing::error!(%error, "answering a request"));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    });
    response.headers_mut().insert("x-request-id", trace);
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    response
}

async fn dispatch(doors: Doors, request: Request, arrived: Arrival) -> Response {
    let Arrival { origins, site, .. } = arrived;
    match site {
        Site::Main => {
            let mut response = oneshot(doors.main, request).await;
            policies::main(response.headers_mut(), &origins);
            response
        }
        Site::Workbench => {
            let mut response = oneshot(doors.workbench, request).await;
            policies::workbench(response.headers_mut(), &origins);
            response
        }
        Site::Webview => workbench::webview(&doors.gateway, request).await,
        Site::Preview { port, workspace } => {
            let target = Target {
                port,
                origin: origins.preview(port, &workspace),
                workspace,
                by_listener: false,
                origins,
            };
            preview::serve(&doors.gateway, target, request).await
        }
        // A program that names its token is no browser that could be confused about origins.
        Site::Alias if request.headers().contains_key(header::AUTHORIZATION) => {
            oneshot(doors.main, request).await
        }
        Site::Alias if request.method() == Method::GET => {
            let path = request
                .uri()
                .path_and_query()
                .map_or("/", |path| path.as_str());
            redirect(&format!("{}{path}", origins.main()))
        }
        Site::Alias | Site::Foreign => misdirected(&origins.main()),
    }
}

async fn oneshot(router: Router, request: Request) -> Response {
    router
        .oneshot(request)
        .await
        .unwrap_or_else(|never| match never {})
}

fn misdirected(main: &str) -> Response {
    Page {
        status: StatusCode::MISDIRECTED_REQUEST,
        title: "Nothing is served under this name",
        text: "Roost is here, but it knows itself by another address.",
        link: Some((main, main)),
        ..Page::default()
    }
    .render()
}
