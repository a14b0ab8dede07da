//! Points in time through the API: what is asked of the host, and what a fork is told to begin with.

use control_api::points::{Point, PointKind, PointList};
use control_api::problem::Kind;
use control_api::workspaces::{LargestFolders, Workspace, WorkspaceState};
use fleet_api::points::Origin;
use model::WorkspaceId;
use reqwest::Method;
use serde_json::json;

use crate::api::{administrator, is};
use crate::world::{Running, World};

#[tokio::test]
async fn points_are_taken_listed_gone_back_to_and_given_up() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api.create(json!({ "name": "notes" })).await;
    let at = |rest: &str| format!("/api/v1/workspaces/notes/points{rest}");

    let first: Point = api.post(&at(""), json!({ "name": " before " })).await;
    assert_eq!((first.number, first.name.as_str()), (1, "before"));
    let second: Point = api.post(&at(""), json!({})).await;
    assert_eq!(second.name, "By hand");
    for name in ["", "two\nlines", &"x".repeat(201)] {
        let body = Some(json!({ "name": name }));
        let problem = api.problem(Method::POST, &at(""), body).await;
        is(&problem, Kind::InvalidField);
        assert_eq!(problem.field.as_deref(), Some("name"));
    }

    let problem = api
        .problem(Method::POST, &at("/1/restore"), Some(json!({})))
        .await;
    is(&problem, Kind::WrongState);
    assert!(problem.detail.contains("Stop it first"), "{problem:?}");
    let stop = "/api/v1/workspaces/notes/stop?wait=stopped";
    let stopped: Workspace = api.post(stop, json!({})).await;
    assert_eq!(stopped.state, WorkspaceState::Stopped);
    let left: Point = api.post(&at("/1/restore"), json!({})).await;
    assert_eq!(left.kind, PointKind::Branch);
    let problem = api
        .problem(Method::POST, &at("/77/restore"), Some(json!({})))
        .await;
    is(&problem, Kind::NotFound);
    assert!(
        problem.detail.contains("snapshots list notes"),
        "{problem:?}"
    );

    let gone = api.send(Method::DELETE, &at("/2"), None).await;
    assert_eq!(gone.status(), 204);
    let list: PointList = api.get(&at("")).await;
    let numbers: Vec<u64> = list.points.iter().map(|point| point.number).collect();
    assert_eq!(numbers, [1, left.number]);

    // A fork begins where it was told to, on the host that has the disk, with the same repositories and size.
    let fork = json!({ "name": "other", "fork": { "workspace": "notes", "point": 1 } });
    let other = api.create(fork).await;
    assert_eq!(
        (other.state, &other.host),
        (WorkspaceState::Running, &made.host)
    );
    assert_eq!(other.forked_from.map(|from| from.number), Some(1));
    let origin = |number| Origin {
        workspace: WorkspaceId::new(made.id.as_str()),
        number,
    };
    let told = |workspace: &Workspace| {
        let state = world.host.state();
        state.machines[&workspace.id].spec.origin.clone()
    };
    let other: Workspace = api.get("/api/v1/workspaces/other").await;
    assert_eq!(told(&other), Some(origin(1)));

    // Of now: a point is taken for it, and the name is made up.
    let now = api
        .create(json!({ "fork": { "workspace": "notes" } }))
        .await;
    assert_eq!(now.name.as_str(), "notes-fork");
    assert_eq!(told(&now), Some(origin(left.number + 1)));
}

#[tokio::test]
async fn a_disk_grows_while_its_workspace_runs_and_does_not_shrink() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api.create(json!({ "name": "notes" })).await;
    let size = |disk| json!({ "size": { "vcpus": 1, "memory_mib": 1024, "disk_gib": disk } });
    let path = "/api/v1/workspaces/notes";
    let eats: LargestFolders = api.get("/api/v1/workspaces/notes/largest-folders").await;
    assert_eq!(eats.folders[0].path, "/workspaces/app/target");
    let larger = api.send(Method::PATCH, path, Some(size(40))).await;
    assert_eq!(larger.status(), 200);
    assert_eq!(world.host.state().machines[&made.id].spec.size.disk_gib, 40);
    let problem = api.problem(Method::PATCH, path, Some(size(20))).await;
    is(&problem, Kind::InvalidField);
    assert_eq!(problem.suggestion.as_deref(), Some("40"));
}

#[tokio::test]
async fn a_disk_and_its_files_are_given_out() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api.create(json!({ "name": "notes" })).await;
    let point: Point = api.post("/api/v1/workspaces/notes/points", json!({})).await;
    let get = async |rest: &str| {
        let path = format!("/api/v1/workspaces/notes/disk{rest}");
        let response = api.send(Method::GET, &path, None).await;
        let name = response.headers()["content-disposition"].to_str().unwrap();
        (name.to_owned(), response.text().await.unwrap())
    };
    let (name, content) = get(&format!("?point={}", point.number)).await;
    assert_eq!(name, "attachment; filename=\"notes-1.qcow2\"");
    assert_eq!(content, format!("{} Some(1) Image", made.id));
    let (name, content) = get("/files").await;
    assert_eq!(name, "attachment; filename=\"notes.tar.gz\"");
    assert!(
        content.contains("None Files { folder: \"/workspaces\" }"),
        "{content}"
    );
    for (rest, kind) in [
        ("?point=9", Kind::NotFound),
        ("/files?folder=workspaces", Kind::InvalidField),
        ("/files?folder=/workspaces/../etc", Kind::InvalidField),
    ] {
        let path = format!("/api/v1/workspaces/notes/disk{rest}");
        is(&api.problem(Method::GET, &path, None).await, kind);
    }
}

#[tokio::test]
async fn a_fork_that_cannot_be_is_refused_before_anything_is_made() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    api.create(json!({ "name": "notes" })).await;
    world.host.state().larger_gib = 4;
    let _: Point = api.post("/api/v1/workspaces/notes/points", json!({})).await;
    let smaller = json!({ "vcpus": 1, "memory_mib": 1024, "disk_gib": 16 });
    let cases = [
        (
            json!({ "fork": { "workspace": "nothing" } }),
            Kind::NotFound,
        ),
        (
            json!({ "fork": { "workspace": "notes", "point": 9 } }),
            Kind::NotFound,
        ),
        (
            json!({ "fork": { "workspace": "notes" }, "repository": "https://a.b/c" }),
            Kind::InvalidField,
        ),
        (
            json!({ "fork": { "workspace": "notes", "point": 1 }, "size": smaller }),
            Kind::InvalidField,
        ),
    ];
    for (body, kind) in cases {
        let problem = api
            .problem(Method::POST, "/api/v1/workspaces", Some(body))
            .await;
        is(&problem, kind);
    }
    let list: serde_json::Value = api.get("/api/v1/workspaces").await;
    assert_eq!(list["workspaces"].as_array().unwrap().len(), 1);
}
