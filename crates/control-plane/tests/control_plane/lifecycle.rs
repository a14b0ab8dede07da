//! A workspace from creation to deletion, and everything that can be wrong on the way.

use std::time::Duration;

use control_api::identity::OneTimeLink;
use control_api::problem::Kind;
use control_api::starts::{Start, StartList, StartOutcome, StepState};
use control_api::workspaces::{
    Action, CloneStatus, Console, DeletePreview, DesiredState, Knowledge, Workspace, WorkspaceList,
    WorkspaceState,
};
use fleet_api::host::{
    CloneState, FailureKind, HostError, Observed, RepositoryStatus, StartFailure,
};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::api::{Api, administrator, good, is};
use crate::identity::join;
use crate::world::{Running, World};

fn unpushed() -> RepositoryStatus {
    RepositoryStatus {
        path: "/workspaces/app".into(),
        branch: "main".into(),
        uncommitted: 1,
        unpushed: 2,
        stashes: 0,
        no_remote: false,
        error: None,
    }
}

async fn start_until(api: &Api, workspace: &str, wanted: impl Fn(&Start) -> bool) -> Start {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let start: Start = api
            .get(&format!("/api/v1/workspaces/{workspace}/starts/1"))
            .await;
        if wanted(&start) {
            return start;
        }
        assert!(Instant::now() < end, "it never became so: {start:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_whole_life() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api
        .create(json!({
            "repository": "https://git.example/team/Shop.git",
            "branch": "main",
            "labels": { "team": "a" },
            "tags": ["one", "one", " two "],
        }))
        .await;
    assert_eq!(made.state, WorkspaceState::Running);
    assert!(made.ready && made.name.as_str() == "shop", "{made:?}");
    assert_eq!(made.tags, ["one", "two"]);
    assert_eq!(made.clone, CloneStatus::Ready);
    assert_eq!(made.repository.as_ref().unwrap().folder, "/workspaces/Shop");
    assert_eq!(made.actions, [Action::Stop, Action::Delete]);
    let spec = world.host.state().machines[&made.id].spec.clone();
    assert_eq!(spec.git_identity.unwrap().name, "Ada");
    assert_eq!(spec.repository.unwrap().branch.as_deref(), Some("main"));

    // What a host says of its steps comes by another way than what it shows, perhaps a moment later.
    let start = start_until(&api, "shop", |start| {
        start
            .steps
            .iter()
            .all(|step| step.step == "clone" || step.state == StepState::Done)
    })
    .await;
    assert_eq!(start.outcome, StartOutcome::Running);
    let names: Vec<&str> = start.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(
        names,
        [
            "place",
            "disk",
            "network",
            "vmm",
            "boot",
            "configure",
            "clone"
        ]
    );
    let boot = start.steps.iter().find(|step| step.step == "boot").unwrap();
    assert_eq!(
        (boot.state, boot.title.as_str()),
        (StepState::Done, "Boot Linux")
    );
    assert_eq!(boot.log, "half way\n");

    // Names change at once, and the old one stays ours.
    let update = json!({ "name": "renamed", "tags": [], "labels": { "team": "b" } });
    let renamed: Workspace = good(
        api.send(Method::PATCH, "/api/v1/workspaces/shop", Some(update))
            .await,
    )
    .await;
    assert_eq!(
        (renamed.name.as_str(), renamed.open_path.as_str()),
        ("renamed", "/open/renamed")
    );
    let taken = api
        .problem(
            Method::POST,
            "/api/v1/workspaces",
            Some(json!({ "name": "shop" })),
        )
        .await;
    is(&taken, Kind::NameTaken);
    assert_eq!(taken.suggestion.as_deref(), Some("shop-2"));

    world.host.state().repositories = vec![unpushed()];
    let refused = api
        .problem(Method::DELETE, "/api/v1/workspaces/renamed", None)
        .await;
    is(&refused, Kind::UnsavedWork);
    assert_eq!(
        (
            refused.repositories[0].uncommitted,
            refused.repositories[0].unpushed
        ),
        (1, 2)
    );
    assert!(
        refused
            .detail
            .contains("1 uncommitted file and 2 unpushed commits"),
        "{refused:?}"
    );

    let stopped: Workspace = api
        .post("/api/v1/workspaces/renamed/stop?wait=stopped", json!({}))
        .await;
    assert_eq!(
        (stopped.state, stopped.desired),
        (WorkspaceState::Stopped, DesiredState::Stopped)
    );
    let preview: DeletePreview = api.get("/api/v1/workspaces/renamed/delete-preview").await;
    assert_eq!(preview.knowledge, Knowledge::LastKnown);
    assert!(preview.loses_work);

    let again: Workspace = api
        .post("/api/v1/workspaces/renamed/start?wait=ready", json!({}))
        .await;
    assert_eq!((again.state, again.epoch), (WorkspaceState::Running, 2));
    let starts: StartList = api.get("/api/v1/workspaces/renamed/starts").await;
    assert_eq!(starts.starts.len(), 2);
    let console: Console = api.get("/api/v1/workspaces/renamed/console?bytes=10").await;
    assert_eq!(console.text, "the last 10 bytes");

    let path = format!("/api/v1/workspaces/{}?force=true", made.id);
    let deleting = api.send(Method::DELETE, &path, None).await;
    assert_eq!(deleting.status(), StatusCode::ACCEPTED);
    api.until_gone(made.id.as_str()).await;
    assert!(
        world.host.state().machines.is_empty(),
        "no trace is left on the host"
    );
    let list: WorkspaceList = api.get("/api/v1/workspaces").await;
    assert_eq!(list.workspaces, []);
    let reused = api
        .problem(
            Method::POST,
            "/api/v1/workspaces",
            Some(json!({ "name": "renamed" })),
        )
        .await;
    is(&reused, Kind::NameTaken);
}

#[tokio::test]
async fn bad_input_is_refused_with_what_to_do() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    for (body, kind, field) in [
        (json!({ "name": "Not Valid" }), Kind::InvalidName, "name"),
        (json!({ "name": "api" }), Kind::InvalidName, "name"),
        (
            json!({ "repository": "file:///etc" }),
            Kind::InvalidRepository,
            "repository",
        ),
        (
            json!({ "repository": "https://me:pw@a.b/c" }),
            Kind::InvalidRepository,
            "repository",
        ),
        (json!({ "branch": "main" }), Kind::InvalidField, "branch"),
        (
            json!({ "repository": "https://a.b/c", "branch": "--evil" }),
            Kind::InvalidField,
            "branch",
        ),
        (
            json!({ "size": { "vcpus": 99, "memory_mib": 1024, "disk_gib": 16 } }),
            Kind::SizeOverLimit,
            "size.vcpus",
        ),
        (
            json!({ "size": { "vcpus": 1, "memory_mib": 12000, "disk_gib": 16 } }),
            Kind::SizeOverLimit,
            "size.memory_mib",
        ),
        (
            json!({ "size": { "vcpus": 1, "memory_mib": 1024, "disk_gib": 999 } }),
            Kind::SizeOverLimit,
            "size.disk_gib",
        ),
        (
            json!({ "labels": { "a=b": "c" } }),
            Kind::InvalidField,
            "labels",
        ),
        (json!({ "tags": ["a\nb"] }), Kind::InvalidField, "tags"),
    ] {
        let problem = api
            .problem(Method::POST, "/api/v1/workspaces", Some(body.clone()))
            .await;
        is(&problem, kind);
        assert_eq!(problem.field.as_deref(), Some(field), "{body}");
    }
    let unknown = api
        .problem(
            Method::POST,
            "/api/v1/workspaces",
            Some(json!({ "naem": "x" })),
        )
        .await;
    is(&unknown, Kind::InvalidRequest);
    assert!(unknown.detail.contains("naem"), "{unknown:?}");
    let text = api
        .request(Method::POST, "/api/v1/workspaces")
        .header("content-type", "application/json")
        .body("{")
        .send()
        .await
        .unwrap();
    is(&crate::api::problem(text).await, Kind::InvalidRequest);
    is(
        &api.problem(Method::GET, "/api/v1/workspaces/nothing", None)
            .await,
        Kind::NotFound,
    );
    is(
        &api.problem(Method::GET, "/api/v1/workspaces?state=odd", None)
            .await,
        Kind::InvalidField,
    );
    let list: WorkspaceList = api.get("/api/v1/workspaces").await;
    assert_eq!(list.workspaces, [], "nothing was made");
}

