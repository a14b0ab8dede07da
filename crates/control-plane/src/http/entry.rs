//! Ways into workspaces for browsers: from the main origin, where the sign-in is, to another one, by a
//! redirect with a ticket that lives for seconds and is used once. They start nothing and change nothing.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use fleet_api::ticket::Door;
use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

use super::auth::Visitor;
use crate::app::App;
use crate::app::entry::check_path;
use crate::fault::Fault;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/open/{workspace}", get(open))
        .route("/preview-entry", get(preview))
}

async fn open(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(name): Path<String>,
    uri: Uri,
) -> Response {
    let Some(caller) = &visitor.caller else {
        return sign_in(&uri);
    };
    let row = match app.own(caller, &name).await {
        Ok(row) => row,
        Err(fault) => return page(&fault),
    };
    let (ticket, _) = app.ticket(caller, &row, Door::WorkbenchEntry);
    let origin = visitor.origins.workbench();
    redirect(&format!(
        "{origin}/w/{}/?entry={}",
        row.name,
        encode(&ticket)
    ))
}

#[derive(Deserialize)]
struct PreviewQuery {
    workspace: String,
    port: u16,
    #[serde(default = "root")]
    to: String,
}

fn root() -> String {
    "/".into()
}

async fn preview(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Query(query): Query<PreviewQuery>,
    uri: Uri,
) -> Response {
    let Some(caller) = &visitor.caller else {
        return sign_in(&uri);
    };
    let row = match app.own(caller, &query.workspace).await {
        Ok(row) => row,
        Err(fault) => return page(&fault),
    };
    let to = match check_path(&query.to) {
        Ok(to) => to,
        Err(fault) => return page(&fault),
    };
    let (ticket, _) = app.ticket(caller, &row, Door::PreviewEntry { port: query.port });
    let origin = visitor
        .origins
        .preview(&query.port.to_string(), row.name.as_str());
    redirect(&format!(
        "{origin}/.roost/enter?ticket={}&to={}",
        encode(&ticket),
        encode(to)
    ))
}

/// The page that signs in, and comes back here.
fn sign_in(uri: &Uri) -> Response {
    let back = uri.path_and_query().map_or("/", |path| path.as_str());
    redirect(&format!("/sign-in?next={}", encode(back)))
}

fn redirect(to: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(to) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// A person is here, not a program.
fn page(fault: &Fault) -> Response {
    let status =
        StatusCode::from_u16(fault.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title} · Roost</title>\
         <h1>{title}</h1><p>{detail}</p><p><a href=\"/\">All workspaces</a></p></html>",
        title = escape(&fault.problem.title),
        detail = escape(&fault.problem.detail),
    );
    (status, Html(text)).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn encode(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}
