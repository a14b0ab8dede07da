//! What the workbench shows around the editor: state of the workspace, start and stop.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use control_api::problem::Kind;
use fleet_api::host::Accelerator;
use serde_json::{Value, json};

use super::gate;
use crate::Gateway;
use crate::answers::Problem;

pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let arrival = crate::arrival(&request);
    let origins = &arrival.origins;
    let (route, ticket) = gate::reader(&gateway, request.headers(), arrival, &name).await?;
    let accelerator = match &route.host {
        Some(host) => Some(host.describe().await.accelerator),
        None => None,
    };
    Ok(Json(json!({
        "id": route.workspace,
        "name": route.name,
        "state": route.state,
        "detail": route.detail,
        "folder": route.folder,
        "dashboard_url": format!("{}/", origins.main()),
        "preview_url_template": origins.preview(0, route.name.as_str()).replacen("//0--", "//{port}--", 1),
        "user": { "id": ticket.user, "name": route.owner_name, "email": route.owner_email },
        "role": ticket.role,
        "accelerator_note": accelerator.and_then(note),
    })))
}

fn note(accelerator: Accelerator) -> Option<&'static str> {
    match accelerator {
        Accelerator::Kvm => None,
        Accelerator::Tcg => Some(
            "This machine runs by software emulation, since the host has no working KVM: programs run \
             several times slower.",
        ),
        Accelerator::Process => Some("This is no virtual machine: for tests only."),
    }
}

pub async fn start(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let arrival = crate::arrival(&request);
    let (route, ticket) = gate::writer(&gateway, request.headers(), arrival, &name).await?;
    let asked = gateway
        .directory
        .start(&route.workspace, &ticket.user)
        .await;
    asked.map(|()| StatusCode::ACCEPTED).map_err(refused)
}

pub async fn stop(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let arrival = crate::arrival(&request);
    let (route, ticket) = gate::writer(&gateway, request.headers(), arrival, &name).await?;
    let asked = gateway.directory.stop(&route.workspace, &ticket.user).await;
    asked.map(|()| StatusCode::ACCEPTED).map_err(refused)
}

fn refused(message: String) -> Problem {
    Problem::new(Kind::WrongState, message)
}
