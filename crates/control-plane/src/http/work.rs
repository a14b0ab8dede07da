//! Saved work.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control_api::programs::InWorkspace;
use control_api::work::{WorkList, WorkName, WorkRestored, WorkSaved};
use http_api::inputs::{Body, InPath, Params};

use super::answers::Attachment;
use super::auth::SignedIn;
use crate::app::App;
use crate::fault::Outcome;

pub async fn list(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<Json<WorkList>> {
    Ok(Json(app.work(&caller, &path.workspace).await?))
}

pub async fn save(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<Json<WorkSaved>> {
    Ok(Json(app.save_work(&caller, &path.workspace).await?))
}

pub async fn restore(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Body(name): Body<WorkName>,
) -> Outcome<Json<WorkRestored>> {
    Ok(Json(
        app.restore_work(&caller, &path.workspace, &name).await?,
    ))
}

pub async fn bundle(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Params(name): Params<WorkName>,
) -> Outcome<Attachment> {
    let (file, bundle) = app.bundle_work(&caller, &path.workspace, &name).await?;
    Ok(Attachment(file, bundle))
}
