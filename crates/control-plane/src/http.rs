//! The public API, its document, and the ways into workspaces.
//!
//! - [`api`]: all routes of `/api/v1`.
//! - [`identity`], [`users`], [`git`], [`workspaces`], [`starts`], [`events`], [`server`]: their handlers.
//! - [`entry`]: `/open` and `/preview-entry`, for browsers that go from one origin to another.
//! - [`auth`]: who asks, and whether a page of ours does.
//! - [`origins`]: our origins as this browser sees them.
//! - [`answers`], [`inputs`]: bodies, parameters and problems, with their documentation.

pub mod answers;
pub mod api;
pub mod auth;
pub mod entry;
pub mod events;
pub mod git;
pub mod identity;
pub mod inputs;
pub mod origins;
pub mod server;
pub mod starts;
pub mod users;
pub mod workspaces;

use std::sync::Arc;

use aide::openapi::OpenApi;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Json, Router};

use crate::app::App;

/// Longest body of a request, in bytes.
const BODY_LIMIT: usize = 256 * 1024;

pub fn router(app: Arc<App>) -> Router {
    let mut document = OpenApi::default();
    let api = api::routes().finish_api_with(&mut document, api::describe);
    let document = Arc::new(document);
    let documented = move || {
        let document = document.clone();
        async move { Json((*document).clone()) }
    };
    Router::new()
        .merge(api)
        .merge(entry::routes())
        .route("/api/v1/openapi.json", get(documented))
        .fallback(answers::nothing_here)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(app)
}

/// The document of the API, made from the types of its handlers.
pub fn document() -> OpenApi {
    let mut document = OpenApi::default();
    let _: Router<Arc<App>> = api::routes().finish_api_with(&mut document, api::describe);
    document
}
