//! Disks that are checked, compacted, collected and imported through the API.

use control_api::points::Point;
use control_api::problem::Kind;
use control_api::upkeep::{CheckEvent, CollectionList, Compaction, DiskCheck, ImportEvent};
use control_api::workspaces::{Workspace, WorkspaceState};
use fleet_api::upkeep::Damage;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::{Api, administrator, is};
use crate::world::{Running, World};

async fn lines<T: DeserializeOwned>(response: reqwest::Response) -> Vec<T> {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn check(api: &Api, rest: &str) -> Vec<CheckEvent> {
    let path = format!("/api/v1/workspaces/notes/disk/check{rest}");
    lines(api.send(Method::POST, &path, None).await).await
}

fn checked(events: &[CheckEvent]) -> &DiskCheck {
    match events {
        [
            CheckEvent::Progress { done: 1, of: 2 },
            CheckEvent::Checked { check },
        ] => check,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_check_says_what_is_sound_and_what_is_not() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    api.create(json!({ "name": "notes" })).await;
    for name in ["first", "second"] {
        let body = json!({ "name": name });
        let _: Point = api.post("/api/v1/workspaces/notes/points", body).await;
    }
    let events = check(&api, "").await;
    let sound = checked(&events);
    assert!(sound.sound && sound.versions.iter().all(|version| version.sound));

    world.host.state().damage = vec![Damage {
        version: 2,
        object: "o/packs/1".into(),
        detail: "a frame is damaged".into(),
        bytes: 4096,
    }];
    let events = check(&api, "").await;
    let hit = checked(&events);
    let sound: Vec<bool> = hit.versions.iter().map(|version| version.sound).collect();
    assert_eq!((hit.sound, &sound[..]), (false, &[true, false][..]));
    match &check(&api, "?point=9").await[..] {
        [_, CheckEvent::Failed { problem }] => is(problem, Kind::NotFound),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_disk_is_compacted_at_rest_and_an_administrator_collects() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api.create(json!({ "name": "notes" })).await;
    let compact = "/api/v1/workspaces/notes/disk/compact";
    let problem = api.problem(Method::POST, compact, Some(json!({}))).await;
    is(&problem, Kind::WrongState);
    let stop = "/api/v1/workspaces/notes/stop?wait=stopped";
    let _: Workspace = api.post(stop, json!({})).await;
    let done: Compaction = api.post(compact, json!({})).await;
    assert_eq!(done.moved, 4096);

    let collect = "/api/v1/store/collect";
    let dry: CollectionList = api.post(collect, json!({ "dry_run": true })).await;
    assert_eq!(dry.collections[0].deleted, 0);
    let names: Vec<&str> = dry.collections[0]
        .kept
        .iter()
        .map(|keeper| keeper.name.as_str())
        .collect();
    assert_eq!(names, ["notes", "base-1"]);
    assert_eq!(
        dry.collections[0].kept[0].workspace.as_ref(),
        Some(&made.id)
    );
    let wet: CollectionList = api.post(collect, json!({})).await;
    assert_eq!(wet.collections[0].deleted, 7);
    let member = api.member("grace@example.com").await;
    let problem = member.problem(Method::POST, collect, Some(json!({}))).await;
    is(&problem, Kind::Forbidden);
}

#[tokio::test]
async fn a_file_becomes_a_workspace() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let import = async |rest: &str, file: &'static str| {
        let path = format!("/api/v1/workspaces/import{rest}");
        api.upload(&path, file).await
    };
    // A byte of the scripted host's files is a GiB.
    let events: Vec<ImportEvent> =
        lines(import("?name=old", "a disk of twenty-six GiB..").await).await;
    let [
        ImportEvent::Progress { .. },
        ImportEvent::Made { workspace },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(
        (workspace.name.as_str(), workspace.size.disk_gib),
        ("old", 26)
    );
    assert_eq!(workspace.forked_from, None);
    let made: Workspace = api.get("/api/v1/workspaces/old?wait=ready").await;
    assert_eq!(made.state, WorkspaceState::Running);
    let told = world.host.state().machines[&made.id].spec.origin.clone();
    assert!(told.is_some_and(|origin| origin.is_import()));

    let unnamed: Vec<ImportEvent> = lines(import("", "small").await).await;
    let Some(ImportEvent::Made { workspace }) = unnamed.last() else {
        panic!("{unnamed:?}");
    };
    assert_eq!(
        (workspace.name.as_str(), workspace.size.disk_gib),
        ("imported", 16)
    );

    for (rest, file, kind) in [
        ("?name=old", "a disk", Kind::NameTaken),
        ("?name=Not+A+Name", "a disk", Kind::InvalidName),
        ("?vcpus=99", "a disk", Kind::SizeOverLimit),
        ("", "bad", Kind::InvalidRequest),
    ] {
        let problem = import(rest, file).await.json().await.unwrap();
        is(&problem, kind);
    }
    // What only the file tells comes at the end.
    let events: Vec<ImportEvent> =
        lines(import("?disk_gib=16", "a disk of twenty-six GiB..").await).await;
    match events.last() {
        Some(ImportEvent::Failed { problem }) => is(problem, Kind::InvalidField),
        other => panic!("{other:?}"),
    }
}
