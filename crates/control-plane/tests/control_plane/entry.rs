//! The ways into workspaces, and what gateways ask.

use std::time::Duration;

use control_api::workspaces::{ProgramTicket, Workspace};
use fleet_api::ticket::{Door, TicketKey};
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::api::{Api, administrator};
use crate::world::{Running, TICKETS, World};

fn location(response: &Response) -> String {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.headers()["location"].to_str().unwrap().into()
}

async fn go(api: &Api, path: &str) -> String {
    location(&api.send(Method::GET, path, None).await)
}

#[tokio::test]
async fn browsers_are_sent_on_with_a_ticket_for_one_door() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api.create(json!({ "name": "demo" })).await;
    let port = api.address.port();
    let key = TicketKey::new(&TICKETS);
    let now = control_plane::world::World::real().now_ms();

    let to = go(&api, "/open/demo").await;
    let prefix = format!("http://code.localhost:{port}/w/demo/?entry=");
    let ticket = key.verify(to.strip_prefix(&prefix).unwrap(), now).unwrap();
    assert_eq!(
        (ticket.door, &ticket.workspace),
        (Door::WorkbenchEntry, &made.id)
    );
    assert!(ticket.expires_ms <= now + 31_000);

    let to = go(
        &api,
        "/preview-entry?workspace=demo&port=3000&to=/a%3Fb%3D1",
    )
    .await;
    let prefix = format!("http://3000--demo.localhost:{port}/.roost/enter?ticket=");
    let (ticket, back) = to
        .strip_prefix(&prefix)
        .unwrap()
        .split_once("&to=")
        .unwrap();
    assert_eq!(back, "%2Fa%3Fb%3D1");
    let ticket = key.verify(ticket, now).unwrap();
    assert_eq!(ticket.door, Door::PreviewEntry { port: 3000 });

    for bad in ["//evil.example", "https://evil.example", "/\\evil.example"] {
        let path = format!("/preview-entry?workspace=demo&port=3000&to={bad}");
        let response = api.send(Method::GET, &path, None).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
    let response = api.send(Method::GET, "/open/%3Cscript%3E", None).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(!response.text().await.unwrap().contains("<script"));

    let stranger = Api {
        cookie: None,
        ..api.clone()
    };
    let to = go(&stranger, "/preview-entry?workspace=demo&port=3000").await;
    assert_eq!(
        to,
        "/sign-in?next=%2Fpreview-entry%3Fworkspace%3Ddemo%26port%3D3000"
    );
    assert_eq!(
        go(&stranger, "/open/demo").await,
        "/sign-in?next=%2Fopen%2Fdemo"
    );
}

#[tokio::test]
async fn a_ticket_ends_with_its_sign_in() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    api.create(json!({ "name": "demo" })).await;
    let given: ProgramTicket = api.post("/api/v1/workspaces/demo/ticket", json!({})).await;
    assert!(
        given.session_url.starts_with("ws://localhost:"),
        "{}",
        given.session_url
    );
    let ticket = TicketKey::new(&TICKETS).verify(&given.ticket, 0).unwrap();
    assert_eq!(ticket.door, Door::Program);
    let directory = running.control.directory();
    assert_eq!(
        directory.session_is_valid(&ticket.session).await,
        Some(true)
    );
    api.send(Method::DELETE, "/api/v1/session", None).await;
    assert_eq!(
        directory.session_is_valid(&ticket.session).await,
        Some(false)
    );
    assert_eq!(directory.session_is_valid("nonsense").await, Some(false));
}

#[tokio::test]
async fn gateways_find_workspaces_and_act_for_their_owners_only() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api
        .create(json!({ "name": "demo", "repository": "https://a.b/app" }))
        .await;
    let token: control_api::identity::NewToken =
        api.post("/api/v1/tokens", json!({ "name": "x" })).await;
    let directory = running.control.directory();
    let route = directory.route("demo").await.unwrap();
    assert_eq!(
        (route.state.as_str(), route.folder.as_str()),
        ("running", "/workspaces/app")
    );
    assert!(route.host.is_some());
    assert_eq!(
        (route.owner_name.as_str(), route.owner_email.as_str()),
        ("Ada", "ada@example.com")
    );
    let caller = directory.bearer(&token.secret).await.unwrap();
    assert_eq!(caller.user, made.owner);
    assert_eq!(
        directory.session_is_valid(&caller.session).await,
        Some(true)
    );
    assert!(directory.bearer("roost_nonsense").await.is_none());

    let other = model::UserId::new("somebody");
    assert!(directory.stop(&made.id, &other).await.is_err());
    directory.stop(&made.id, &made.owner).await.unwrap();
    let stopped = api
        .until("demo", |found| {
            !found
                .actions
                .contains(&control_api::workspaces::Action::Stop)
        })
        .await;
    assert!(
        directory
            .route(stopped.id.as_str())
            .await
            .unwrap()
            .host
            .is_none()
    );
    directory.start(&made.id, &made.owner).await.unwrap();
    api.until("demo", |found| found.ready).await;
    directory.touch(&made.id);
    api.until("demo", |found| found.used_ms.is_some()).await;

    let owner = &made.owner;
    assert_eq!(directory.setting(owner, "settings").await.version, 0);
    assert_eq!(
        directory
            .save_setting(owner, "settings", Some(0), "{}")
            .await,
        Ok(1)
    );
    assert_eq!(
        directory
            .save_setting(owner, "settings", Some(0), "{}")
            .await,
        Err(1)
    );
    assert_eq!(directory.setting(&other, "settings").await.version, 0);

    let _: Workspace = crate::api::good(
        api.send(Method::DELETE, "/api/v1/workspaces/demo?force=true", None)
            .await,
    )
    .await;
    let end = Instant::now() + Duration::from_secs(30);
    while directory.route("demo").await.is_some() {
        assert!(Instant::now() < end, "a deleted workspace is not found");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