#[tokio::test]
async fn a_repeated_request_makes_one_workspace() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let send = async |key: &str, body| {
        let request = api
            .request(Method::POST, "/api/v1/workspaces")
            .header("idempotency-key", key);
        request.json(&body).send().await.unwrap()
    };
    let first: Workspace = good(send("k1", json!({ "tags": ["a"] })).await).await;
    let again: Workspace = good(send("k1", json!({ "tags": ["a"] })).await).await;
    assert_eq!(first.id, again.id);
    let other = crate::api::problem(send("k1", json!({ "tags": ["b"] })).await).await;
    is(&other, Kind::IdempotencyKeyReused);
    let second: Workspace = good(send("k2", json!({ "tags": ["a"] })).await).await;
    assert_ne!(first.id, second.id);
    assert_eq!(
        (first.name.as_str(), second.name.as_str()),
        ("workspace", "workspace-2")
    );
    is(
        &crate::api::problem(send("", json!({})).await).await,
        Kind::InvalidRequest,
    );
}

#[tokio::test]
async fn lists_are_filtered() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    api.create(json!({ "name": "one", "labels": { "team": "a", "x": "" }, "tags": ["t"] }))
        .await;
    api.create(json!({ "name": "two", "repository": "https://git.example/Some/thing" }))
        .await;
    let _: Workspace = api
        .post("/api/v1/workspaces/two/stop?wait=stopped", json!({}))
        .await;
    for (query, expected) in [
        ("", vec!["two", "one"]),
        ("state=running", vec!["one"]),
        ("state=stopped,failed", vec!["two"]),
        ("label=team%3Da", vec!["one"]),
        ("label=x", vec!["one"]),
        ("label=team%3Db", vec![]),
        ("tag=t", vec!["one"]),
        ("text=some/", vec!["two"]),
        ("text=ON", vec!["one"]),
    ] {
        let list: WorkspaceList = api.get(&format!("/api/v1/workspaces?{query}")).await;
        let names: Vec<&str> = list
            .workspaces
            .iter()
            .map(|found| found.name.as_str())
            .collect();
        assert_eq!(names, expected, "{query}");
    }
}

