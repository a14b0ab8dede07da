//! The reconciler is killed before and after the effect of every call to the host; the next one goes on.

use std::time::Duration;

use control_api::workspaces::WorkspaceState;
use reqwest::Method;
use serde_json::json;

use crate::api::{Api, administrator, serve};
use crate::script::When;
use crate::world::{Running, World};

/// Calls of the life below: run, stop, run, delete.
const CALLS: usize = 4;

#[tokio::test]
async fn killed_anywhere_a_life_goes_on() {
    for at in 0..CALLS {
        for when in [When::Before, When::After] {
            live_with_a_kill(at, when).await;
        }
    }
}

async fn live_with_a_kill(at: usize, when: When) {
    let world = World::new();
    world.host.state().hang = Some((at, when));
    let mut running = Some(Running::new(&world).await);
    let control = |running: &Option<Running>| running.as_ref().unwrap().control.clone();
    let mut api = administrator(&control(&running)).await;
    let cookie = api.cookie.clone();
    let steps: [(Method, &str, Option<WorkspaceState>); 4] = [
        (
            Method::POST,
            "/api/v1/workspaces",
            Some(WorkspaceState::Running),
        ),
        (
            Method::POST,
            "/api/v1/workspaces/demo/stop",
            Some(WorkspaceState::Stopped),
        ),
        (
            Method::POST,
            "/api/v1/workspaces/demo/start",
            Some(WorkspaceState::Running),
        ),
        (Method::DELETE, "/api/v1/workspaces/demo?force=true", None),
    ];
    for (number, (method, path, state)) in steps.into_iter().enumerate() {
        let body = (number == 0).then(|| json!({ "name": "demo" }));
        let response = api.send(method, path, body).await;
        assert!(response.status().is_success(), "{at} {when:?}: {path}");
        if number == at {
            let hangs =
                tokio::time::timeout(Duration::from_secs(30), world.host.hanging.notified());
            hangs
                .await
                .unwrap_or_else(|_| panic!("{at} {when:?}: call {at} never came"));
            running.take().unwrap().kill().await;
            world.host.state().hang = None;
            running = Some(Running::new(&world).await);
            api = Api {
                cookie: cookie.clone(),
                ..serve(&control(&running)).await
            };
        }
        match state {
            Some(state) => {
                let found = api.until("demo", |found| found.state == state).await;
                let machines = world.host.state().machines.len();
                assert_eq!(machines, 1, "{at} {when:?}: {found:?}");
            }
            None => api.until_gone("demo").await,
        }
    }
    assert!(
        world.host.state().machines.is_empty(),
        "{at} {when:?}: nothing is left"
    );
}

#[tokio::test]
async fn a_restart_takes_up_what_runs_and_what_is_wanted() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let made = api.create(json!({ "name": "demo" })).await;
    let cookie = api.cookie.clone();
    running.kill().await;
    // Nobody is there when it ends.
    let failure = crate::script::clone_failure();
    world.host.show(
        &made.id,
        fleet_api::host::Observed::Failed { epoch: 1, failure },
    );
    let running = Running::new(&world).await;
    let api = Api {
        cookie,
        ..serve(&running.control).await
    };
    api.until("demo", |found| found.state == WorkspaceState::Failed)
        .await;
    assert_eq!(
        world.host.state().calls.len(),
        1,
        "it was not started again by itself"
    );
}

#[tokio::test]
async fn a_host_that_never_answers_does_not_keep_a_deletion() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    api.create(json!({ "name": "demo" })).await;
    world.host.state().silent = true;
    let response = api
        .send(Method::DELETE, "/api/v1/workspaces/demo?force=true", None)
        .await;
    assert!(response.status().is_success());
    world.wait_ms(model::state::DELETE_LIMIT_MS);
    api.until_gone("demo").await;
}
