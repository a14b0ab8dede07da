//! A client of the API over a real socket.

use std::net::SocketAddr;
use std::time::Duration;

use control_api::identity::OneTimeLink;
use control_api::problem::{Kind, Problem};
use control_api::workspaces::Workspace;
use control_plane::ControlPlane;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

pub const EMAIL: &str = "ada@example.com";
pub const PASSWORD: &str = "correct horse battery";

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who asks, and where.
#[derive(Clone)]
pub struct Api {
    pub client: Client,
    pub address: SocketAddr,
    pub cookie: Option<String>,
    pub token: Option<String>,
    pub origin: Option<String>,
}

/// Serves on a free port of loopback.
pub async fn serve(control: &ControlPlane) -> Api {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = control.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    // The client wants to know who does TLS, also when nobody will.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    Api {
        client,
        address,
        cookie: None,
        token: None,
        origin: Some(format!("http://localhost:{}", address.port())),
    }
}

/// The first administrator, signed in.
pub async fn administrator(control: &ControlPlane) -> Api {
    let mut api = serve(control).await;
    let link = control
        .first_link()
        .await
        .unwrap()
        .expect("nobody is there yet");
    let body = json!({ "token": link.token, "email": EMAIL, "name": "Ada", "password": PASSWORD });
    let response = api.send(Method::POST, "/api/v1/welcome", Some(body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    api.cookie = Some(cookie(&response));
    api
}

/// `name=value` of the cookie that an answer sets.
pub fn cookie(response: &Response) -> String {
    let header = response.headers()["set-cookie"].to_str().unwrap();
    header.split(';').next().unwrap().to_owned()
}

impl Api {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self
            .client
            .request(method, format!("http://{}{path}", self.address))
            .header("host", format!("localhost:{}", self.address.port()));
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(origin) = &self.origin {
            request = request.header("origin", origin);
        }
        request
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        good(self.send(Method::GET, path, None).await).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Value) -> T {
        good(self.send(Method::POST, path, Some(body)).await).await
    }

    pub async fn problem(&self, method: Method, path: &str, body: Option<Value>) -> Problem {
        problem(self.send(method, path, body).await).await
    }

    pub async fn create(&self, body: Value) -> Workspace {
        self.post("/api/v1/workspaces?wait=ready&timeout_s=30", body)
            .await
    }

    /// Sends a file.
    pub async fn upload(&self, path: &str, file: &'static str) -> Response {
        let request = self.request(Method::POST, path).body(file);
        request.send().await.unwrap()
    }

    /// A member whom this administrator adds, signed in.
    pub async fn member(&self, email: &str) -> Self {
        let body = json!({ "email": email, "role": "member" });
        let added: OneTimeLink = self.post("/api/v1/users", body).await;
        let (_, token) = added.url.split_once('#').unwrap();
        let body = json!({ "token": token, "password": PASSWORD });
        let response = self.send(Method::POST, "/api/v1/welcome", Some(body)).await;
        assert_eq!(response.status(), StatusCode::OK);
        Self {
            cookie: Some(cookie(&response)),
            ..self.clone()
        }
    }

    /// The workspace when it is as wanted.
    pub async fn until(&self, id: &str, wanted: impl Fn(&Workspace) -> bool) -> Workspace {
        let end = Instant::now() + PATIENCE;
        loop {
            let workspace: Workspace = self.get(&format!("/api/v1/workspaces/{id}")).await;
            if wanted(&workspace) {
                return workspace;
            }
            assert!(Instant::now() < end, "it never became so: {workspace:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn until_gone(&self, id: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let response = self
                .send(Method::GET, &format!("/api/v1/workspaces/{id}"), None)
                .await;
            if response.status() == StatusCode::NOT_FOUND {
                return;
            }
            assert!(
                Instant::now() < end,
                "it is still there: {}",
                response.text().await.unwrap()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub async fn good<T: DeserializeOwned>(response: Response) -> T {
    let status = response.status();
    let text = response.text().await.unwrap();
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub async fn problem(response: Response) -> Problem {
    let status = response.status();
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let problem: Problem = response.json().await.unwrap();
    assert_eq!(problem.status, status.as_u16());
    assert!(problem.kind().is_some(), "{problem:?}");
    assert!(!problem.detail.is_empty());
    problem
}

pub fn is(problem: &Problem, kind: Kind) {
    assert_eq!(problem.kind(), Some(kind), "{problem:?}");
}
