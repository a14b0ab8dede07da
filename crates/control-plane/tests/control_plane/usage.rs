//! Who takes how much, and what quotas stop and do not.

use std::collections::{BTreeMap, BTreeSet};

use control_api::identity::Me;
use control_api::points::Point;
use control_api::problem::Kind;
use control_api::usage::Usage;
use control_api::workspaces::{Workspace, WorkspaceState};
use fleet_api::usage::{Base, HostUsage, Share};
use model::WorkspaceId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, administrator, is};
use crate::world::{Running, World};

const GIB: u64 = 1 << 30;

async fn quota(admin: &Api, path: &str, quota: Value) {
    let path = format!("/api/v1/quotas/{path}");
    let set = admin.send(Method::PUT, &path, Some(quota)).await;
    assert_eq!(set.status(), 200);
}

async fn refused(api: &Api, method: Method, path: &str, body: Value) -> String {
    let problem = api.problem(method, path, Some(body)).await;
    is(&problem, Kind::OverQuota);
    problem.detail
}

#[tokio::test]
async fn every_byte_is_counted_once_for_each_who_has_a_part_in_it() {
    let world = World::new();
    let running = Running::new(&world).await;
    let ada = administrator(&running.control).await;
    let grace = ada.member("grace@example.com").await;
    let one = ada.create(json!({ "name": "one" })).await.id;
    let fork = ada.create(json!({ "name": "two" })).await.id;
    let other = grace.create(json!({ "name": "other" })).await.id;
    let set = |ids: &[&WorkspaceId]| ids.iter().map(|id| (*id).clone()).collect::<BTreeSet<_>>();
    let share = |ids: &[&WorkspaceId], bytes| Share {
        disks: set(ids),
        bytes,
    };
    world.host.state().usage = HostUsage {
        store: "the store".into(),
        shares: vec![
            share(&[&one], 1),
            share(&[&one, &fork], 10),
            share(&[&other], 100),
            share(&[&WorkspaceId::new("import-1")], 1000),
        ],
        unneeded: 10_000,
        local: BTreeMap::from([(one.clone(), 5), (other.clone(), 50)]),
        bases: vec![Base {
            name: "base-1".into(),
            bytes: 7,
            workspaces: set(&[&one, &fork, &other]),
        }],
    };
    let usage: Usage = ada.get("/api/v1/usage?everybody=true").await;
    let own = usage.own.used;
    assert_eq!((own.workspaces, own.logical), (2, 32 * GIB));
    assert_eq!((own.stored, own.physical, own.shared), (11, 5, 7));
    let figures: Vec<_> = usage
        .workspaces
        .iter()
        .map(|one| (one.name.as_str(), one.stored, one.alone, one.shared))
        .collect();
    assert_eq!(figures, [("one", 11, 1, 7), ("two", 10, 0, 7)]);
    let everybody = usage.everybody.unwrap();
    let all = everybody.organization.used;
    assert_eq!((all.stored, all.physical, all.shared), (111, 55, 7));
    assert_eq!((all.workspaces, everybody.unneeded), (3, 10_000));
    let users: Vec<_> = everybody
        .users
        .iter()
        .map(|user| (user.email.as_str(), user.account.used.stored))
        .collect();
    assert_eq!(users, [("grace@example.com", 100), ("ada@example.com", 11)]);

    let hers: Usage = grace.get("/api/v1/usage").await;
    assert_eq!((hers.own.used.stored, hers.everybody), (100, None));
    for (method, path, body) in [
        (Method::GET, "usage?everybody=true", None),
        (Method::PUT, "quotas/organization", Some(json!({}))),
    ] {
        let path = format!("/api/v1/{path}");
        is(&grace.problem(method, &path, body).await, Kind::Forbidden);
    }
    world.host.state().silent = true;
    let usage: Usage = ada.get("/api/v1/usage").await;
    assert_eq!(usage.missing_hosts, ["scripted"]);
    assert_eq!((usage.own.used.workspaces, usage.own.used.stored), (2, 0));
}

