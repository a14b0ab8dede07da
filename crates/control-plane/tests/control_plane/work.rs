//! Saved work over HTTP.

use control_api::identity::OneTimeLink;
use control_api::problem::Kind;
use control_api::work::{SaveOutcome, WorkList, WorkRestored, WorkSaved};
use control_api::workspaces::{DeletePreview, Workspace};
use fleet_api::host::HostError;
use fleet_api::work::{ListedWork, SavedWork, WorkListing, WorkName, WorkProblem};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::{administrator, is};
use crate::identity::join;
use crate::world::{Running, World};

const PATH: &str = "/workspaces/app";

fn listed(time: &str, branch: &str, reason: &str, bundle: Option<u64>) -> ListedWork {
    ListedWork {
        saved: SavedWork {
            name: WorkName {
                path: PATH.into(),
                reference: format!("refs/roost/wip/main/{time}"),
            },
            commit: "c0ffee".into(),
            branch: branch.into(),
            saved_ms: 1_790_000_000_123,
            reason: reason.into(),
            operation: String::new(),
            files: 2,
            bytes: 300,
            insertions: 10,
            deletions: 4,
        },
        bundle,
    }
}

fn name(reference: &str) -> Value {
    json!({ "path": PATH, "reference": format!("refs/roost/wip/main/{reference}") })
}

#[tokio::test]
async fn it_is_listed_saved_restored_and_taken_away() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api.create(json!({ "name": "shop" })).await;
    let empty: WorkList = api.get("/api/v1/workspaces/shop/work").await;
    assert_eq!((empty.work.len(), empty.problems.len()), (0, 0));

    world.host.state().work = WorkListing {
        saved: vec![
            listed("20260921T141320.123Z", "main", "stop", Some(8)),
            listed("20260921T141220.123Z", "", "my words", None),
        ],
        current: true,
        problems: vec![WorkProblem {
            path: String::new(),
            message: "one bundle is damaged".into(),
        }],
    };
    let list: WorkList = api.get("/api/v1/workspaces/shop/work").await;
    let [first, second] = &list.work[..] else {
        panic!("{list:?}");
    };
    assert_eq!(first.summary, "2 files (+10 −4) on main, before a stop");
    assert_eq!(
        (first.bundle_bytes, first.branch.as_deref()),
        (Some(8), Some("main"))
    );
    assert_eq!(
        second.summary,
        "2 files (+10 −4) on no branch, saved for: my words"
    );
    assert_eq!((&second.branch, &second.operation), (&None, &None));
    assert_eq!(list.problems[0].path, None);

    let saved: WorkSaved = api
        .post("/api/v1/workspaces/shop/work/save", json!({}))
        .await;
    let [app, busy] = &saved.repositories[..] else {
        panic!("{saved:?}");
    };
    assert_eq!(
        (app.outcome, app.files, app.stored, &app.reference),
        (
            SaveOutcome::Unchanged,
            2,
            true,
            &Some(first.reference.clone())
        )
    );
    assert_eq!(
        (busy.outcome, busy.error.as_deref()),
        (SaveOutcome::Failed, Some("git is at work"))
    );
    assert_eq!(app.left_out, ["large.iso"]);

    let restore = "/api/v1/workspaces/shop/work/restore";
    let restored: WorkRestored = api.post(restore, name("20260921T141320.123Z")).await;
    assert_eq!(restored.files, 3);
    assert!(restored.before.starts_with("refs/roost/wip/"));
    let last = world.host.state().calls.last().cloned();
    assert_eq!(last, Some(format!("restore {}", first.reference)));
    let missing = api
        .problem(Method::POST, restore, Some(name("other")))
        .await;
    is(&missing, Kind::NotFound);
    let unnamed = json!({ "path": PATH });
    let unnamed = api.problem(Method::POST, restore, Some(unnamed)).await;
    is(&unnamed, Kind::InvalidRequest);

    let bundle = |reference: &str| {
        format!("/api/v1/workspaces/shop/work/bundle?path={PATH}&reference={reference}")
    };
    for (at, length) in [(first, Some("8")), (second, None)] {
        let answer = api.send(Method::GET, &bundle(&at.reference), None).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let header = |name: &str| {
            answer
                .headers()
                .get(name)
                .map(|text| text.to_str().unwrap())
        };
        let stamp = at.reference.rsplit('/').next().unwrap();
        let file = format!("attachment; filename=\"shop-app-{stamp}.bundle\"");
        assert_eq!(header("content-disposition"), Some(&*file));
        assert_eq!(header("content-type"), Some("application/octet-stream"));
        assert_eq!(header("content-length"), length);
        assert_eq!(answer.bytes().await.unwrap(), "a bundle");
    }
    let missing = api.problem(Method::GET, &bundle("other"), None).await;
    is(&missing, Kind::NotFound);

    let preview: DeletePreview = api.get("/api/v1/workspaces/shop/delete-preview").await;
    assert_eq!(preview.saved_work, Some(2));
    let told = "2 states of uncommitted work that were saved are deleted too.";
    assert!(preview.summary.ends_with(told), "{preview:?}");

    let _: Workspace = api
        .post("/api/v1/workspaces/shop/stop?wait=stopped", json!({}))
        .await;
    let list: WorkList = api.get("/api/v1/workspaces/shop/work").await;
    assert_eq!(list.work.len(), 2);
    let body = Some(name("20260921T141320.123Z"));
    for (path, body) in [("save", Some(json!({}))), ("restore", body)] {
        let path = format!("/api/v1/workspaces/{}/work/{path}", made.id);
        let stopped = api.problem(Method::POST, &path, body).await;
        is(&stopped, Kind::WrongState);
        assert!(stopped.detail.contains("Start it"), "{stopped:?}");
    }
    let message = "a merge is under way: finish it, then restore".to_owned();
    world.host.state().refuse_work = Some(HostError::Conflict { message });
    let refused = api
        .problem(Method::GET, "/api/v1/workspaces/shop/work", None)
        .await;
    is(&refused, Kind::WrongState);
    assert_eq!(
        refused.detail,
        "A merge is under way: finish it, then restore."
    );
    // A host that does not say is no obstacle to a deletion.
    let preview: DeletePreview = api.get("/api/v1/workspaces/shop/delete-preview").await;
    assert_eq!(preview.saved_work, None);
}

#[tokio::test]
async fn it_is_nobody_elses() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    api.create(json!({ "name": "shop" })).await;
    let add = json!({ "email": "bob@example.com", "role": "member" });
    let link: OneTimeLink = api.post("/api/v1/users", add).await;
    let bob = join(&running.control, &link).await;
    let bundle = format!("bundle?path={PATH}&reference=refs/roost/wip/main/x");
    for (method, path) in [
        (Method::GET, ""),
        (Method::POST, "/save"),
        (Method::POST, "/restore"),
        (Method::GET, &*format!("/{bundle}")),
    ] {
        let path = format!("/api/v1/workspaces/shop/work{path}");
        let body = (method == Method::POST).then(|| name("x"));
        let refused = bob.problem(method, &path, body).await;
        is(&refused, Kind::NotFound);
        assert!(refused.detail.contains("shop"), "{refused:?}");
    }
}
