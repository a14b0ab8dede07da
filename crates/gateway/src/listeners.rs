//! Another door to a forwarded port, for browsers and resolvers that do not know `*.localhost`: a listener
//! of its own on a loopback address.
//!
//! Each workspace gets a loopback address of its own, so that a browser keeps its cookies apart from those
//! of other workspaces and of Roost: cookies know hosts, not ports.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Path, Request, State};
use control_api::problem::Kind;
use fleet_api::ticket::Door;
use model::WorkspaceId;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::Gateway;
use crate::answers::Problem;
use crate::origins::Origins;
use crate::preview::Target;
use crate::workbench::gate;

/// Listeners at a time, of all workspaces.
const MOST: usize = 256;

/// The listeners that are open. A restart closes them, and so does disuse; the workbench asks again.
#[derive(Debug, Default)]
pub struct Listeners(Mutex<HashMap<(WorkspaceId, u16), Open>>);

#[derive(Debug)]
struct Open {
    address: SocketAddr,
    serving: AbortOnDropHandle<()>,
}

/// `POST /w/NAME/ports/PORT/listener`: opens one, or finds it, and answers with an address that signs in.
pub async fn open(
    State(gateway): State<Arc<Gateway>>,
    Path((name, port)): Path<(String, u16)>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let arrival = crate::arrival(&request);
    let (route, ticket) = gate::writer(&gateway, request.headers(), arrival, &name).await?;
    if port == 0 {
        return Err(Problem::invalid("Ports are numbered from 1 to 65535."));
    }
    let known = gateway.listeners.find(&route.workspace, port);
    let address = match known {
        Some(address) => address,
        None => listen(&gateway, &route.workspace, name, port, &arrival.origins).await?,
    };
    let entry = gateway.tickets.entry(&ticket, Door::PreviewEntry { port });
    Ok(Json(json!({
        "url": format!("http://{address}/.roost/enter?ticket={entry}"),
        "address": address.to_string(),
    })))
}

async fn listen(
    gateway: &Arc<Gateway>,
    workspace: &WorkspaceId,
    name: String,
    port: u16,
    origins: &Origins,
) -> Result<SocketAddr, Problem> {
    let failed = |error: std::io::Error| {
        Problem::new(
            Kind::NoListener,
            format!("The server could not listen on a loopback address: {error}."),
        )
    };
    let own = IpAddr::V4(own_address(workspace));
    // The same number as in the workspace where that is free, so that addresses look alike.
    let listener = match TcpListener::bind((own, port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((own, 0)).await.map_err(failed)?,
    };
    let address = listener.local_addr().map_err(failed)?;
    let target = Target {
        port,
        workspace: name,
        origin: format!("http://{address}"),
        by_listener: true,
        origins: origins.clone(),
    };
    let serving = tokio::spawn(crate::server::listen_for_preview(
        gateway.clone(),
        listener,
        target,
    ));
    let open = Open {
        address,
        serving: AbortOnDropHandle::new(serving),
    };
    gateway.listeners.add(workspace, port, open)
}

/// Within 127.64.0.0/10, from the workspace's id.
fn own_address(workspace: &WorkspaceId) -> Ipv4Addr {
    let digest = ring::digest::digest(&ring::digest::SHA256, workspace.as_str().as_bytes());
    let bytes = digest.as_ref();
    Ipv4Addr::new(127, 64 | (bytes[0] & 63), bytes[1], 1 + bytes[2] % 254)
}

impl Listeners {
    fn find(&self, workspace: &WorkspaceId, port: u16) -> Option<SocketAddr> {
        self.lock()
            .get(&(workspace.clone(), port))
            .filter(|open| !open.serving.is_finished())
            .map(|open| open.address)
    }

    /// Keeps the first when two were opened at once.
    fn add(&self, workspace: &WorkspaceId, port: u16, open: Open) -> Result<SocketAddr, Problem> {
        let mut all = self.lock();
        all.retain(|_, open| !open.serving.is_finished());
        if all.len() >= MOST && !all.contains_key(&(workspace.clone(), port)) {
            return Err(Problem::new(
                Kind::Busy,
                format!("The server has {MOST} ports open for previews; it opens no more."),
            ));
        }
        Ok(all.entry((workspace.clone(), port)).or_insert(open).address)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(WorkspaceId, u16), Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