#[tokio::test]
async fn others_neither_see_nor_touch_it() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    api.create(json!({ "name": "mine" })).await;
    let add = json!({ "email": "bob@example.com", "role": "member" });
    let link: OneTimeLink = api.post("/api/v1/users", add).await;
    let bob = join(&running.control, &link).await;
    let list: WorkspaceList = bob.get("/api/v1/workspaces").await;
    assert_eq!(list.workspaces, []);
    for (method, path) in [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, "?force=true"),
        (Method::POST, "/start"),
        (Method::POST, "/stop"),
        (Method::POST, "/ticket"),
        (Method::GET, "/starts"),
        (Method::GET, "/events"),
        (Method::GET, "/console"),
        (Method::GET, "/delete-preview"),
    ] {
        let body = (method == Method::PATCH).then(|| json!({}));
        let path = format!("/api/v1/workspaces/mine{path}");
        is(&bob.problem(method, &path, body).await, Kind::NotFound);
    }
}

#[tokio::test]
async fn without_room_it_waits_says_why_and_gives_up() {
    let world = World::new();
    world.host.state().no_room = Some("8192 of 8192 MiB are promised".into());
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made: Workspace = api
        .post("/api/v1/workspaces", json!({ "name": "one" }))
        .await;
    assert_eq!(made.state, WorkspaceState::Queued);
    let waiting = api.until("one", |found| !found.detail.is_empty()).await;
    assert_eq!(waiting.detail, "8192 of 8192 MiB are promised");
    assert!(waiting.deadline_ms.is_some());
    // Room comes: it starts by itself.
    world.host.state().no_room = None;
    api.until("one", |found| found.ready).await;

    world.host.state().no_room = Some("full".into());
    let _: Workspace = api
        .post("/api/v1/workspaces", json!({ "name": "two" }))
        .await;
    api.until("two", |found| !found.detail.is_empty()).await;
    world.wait_ms(model::state::QUEUE_LIMIT_MS);
    let failed = api
        .until("two", |found| found.state == WorkspaceState::Failed)
        .await;
    assert_eq!(failed.failure.unwrap().kind, "no-room");
    assert!(failed.actions.contains(&Action::Start) && failed.actions.contains(&Action::Delete));
    let response = api
        .send(Method::DELETE, "/api/v1/workspaces/two", None)
        .await;
    assert_eq!(
        response.status(),
        StatusCode::ACCEPTED,
        "it never ran: nothing can be lost"
    );
    api.until_gone("two").await;
}

#[tokio::test]
async fn a_host_that_refuses_fails_the_start_with_its_reason() {
    let world = World::new();
    let message = "qemu-system-x86_64 is not installed: sudo ./dev deps";
    world.host.state().refuse = Some(HostError::Failed {
        message: message.into(),
    });
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let failed = api.create(json!({ "name": "one" })).await;
    assert_eq!(
        (failed.state, failed.detail.as_str()),
        (WorkspaceState::Failed, message)
    );
    let start = start_until(&api, "one", |start| {
        start.steps[0].state == StepState::Failed
    })
    .await;
    assert_eq!(start.outcome, StartOutcome::Failed);
    assert_eq!(start.steps[0].state, StepState::Failed);
    world.host.state().refuse = None;
    let again: Workspace = api
        .post("/api/v1/workspaces/one/start?wait=ready", json!({}))
        .await;
    assert!(again.ready);
}

