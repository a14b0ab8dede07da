//! Event streams.

use std::time::Duration;

use control_api::events::Event;
use control_api::identity::OneTimeLink;
use control_api::workspaces::{Workspace, WorkspaceState};
use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::api::{Api, administrator};
use crate::identity::join;
use crate::world::{Running, World};

/// Events as they come.
struct Watcher {
    stream: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Watcher {
    async fn new(api: &Api, path: &str) -> Self {
        let response = api.send(Method::GET, path, None).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut watcher = Self {
            stream: Box::pin(response.bytes_stream()),
            text: String::new(),
        };
        assert_eq!(watcher.next().await, Event::Hello);
        watcher
    }

    async fn next(&mut self) -> Event {
        // Comments that keep the connection alive are no events.
        let end = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let parsed = data.map(|data| serde_json::from_str::<Event>(data).unwrap());
                if let Some(parsed) = &parsed {
                    assert!(
                        event.contains(&format!("event: {}", parsed.name())),
                        "{event}"
                    );
                }
                self.text = rest.to_owned();
                match parsed {
                    Some(parsed) => return parsed,
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout_at(end, self.stream.next()).await;
            let chunk = chunk
                .expect("no event came")
                .expect("the stream has ended")
                .unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut seen = Vec::new();
        loop {
            seen.push(self.next().await);
            if wanted(seen.last().unwrap()) {
                return seen;
            }
        }
    }
}

fn is_in(event: &Event, state: WorkspaceState) -> bool {
    matches!(event, Event::Workspace { workspace } if workspace.state == state)
}

#[tokio::test]
async fn every_change_is_told_to_its_owner() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let add = json!({ "email": "bob@example.com", "role": "member" });
    let link: OneTimeLink = api.post("/api/v1/users", add).await;
    let bob = join(&running.control, &link).await;
    let mut of_bob = Watcher::new(&bob, "/api/v1/events").await;
    let mut all = Watcher::new(&api, "/api/v1/events").await;

    let made: Workspace = api
        .post("/api/v1/workspaces", json!({ "name": "demo" }))
        .await;
    // The machine's state and the host's steps come by different ways, in any order.
    let (mut runs, mut configured) = (false, false);
    let mut seen = Vec::new();
    while !(runs && configured) {
        let event = all.next().await;
        runs |= is_in(&event, WorkspaceState::Running);
        configured |= matches!(&event, Event::Step { step, .. } if step.step == "configure" && step.took_ms.is_some());
        seen.push(event);
    }
    assert!(
        seen.iter()
            .any(|event| is_in(event, WorkspaceState::Queued))
    );
    let of_boot =
        |event: &&Event| matches!(event, Event::Step { step, epoch: 1, .. } if step.step == "boot");
    let boots = seen.iter().filter(of_boot).count();
    assert!(boots >= 2, "a step begins and ends: {boots}");

    let mut one = Watcher::new(&api, "/api/v1/workspaces/demo/events").await;
    let other: Workspace = api
        .post("/api/v1/workspaces", json!({ "name": "other" }))
        .await;
    let response = api
        .send(Method::DELETE, "/api/v1/workspaces/demo?force=true", None)
        .await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let seen = one
        .until(|event| matches!(event, Event::Deleted { .. }))
        .await;
    assert!(seen.iter().all(|event| match event {
        Event::Workspace { workspace } => workspace.id == made.id,
        Event::Deleted { id, .. } => *id == made.id,
        Event::Step { workspace, .. } => *workspace == made.id,
        Event::Hello | Event::Resync => false,
    }));
    all.until(|event| matches!(event, Event::Deleted { id, .. } if *id == made.id))
        .await;
    assert_ne!(other.id, made.id);

    let own: Workspace = bob
        .post("/api/v1/workspaces", json!({ "name": "bobs" }))
        .await;
    let seen = of_bob
        .until(|event| is_in(event, WorkspaceState::Running))
        .await;
    for event in seen {
        if let Event::Workspace { workspace } = event {
            assert_eq!(workspace.id, own.id, "nobody hears of others' workspaces");
        }
    }
}
