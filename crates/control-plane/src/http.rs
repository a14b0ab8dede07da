//! The public API, its document, and the ways into workspaces.
//!
//! - [`api`]: all routes of `/api/v1`.
//! - [`identity`], [`users`], [`git`], [`workspaces`], [`starts`], [`events`], [`work`], [`upkeep`], [`usage`], [`server`]:
//!   their handlers.
//! - [`entry`]: `/open` and `/preview-entry`, for browsers that go from one origin to another.
//! - [`auth`]: who asks, and whether a page of ours does.
//! - [`origins`]: our origins as this browser sees them.
//! - [`answers`], [`inputs`]: what [`http_api`] has not: cookies, the idempotency key.

pub mod answers;
pub mod api;
pub mod auth;
pub mod entry;
pub mod events;
pub mod git;
pub mod identity;
pub mod inputs;
pub mod origins;
pub mod points;
pub mod server;
pub mod starts;
pub mod upkeep;
pub mod usage;
pub mod users;
pub mod work;
pub mod workspaces;

use std::sync::Arc;

use aide::openapi::OpenApi;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use http_api::answers::{nothing_here, wrong_method};

use crate::app::App;

/// Longest body of a request, in bytes.
const BODY_LIMIT: usize = 256 * 1024;

/// The document of the whole API, with the requests of programs that a gateway answers. A test of the program that
/// has both says whether it is what the handlers' types say.
const DOCUMENT: &str = include_str!("../../../openapi/roost.json");

pub fn router(app: Arc<App>) -> Router {
    let api: Router<Arc<App>> = api::routes().into();
    Router::new()
        .merge(api)
        .merge(entry::routes())
        .route("/api/v1/openapi.json", get(documented))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(app)
}

async fn documented() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}

/// Adds what this part of the API says of itself.
pub fn describe(document: &mut OpenApi) {
    let _: Router<Arc<App>> = api::routes().finish_api_with(document, api::describe);
}
