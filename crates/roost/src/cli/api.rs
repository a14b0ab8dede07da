//! Asks the control plane over HTTP; a problem document becomes an error with its detail.

use std::time::Duration;

use anyhow::Context;
use control_api::problem::Problem;
use control_api::workspaces::{Workspace, WorkspaceList};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::profile::Profile;

/// A server and who asks it.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
    token: Option<String>,
}

/// What the server said against a request.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.detail)]
pub struct Refused(pub Box<Problem>);

impl Api {
    /// As saved by `roost login`.
    pub fn saved() -> anyhow::Result<Self> {
        let profile = Profile::load()?;
        Self::new(&profile.url, Some(profile.token))
    }

    pub fn new(url: &str, token: Option<String>) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(super::guest::tls_config()?)
            .connect_timeout(Duration::from_secs(10))
            .resolve("localhost", ([127, 0, 0, 1], 0).into())
            .build()?;
        Ok(Self {
            client,
            url: url.trim_end_matches('/').into(),
            token,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(self
            .send(Method::GET, path, None::<&()>)
            .await?
            .json()
            .await?)
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        Ok(self
            .send(Method::POST, path, Some(body))
            .await?
            .json()
            .await?)
    }

    pub async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, path, None::<&()>).await.map(drop)
    }

    /// Sends a request below `/api/v1`.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<Response> {
        let mut request = self
            .client
            .request(method, format!("{}/api/v1{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    /// Sends a file below `/api/v1`.
    pub async fn upload(&self, path: &str, length: u64, body: Body) -> anyhow::Result<Response> {
        let mut request = self
            .client
            .post(format!("{}/api/v1{path}", self.url))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, length)
            .body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        self.answer(request).await
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.with_context(|| {
            format!("{} does not answer: is `roost up` running there?", self.url)
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => Err(Refused(Box::new(problem)).into()),
            Err(_) => anyhow::bail!("the server answered {status}: {text}"),
        }
    }

    pub async fn workspaces(&self, query: &str) -> anyhow::Result<Vec<Workspace>> {
        Ok(self
            .get::<WorkspaceList>(&format!("/workspaces{query}"))
            .await?
            .workspaces)
    }

    /// The workspace of this name or id.
    pub async fn workspace(&self, name: &str) -> anyhow::Result<Workspace> {
        self.get(&format!("/workspaces/{}", path_segment(name)))
            .await
    }
}

/// A name as one segment of a path.
pub fn path_segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}