#[tokio::test]
async fn a_quota_stops_what_grows_and_nothing_else() {
    let world = World::new();
    let running = Running::new(&world).await;
    let ada = administrator(&running.control).await;
    let grace = ada.member("grace@example.com").await;
    let me: Me = grace.get("/api/v1/me").await;
    let hers = format!("users/{}", me.id);
    let made = grace.create(json!({ "name": "notes" })).await;
    let (all, notes) = ("/api/v1/workspaces", "/api/v1/workspaces/notes");
    let points = "/api/v1/workspaces/notes/points";

    quota(&ada, &hers, json!({ "workspaces": 1 })).await;
    let said = refused(&grace, Method::POST, all, json!({})).await;
    assert!(
        said.contains("You have 1 workspace, and your quota is 1"),
        "{said}"
    );
    assert!(said.contains("Delete one first"), "{said}");
    let fork = json!({ "fork": { "workspace": "notes" } });
    refused(&grace, Method::POST, all, fork).await;
    let import = grace.upload("/api/v1/workspaces/import", "a disk").await;
    assert_eq!(import.status(), 403);
    assert!(
        world.host.state().points.is_empty(),
        "no point was taken for it"
    );
    ada.create(json!({ "name": "of-another" })).await;

    quota(&ada, &hers, json!({ "logical": 40 * GIB })).await;
    let size = |disk| json!({ "size": { "vcpus": 1, "memory_mib": 1024, "disk_gib": disk } });
    let said = refused(&grace, Method::PATCH, notes, size(41)).await;
    assert!(
        said.contains("16 GiB together, 25 GiB more") && said.contains("40 GiB"),
        "{said}"
    );
    let grown = grace.send(Method::PATCH, notes, Some(size(40))).await;
    assert_eq!(grown.status(), 200);
    refused(&grace, Method::POST, all, json!({})).await;

    world.host.state().usage.shares = vec![Share {
        disks: BTreeSet::from([made.id.clone()]),
        bytes: 2 * GIB,
    }];
    quota(&ada, &hers, json!({ "stored": GIB })).await;
    let said = refused(&grace, Method::POST, points, json!({})).await;
    assert!(
        said.contains("You have 2 GiB in the store, and your quota is 1 GiB"),
        "{said}"
    );
    refused(&grace, Method::POST, all, json!({})).await;

    // Beyond all of it, whatever is there can be used, taken away and deleted.
    let none = json!({ "workspaces": 0, "logical": 0, "stored": 0 });
    quota(&ada, &hers, none.clone()).await;
    quota(&ada, "organization", none).await;
    world.host.state().points.push(point(7));
    let smaller =
        json!({ "name": "renamed", "size": { "vcpus": 2, "memory_mib": 512, "disk_gib": 40 } });
    let changed = grace.send(Method::PATCH, notes, Some(smaller)).await;
    assert_eq!(changed.status(), 200);
    let at = |rest: &str| format!("/api/v1/workspaces/renamed{rest}");
    let stopped: Workspace = grace.post(&at("/stop?wait=stopped"), json!({})).await;
    assert_eq!(stopped.state, WorkspaceState::Stopped);
    let back: Point = grace.post(&at("/points/7/restore"), json!({})).await;
    assert!(back.number > 7);
    let started: Workspace = grace.post(&at("/start?wait=ready"), json!({})).await;
    assert_eq!(started.state, WorkspaceState::Running);
    for rest in ["/disk", "/disk/files", "/points"] {
        let given = grace.send(Method::GET, &at(rest), None).await;
        assert_eq!(given.status(), 200, "{rest}");
    }
    let removed = grace.send(Method::DELETE, &at("/points/7"), None).await;
    assert_eq!(removed.status(), 204);
    let gone = grace.send(Method::DELETE, &at("?force=true"), None).await;
    assert_eq!(gone.status(), 202);
}

fn point(number: u64) -> fleet_api::points::Point {
    fleet_api::points::Point {
        number,
        name: "before".into(),
        kind: fleet_api::points::PointKind::Manual,
        taken_ms: 0,
        size: 16 * GIB,
        stored: 0,
        alone: 0,
        follows: None,
    }
}

#[tokio::test]
async fn the_organisation_has_a_quota_and_the_same_request_is_answered_again() {
    let world = World::new();
    let running = Running::new(&world).await;
    let ada = administrator(&running.control).await;
    let grace = ada.member("grace@example.com").await;
    quota(&ada, "organization", json!({ "workspaces": 2 })).await;
    let create = |key: &'static str| {
        let request = grace
            .request(Method::POST, "/api/v1/workspaces")
            .header("idempotency-key", key)
            .json(&json!({}));
        async { request.send().await.unwrap() }
    };
    ada.create(json!({})).await;
    // Two at once find room for one.
    let (one, other) = tokio::join!(create("one"), create("other"));
    let mut codes = [one.status().as_u16(), other.status().as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [201, 403]);
    let key = if one.status() == 201 { "one" } else { "other" };
    assert_eq!(create(key).await.status(), 201, "it was made before");
    let said = refused(&ada, Method::POST, "/api/v1/workspaces", json!({})).await;
    assert!(
        said.contains("All users together have 2 workspaces"),
        "{said}"
    );
    assert!(said.contains("the organisation's quota is 2"), "{said}");
    quota(&ada, "organization", json!({})).await;
    ada.create(json!({})).await;
    let nobody = "/api/v1/quotas/users/nobody";
    let problem = ada.problem(Method::PUT, nobody, Some(json!({}))).await;
    is(&problem, Kind::NotFound);
}
