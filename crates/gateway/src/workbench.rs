//! The workbench's origin: one for all workspaces, each below `/w/NAME/`, with a cookie of its own.

pub mod gate;
mod sessions;
mod settings;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use fleet_api::ticket::Door;
use http_api::answers::wrong_method;
use serde::Deserialize;

use crate::Gateway;
use crate::answers::{Page, Problem, redirect};
use crate::arrival::Arrival;
use crate::cookies;
use crate::tickets::COOKIE_LIFE;

pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/w/{workspace}/", get(page))
        .route("/w/{workspace}", get(add_slash))
        .route("/w/{workspace}/session/{class}", get(sessions::open))
        .route("/w/{workspace}/status", get(status::show))
        .route("/w/{workspace}/start", post(status::start))
        .route("/w/{workspace}/stop", post(status::stop))
        .route(
            "/w/{workspace}/settings/{name}",
            get(settings::read).put(settings::save),
        )
        .route(
            "/w/{workspace}/ports/{port}/listener",
            post(crate::listeners::open),
        )
        .method_not_allowed_fallback(wrong_method)
        .fallback(other)
        .with_state(gateway)
}

#[derive(Deserialize)]
struct Entry {
    entry: Option<String>,
}

/// The editor's page; with `?entry=` the one-time ticket is traded for the cookie first.
async fn page(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    Query(entry): Query<Entry>,
    request: Request,
) -> Response {
    let arrival = crate::arrival(&request);
    let sign_in = || redirect(&format!("{}/open/{name}", arrival.origins.main()));
    let Some(route) = gateway.directory.route(&name).await else {
        return Page {
            status: StatusCode::NOT_FOUND,
            title: "There is no such workspace",
            text: "It has another name, or it was deleted.",
            link: Some(("All workspaces", &arrival.origins.main())),
            ..Page::default()
        }
        .render();
    };
    if let Some(ticket) = entry.entry {
        let traded = gateway
            .tickets
            .trade(
                &ticket,
                &route.workspace,
                Door::WorkbenchEntry,
                Door::Workbench,
            )
            .await;
        return match traded {
            Ok(cookie) => {
                let mut response = redirect(&format!("/w/{name}/"));
                response.headers_mut().append(
                    header::SET_COOKIE,
                    cookies::workbench(&arrival.origins, &name, &cookie, COOKIE_LIFE.as_secs()),
                );
                response
            }
            // A used or old ticket comes with the back button: a fresh one is a redirect away.
            Err(_) => sign_in(),
        };
    }
    if gate::ticket(&gateway, request.headers(), &route)
        .await
        .is_err()
    {
        return sign_in();
    }
    file(
        &gateway,
        request.method(),
        "workbench.html",
        request.headers(),
    )
    .await
}

async fn add_slash(Path(name): Path<String>) -> Response {
    redirect(&format!("/w/{name}/"))
}

/// Files of the front end, and a way back from everything else.
async fn other(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let path = request.uri().path();
    if path.starts_with("/assets/") {
        return gateway
            .assets
            .asset(request.method(), path, request.headers())
            .await;
    }
    if path == "/" {
        return redirect(&format!("{}/", crate::arrival(&request).origins.main()));
    }
    file(
        &gateway,
        request.method(),
        path.trim_start_matches('/'),
        request.headers(),
    )
    .await
}

async fn file(gateway: &Gateway, method: &Method, name: &str, headers: &HeaderMap) -> Response {
    let page = if name.ends_with(".html") && name != "workbench.html" {
        None
    } else {
        gateway.assets.page(method, name, headers).await
    };
    page.unwrap_or_else(|| Problem::not_found(format!("There is no {name} here.")).into_response())
}

/// The webview origin: files, and nothing that knows who asks.
pub async fn webview(gateway: &Gateway, request: Request) -> Response {
    let path = request.uri().path();
    let mut response = if path.starts_with("/assets/") {
        gateway
            .assets
            .asset(request.method(), path, request.headers())
            .await
    } else {
        Problem::not_found("There are only assets here.").json()
    };
    let arrival: &Arrival = crate::arrival(&request);
    crate::policies::webview(response.headers_mut(), &arrival.origins);
    response
}