#[tokio::test]
async fn a_start_that_takes_too_long_is_stopped_and_failed() {
    let world = World::new();
    world.host.state().slow = true;
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let _: Workspace = api
        .post("/api/v1/workspaces", json!({ "name": "one" }))
        .await;
    api.until("one", |found| found.state == WorkspaceState::Provisioning)
        .await;
    world.wait_ms(model::state::PROVISION_LIMIT_MS);
    let failed = api
        .until("one", |found| found.state == WorkspaceState::Failed)
        .await;
    assert_eq!(failed.failure.unwrap().kind, "start-timeout");
    let machine = world.host.state().machines[&failed.id].observed.clone();
    assert!(matches!(machine, Observed::Stopped { .. }), "{machine:?}");
}

#[tokio::test]
async fn what_happens_on_the_host_is_seen() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api.create(json!({ "name": "one" })).await;
    world.host.show(
        &made.id,
        Observed::Paused {
            epoch: 1,
            reason: "The host's disk is full.".into(),
        },
    );
    let paused = api.until("one", |found| !found.detail.is_empty()).await;
    assert_eq!(
        (paused.state, paused.ready),
        (WorkspaceState::Running, false)
    );
    let unresponsive = Observed::Running {
        epoch: 1,
        clone: CloneState::Ready,
        unresponsive: true,
    };
    world.host.show(&made.id, unresponsive);
    api.until("one", |found| found.unresponsive).await;
    let failure = StartFailure {
        kind: FailureKind::VmmExited,
        message: "The machine ended by itself.".into(),
        log: "panic".into(),
    };
    world
        .host
        .show(&made.id, Observed::Failed { epoch: 1, failure });
    let failed = api
        .until("one", |found| found.state == WorkspaceState::Failed)
        .await;
    let failure = failed.failure.unwrap();
    assert_eq!(
        (failure.kind.as_str(), failure.log.as_str()),
        ("vmm-exited", "panic")
    );
    let _: Workspace = api
        .post("/api/v1/workspaces/one/start?wait=ready", json!({}))
        .await;
    // Shut down from inside.
    world.host.show(&made.id, Observed::Stopped { epoch: 2 });
    api.until("one", |found| found.state == WorkspaceState::Stopped)
        .await;
    // The disk is lost: said, and not replaced in silence.
    world.host.show(&made.id, Observed::Absent);
    let lost = api
        .until("one", |found| found.state == WorkspaceState::Failed)
        .await;
    assert_eq!(lost.failure.unwrap().kind, "disk-lost");
    let unknown = api
        .problem(Method::DELETE, "/api/v1/workspaces/one", None)
        .await;
    is(&unknown, Kind::UnsavedWork);
}

#[tokio::test]
async fn a_silent_host_is_not_an_absent_workspace() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api.create(json!({ "name": "one" })).await;
    world.host.state().silent = true;
    world.host.show(
        &made.id,
        Observed::Running {
            epoch: 1,
            clone: CloneState::Ready,
            unresponsive: false,
        },
    );
    let silent = api.until("one", |found| !found.detail.is_empty()).await;
    assert_eq!(silent.state, WorkspaceState::Running);
    world.host.state().silent = false;
    world.host.show(
        &made.id,
        Observed::Running {
            epoch: 1,
            clone: CloneState::Ready,
            unresponsive: false,
        },
    );
    api.until("one", |found| found.ready && found.detail.is_empty())
        .await;
}

#[tokio::test]
async fn a_clone_that_needs_credentials_is_repeated() {
    let world = World::new();
    world.host.state().clone_fails = true;
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api
        .create(json!({ "repository": "https://git.example/private" }))
        .await;
    assert!(
        made.ready && made.actions.contains(&Action::RetryClone),
        "{made:?}"
    );
    let CloneStatus::Failed { failure } = &made.clone else {
        panic!("{made:?}")
    };
    assert_eq!(failure.kind, "clone-credentials");
    world.host.state().clone_fails = false;
    let path = format!("/api/v1/workspaces/{}/retry-clone?wait=ready", made.id);
    let ready: Workspace = api.post(&path, json!({})).await;
    assert_eq!(ready.clone, CloneStatus::Ready);
    let empty = api.create(json!({ "name": "empty" })).await;
    assert_eq!(empty.clone, CloneStatus::None);
    let none = api
        .problem(Method::POST, "/api/v1/workspaces/empty/retry-clone", None)
        .await;
    is(&none, Kind::WrongState);
}

#[tokio::test]
async fn a_deletion_cannot_be_undone_by_a_start() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    api.create(json!({ "name": "one" })).await;
    let calls = world.host.state().calls.len();
    // Stop is not asked first: delete is the next call, and it hangs.
    world.host.state().hang = Some((calls, crate::script::When::Before));
    let response = api
        .send(Method::DELETE, "/api/v1/workspaces/one?force=true", None)
        .await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let refused = api
        .problem(Method::POST, "/api/v1/workspaces/one/start", None)
        .await;
    is(&refused, Kind::WrongState);
    assert!(refused.detail.contains("being deleted"), "{refused:?}");
}
