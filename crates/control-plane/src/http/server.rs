//! The installation and its host.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control_api::server::{HostLayer, HostStatus, Server};
use control_api::workspaces::{Remote, RemoteQuery};
use fleet_api::host::Accelerator;
use http_api::inputs::Params;

use super::auth::{Anybody, SignedIn};
use crate::app::App;
use crate::app::workspaces::no_host;
use crate::fault::Outcome;

pub async fn server(State(app): State<Arc<App>>, anybody: Anybody) -> Outcome<Json<Server>> {
    Ok(Json(Server {
        product: "Roost".into(),
        version: app.settings.version.clone(),
        origin: anybody.origins.main(),
        workbench_origin: anybody.origins.workbench(),
        needs_setup: !app.store.has_users().await?,
    }))
}

pub async fn host(
    State(app): State<Arc<App>>,
    SignedIn(_): SignedIn,
    anybody: Anybody,
) -> Outcome<Json<HostStatus>> {
    let (_, host) = app.hosts.all().into_iter().next().ok_or_else(no_host)?;
    let found = host.describe().await;
    let layers = found.layers.into_iter().map(|layer| HostLayer {
        name: layer.name,
        on: layer.on,
        isolation: layer.isolation,
        detail: layer.detail,
        remedy: layer.remedy,
    });
    Ok(Json(HostStatus {
        id: found.id,
        version: found.version,
        accelerator: match found.accelerator {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
            Accelerator::Process => "process",
        }
        .into(),
        vcpus: found.vcpus,
        memory_mib: found.memory_mib,
        memory_promised_mib: found.memory_promised_mib,
        disk_free_mib: found.disk_free_mib,
        layers: layers.collect(),
        limits: app.settings.limits,
        default_size: app.settings.default_size,
        preview_pattern: anybody.origins.preview("{port}", "{workspace}"),
    }))
}

pub async fn remote(
    State(app): State<Arc<App>>,
    SignedIn(_): SignedIn,
    Params(query): Params<RemoteQuery>,
) -> Outcome<Json<Remote>> {
    let remote = model::Remote::parse(&query.url)?;
    Ok(Json(Remote {
        authority: remote.authority(),
        folder: remote.folder(),
        suggested_name: app.free_name(&remote.suggested_name()).await?,
        url: remote.url.into(),
    }))
}
