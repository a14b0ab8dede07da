//! Two servers that speak S3 and share no code: moto, in Python, and s3s over a folder.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use storage::spec::{S3Spec, StoreSpec};
use tokio::sync::RwLock;

const BUCKET: &str = "roost-test";
const KEY: &str = "key";
const SECRET: &str = "secret";

fn spec(port: u16) -> StoreSpec {
    StoreSpec::S3(S3Spec {
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        access_key_id: KEY.to_owned(),
        secret_access_key: SECRET.to_owned(),
    })
}

pub trait Server {
    fn spec(&self) -> StoreSpec;
}

/// moto in a process of its own, which has its objects in memory.
pub struct Moto {
    child: Child,
    port: u16,
}

impl Moto {
    pub fn start() -> Self {
        let mut child = crate::support::python()
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let port = loop {
            let line = lines.next().unwrap_or_else(|| panic!("moto ended: {said}"));
            said += &line.unwrap();
            if let Some((_, port)) = said.split_once("Running on http://127.0.0.1:") {
                break port.trim().parse().unwrap();
            }
        };
        // It writes a line for every request, and would wait for somebody to read them.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let moto = Self { child, port };
        moto.make_bucket();
        moto
    }

    fn make_bucket(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!(
            "PUT /{BUCKET} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Server for Moto {
    fn spec(&self) -> StoreSpec {
        spec(self.port)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server does otherwise than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Fine,
    IgnoresConditions,
    RefusesConditions,
    /// It does what it is asked, and every second time nobody is told.
    LosesAnswers,
    /// It says every second time that somebody else is writing the same object.
    Conflicts,
}

/// s3s over a folder, which outlives it.
pub struct Folder {
    folder: tempfile::TempDir,
    manner: Manner,
    port: u16,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Folder {
    pub fn start(manner: Manner) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut server = Self {
            folder,
            manner,
            port: 0,
            runtime: None,
        };
        server.come_back();
        server
    }

    /// Ends it as a kill would: whoever is connected is cut off.
    pub fn go_away(&mut self) {
        let runtime = self.runtime.take().unwrap();
        runtime.shutdown_timeout(Duration::from_secs(5));
    }

    /// Starts it again, where it was.
    pub fn come_back(&mut self) {
        let files = s3s_fs::FileSystem::new(self.folder.path()).unwrap();
        let mut builder = S3ServiceBuilder::new(files);
        // What it does to requests leaves their signatures wrong.
        if self.manner != Manner::IgnoresConditions {
            builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        }
        let shared = Arc::new(Shared {
            service: builder.build(),
            manner: self.manner,
            writing: RwLock::new(()),
            writes: AtomicUsize::new(0),
        });
        let runtime = runtime();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(("127.0.0.1", self.port)))
            .unwrap();
        self.port = listener.local_addr().unwrap().port();
        runtime.spawn(accept(listener, shared));
        self.runtime = Some(runtime);
    }
}

impl Server for Folder {
    fn spec(&self) -> StoreSpec {
        spec(self.port)
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

struct Shared {
    service: S3Service,
    manner: Manner,
    /// s3s-fs looks whether an object exists and then writes it.
    writing: RwLock<()>,
    writes: AtomicUsize,
}

#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
struct Lost;

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        let service = service_fn(move |request| shared.clone().answer(request));
        let server = hyper::server::conn::http1::Builder::new();
        tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
    }
}

impl Shared {
    async fn answer(
        self: Arc<Self>,
        request: Request<hyper::body::Incoming>,
    ) -> Result<s3s::HttpResponse, Lost> {
        let mut request = request.map(s3s::Body::from);
        if request.method() != Method::PUT {
            let _reading = self.writing.read().await;
            return self.service.call(request).await.map_err(|_| Lost);
        }
        let is_second = self.writes.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let has_condition = request.headers().contains_key("if-none-match");
        match self.manner {
            Manner::IgnoresConditions => {
                request.headers_mut().remove("if-none-match");
                request.headers_mut().remove("authorization");
            }
            Manner::RefusesConditions if has_condition => {
                return Ok(refusal(StatusCode::NOT_IMPLEMENTED));
            }
            Manner::Conflicts if is_second => return Ok(refusal(StatusCode::CONFLICT)),
            Manner::Fine | Manner::RefusesConditions | Manner::LosesAnswers | Manner::Conflicts => {
            }
        }
        let _writing = self.writing.write().await;
        let answer = self.service.call(request).await.map_err(|_| Lost);
        if self.manner == Manner::LosesAnswers && is_second {
            return Err(Lost);
        }
        answer
    }
}

fn refusal(status: StatusCode) -> s3s::HttpResponse {
    let mut response = s3s::HttpResponse::new(s3s::Body::empty());
    *response.status_mut() = status;
    response
}
