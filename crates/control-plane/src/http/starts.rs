//! Timelines of starts, and the console.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control_api::programs::InWorkspace;
use control_api::starts::{Start, StartList};
use control_api::workspaces::{Console, ConsoleQuery};
use http_api::inputs::{InPath, Params};

use super::auth::SignedIn;
use super::inputs::InStart;
use crate::app::App;
use crate::fault::Outcome;

pub async fn list(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<Json<StartList>> {
    Ok(Json(StartList {
        starts: app.starts_of(&caller, &path.workspace).await?,
    }))
}

pub async fn show(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InStart>,
) -> Outcome<Json<Start>> {
    Ok(Json(
        app.start_of(&caller, &path.workspace, path.epoch).await?,
    ))
}

pub async fn console(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Params(query): Params<ConsoleQuery>,
) -> Outcome<Json<Console>> {
    Ok(Json(Console {
        text: app.console(&caller, &path.workspace, query.bytes).await?,
    }))
}
