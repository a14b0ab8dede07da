//! Who may do what on the workbench's origin.

use axum::http::{HeaderMap, header};
use fleet_api::control::Route;
use fleet_api::ticket::{Door, Ticket};

use crate::Gateway;
use crate::answers::Problem;
use crate::arrival::Arrival;
use crate::cookies;
use crate::tickets::Refusal;

/// The ticket in the workbench's cookie for this workspace.
pub async fn ticket(
    gateway: &Gateway,
    headers: &HeaderMap,
    route: &Route,
) -> Result<Ticket, Refusal> {
    let texts = cookies::values(headers, cookies::WORKBENCH);
    gateway
        .tickets
        .check(texts, &route.workspace, Door::Workbench)
        .await
}

/// Whether the request comes from a page of the workbench itself.
pub fn is_own_page(headers: &HeaderMap, arrival: &Arrival) -> bool {
    headers
        .get(header::ORIGIN)
        .is_some_and(|origin| origin.as_bytes() == arrival.origins.workbench().as_bytes())
}

/// Workspace and ticket of a request that only reads.
pub async fn reader(
    gateway: &Gateway,
    headers: &HeaderMap,
    arrival: &Arrival,
    name: &str,
) -> Result<(Route, Ticket), Problem> {
    let Some(route) = gateway.directory.route(name).await else {
        return Err(Problem::unknown_workspace(name));
    };
    match ticket(gateway, headers, &route).await {
        Ok(ticket) => Ok((route, ticket)),
        Err(refusal) => {
            let url = format!("{}/open/{name}", arrival.origins.main());
            Err(Problem {
                sign_in_url: Some(url),
                ..Problem::sign_in(refusal.to_string())
            })
        }
    }
}

/// The same for one that changes something: a page of another origin can neither send `X-Roost` without
/// asking first nor lie about its origin.
pub async fn writer(
    gateway: &Gateway,
    headers: &HeaderMap,
    arrival: &Arrival,
    name: &str,
) -> Result<(Route, Ticket), Problem> {
    if !is_own_page(headers, arrival) || !headers.contains_key("x-roost") {
        return Err(Problem::refused(
            "Only the workbench's own page may ask for this.",
        ));
    }
    reader(gateway, headers, arrival, name).await
}
