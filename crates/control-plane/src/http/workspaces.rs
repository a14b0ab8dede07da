//! Workspaces.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control_api::programs::InWorkspace;
use control_api::workspaces::{
    CreateWorkspace, DeletePreview, DeleteWorkspace, Figures, LargestFolders, ListWorkspaces,
    ProgramTicket, UpdateWorkspace, Wait, Workspace, WorkspaceList,
};
use fleet_api::ticket::Door;
use http_api::answers::{Accepted, Created};
use http_api::inputs::{Body, InPath, Params};

use super::auth::{Anybody, SignedIn};
use super::inputs::IdempotencyKey;
use crate::app::{App, present};
use crate::fault::{Fault, Outcome};
use crate::store::workspaces::WorkspaceRow;

pub async fn list(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    Params(filter): Params<ListWorkspaces>,
) -> Outcome<Json<WorkspaceList>> {
    Ok(Json(WorkspaceList {
        workspaces: app.list(&caller, &filter).await?,
    }))
}

pub async fn create(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    Params(wait): Params<Wait>,
    IdempotencyKey(key): IdempotencyKey,
    Body(create): Body<CreateWorkspace>,
) -> Outcome<Created<Workspace>> {
    let row = app.create(&caller, &create, key.as_deref()).await?;
    Ok(Created(settled(&app, row, &wait).await?))
}

pub async fn show(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Params(wait): Params<Wait>,
) -> Outcome<Json<Workspace>> {
    let row = app.own(&caller, &path.workspace).await?;
    Ok(Json(settled(&app, row, &wait).await?))
}

pub async fn update(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Body(update): Body<UpdateWorkspace>,
) -> Outcome<Json<Workspace>> {
    Ok(Json(present::workspace(
        &app.update(&caller, &path.workspace, &update).await?,
    )))
}

pub async fn start(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Params(wait): Params<Wait>,
) -> Outcome<Json<Workspace>> {
    let row = app.own(&caller, &path.workspace).await?;
    let row = app.start(&caller.user.id, &row.id).await?;
    Ok(Json(settled(&app, row, &wait).await?))
}

pub async fn stop(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Params(wait): Params<Wait>,
) -> Outcome<Json<Workspace>> {
    let row = app.own(&caller, &path.workspace).await?;
    let row = app.stop(&caller.user.id, &row.id).await?;
    Ok(Json(settled(&app, row, &wait).await?))
}

pub async fn retry_clone(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Params(wait): Params<Wait>,
) -> Outcome<Json<Workspace>> {
    let row = app.retry_clone(&caller, &path.workspace).await?;
    Ok(Json(settled(&app, row, &wait).await?))
}

pub async fn delete_preview(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<Json<DeletePreview>> {
    Ok(Json(app.delete_preview(&caller, &path.workspace).await?))
}

pub async fn figures(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<Json<Figures>> {
    Ok(Json(app.figures(&caller, &path.workspace).await?))
}

pub async fn largest_folders(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<Json<LargestFolders>> {
    Ok(Json(app.largest_folders(&caller, &path.workspace).await?))
}

pub async fn delete(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Params(delete): Params<DeleteWorkspace>,
) -> Outcome<Accepted<Workspace>> {
    let row = app.delete(&caller, &path.workspace, delete.force).await?;
    Ok(Accepted(present::workspace(&row)))
}

pub async fn ticket(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    anybody: Anybody,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<Json<ProgramTicket>> {
    let row = app.own(&caller, &path.workspace).await?;
    let (ticket, expires_ms) = app.ticket(&caller, &row, Door::Program);
    let (origin, name) = (anybody.origins.main_socket(), &row.name);
    Ok(Json(ProgramTicket {
        ticket,
        expires_ms,
        session_url: format!("{origin}/api/v1/session/{name}/interactive"),
        bulk_url: format!("{origin}/api/v1/session/{name}/bulk"),
        tunnel_url: format!("{origin}/api/v1/tunnel/{name}/{{port}}"),
    }))
}

async fn settled(app: &App, row: WorkspaceRow, wait: &Wait) -> Outcome<Workspace> {
    if wait.wait.is_none() {
        return Ok(present::workspace(&row));
    }
    match app.wait(&row.id, wait).await? {
        Some(row) => Ok(present::workspace(&row)),
        None => Err(Fault::no_workspace(row.name.as_str())),
    }
}
