//! Requests that are wrong before anybody has looked at what they want: each is answered with a problem.

use control_api::problem::Kind;
use reqwest::Method;
use serde_json::json;

use crate::api::{administrator, problem};
use crate::world::{Running, World};

#[tokio::test]
async fn wrong_requests_are_answered_with_problems() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let workspaces = "/api/v1/workspaces";

    let response = api.send(Method::PUT, workspaces, None).await;
    let allowed = response.headers()["allow"].to_str().unwrap().to_owned();
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "{allowed}"
    );
    assert_eq!(problem(response).await.kind(), Some(Kind::MethodNotAllowed));

    let long = json!({ "name": "x".repeat(300 * 1024) });
    let cases = [
        (api.request(Method::GET, "/api/v1/nowhere"), Kind::NotFound),
        (
            api.request(Method::GET, "/api/v1/workspaces?labl=a"),
            Kind::InvalidRequest,
        ),
        (
            api.request(Method::POST, workspaces).body("name=x"),
            Kind::UnsupportedMediaType,
        ),
        (
            api.request(Method::POST, workspaces).json(&long),
            Kind::TooLarge,
        ),
        (
            api.request(Method::POST, workspaces)
                .json(&json!({ "nam": "x" })),
            Kind::InvalidRequest,
        ),
    ];
    for (request, expected) in cases {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let problem = problem(response).await;
        assert_eq!(
            (problem.kind(), status),
            (Some(expected), expected.status()),
            "{problem:?}"
        );
    }
    let misspelt = api
        .problem(Method::GET, "/api/v1/workspaces?labl=a", None)
        .await;
    assert!(misspelt.detail.contains("labl"), "{}", misspelt.detail);
}
