//! The control plane's API, as a program uses it.

use anyhow::{Context, bail};
use control_api::identity::{CreateToken, NewToken, Welcome};
use control_api::problem::Problem;
use control_api::starts::{Start, StartList};
use control_api::workspaces::{CreateWorkspace, Workspace, WorkspaceList};
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub const EMAIL: &str = "ada@example.com";
pub const PASSWORD: &str = "correct horse battery";

/// An empty workspace of the usual size.
pub fn empty(name: &str) -> CreateWorkspace {
    CreateWorkspace {
        name: Some(name.into()),
        ..CreateWorkspace::default()
    }
}

/// A signed-in program.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
    token: String,
}

/// A refusal of the server.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", .0.title, .0.detail)]
pub struct Refused(pub Box<Problem>);

impl Api {
    /// Uses the one-time link of a fresh server and makes an API token.
    pub async fn first_administrator(url: &str, token: &str) -> anyhow::Result<Self> {
        // Another crate may have installed one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .resolve("localhost", ([127, 0, 0, 1], 0).into())
            .build()?;
        let welcome = Welcome {
            token: token.into(),
            email: Some(EMAIL.into()),
            name: Some("Ada".into()),
            password: PASSWORD.into(),
        };
        let request = client
            .post(format!("{url}/api/v1/welcome"))
            .header("origin", url)
            .json(&welcome);
        let response = answered(request).await?;
        let cookie = response
            .headers()
            .get("set-cookie")
            .context("a session cookie")?
            .to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let made: NewToken = answered(
            client
                .post(format!("{url}/api/v1/tokens"))
                .header("origin", url)
                .header("cookie", cookie)
                .json(&CreateToken {
                    name: "tests".into(),
                    expires_in_days: Some(1),
                }),
        )
        .await?
        .json()
        .await?;
        Ok(Self {
            client,
            url: url.into(),
            token: made.secret,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// A request below `/api/v1`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}/api/v1{path}", self.url))
            .bearer_auth(&self.token)
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(answered(self.request(Method::GET, path))
            .await?
            .json()
            .await?)
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> anyhow::Result<T> {
        Ok(answered(self.request(Method::POST, path).json(body))
            .await?
            .json()
            .await?)
    }

    pub async fn workspaces(&self) -> anyhow::Result<Vec<Workspace>> {
        Ok(self.get::<WorkspaceList>("/workspaces").await?.workspaces)
    }

    pub async fn workspace(&self, name: &str) -> anyhow::Result<Workspace> {
        self.get(&format!("/workspaces/{name}")).await
    }

    /// Makes a workspace and waits until it is ready or has failed.
    pub async fn create(&self, request: &CreateWorkspace) -> anyhow::Result<Workspace> {
        let request = self
            .request(Method::POST, "/workspaces?wait=ready&timeout_s=180")
            .json(request);
        Ok(answered(request).await?.json().await?)
    }

    pub async fn start(&self, name: &str) -> anyhow::Result<Workspace> {
        self.post(
            &format!("/workspaces/{name}/start?wait=ready&timeout_s=180"),
            &json!({}),
        )
        .await
    }

    pub async fn stop(&self, name: &str) -> anyhow::Result<Workspace> {
        self.post(
            &format!("/workspaces/{name}/stop?wait=stopped&timeout_s=60"),
            &json!({}),
        )
        .await
    }

    /// Deletes a workspace whatever would be lost, and waits until nothing is left of it.
    pub async fn delete(&self, name: &str) -> anyhow::Result<()> {
        let id = self.workspace(name).await?.id;
        answered(self.request(Method::DELETE, &format!("/workspaces/{id}?force=true"))).await?;
        crate::until("the workspace is deleted", 60, async || {
            let list = self.workspaces().await?;
            Ok(list
                .iter()
                .all(|workspace| workspace.id != id)
                .then_some(()))
        })
        .await
    }

    pub async fn starts(&self, name: &str) -> anyhow::Result<Vec<Start>> {
        Ok(self
            .get::<StartList>(&format!("/workspaces/{name}/starts"))
            .await?
            .starts)
    }
}

/// Sends; a problem document becomes [`Refused`].
pub async fn answered(request: RequestBuilder) -> anyhow::Result<Response> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await?;
    match serde_json::from_str(&text) {
        Ok(problem) => Err(Refused(Box::new(problem)).into()),
        Err(_) => bail!("{status}: {text}"),
    }
}
