//! The main origin: dashboard, the control plane's API, and the doors for programs.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use http_api::answers::wrong_method;
use tower::ServiceExt;

use crate::answers::Problem;
use crate::{Gateway, programs};

/// First parts of the paths that the control plane answers.
const CONTROL: [&str; 4] = ["api", "open", "preview-entry", "metrics"];

pub fn router(gateway: Arc<Gateway>, control: Router) -> Router {
    programs::router()
        .with_state(gateway.clone())
        .method_not_allowed_fallback(wrong_method)
        .fallback(rest)
        .with_state((gateway, control))
}

async fn rest(
    State((gateway, control)): State<(Arc<Gateway>, Router)>,
    request: Request,
) -> Response {
    let path = request.uri().path();
    let first = path
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default();
    if CONTROL.contains(&first) {
        return control
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {});
    }
    if first == "assets" {
        return gateway
            .assets
            .asset(request.method(), path, request.headers())
            .await;
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Problem::not_found(format!("There is nothing at {path}.")).into_response();
    }
    page(&gateway, request.method(), path, request.headers()).await
}

/// A file, or else the dashboard, which knows its own paths.
async fn page(gateway: &Gateway, method: &Method, path: &str, headers: &HeaderMap) -> Response {
    let name = path.trim_start_matches('/');
    if name != "workbench.html"
        && let Some(file) = gateway.assets.page(method, name, headers).await
    {
        return file;
    }
    // The dashboard's own paths have no dots; a picture or a script that is missing must not be a page.
    if name
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains('.') && last != "workbench.html")
    {
        return Problem::not_found(format!("There is nothing at {path}.")).json();
    }
    match gateway.assets.page(method, "index.html", headers).await {
        Some(page) => page,
        None => Problem::not_found(
            "The dashboard is not built into this program: build the front end, or name its folder with \
             ROOST_WEB.",
        )
        .for_reader(method, headers),
    }
}
