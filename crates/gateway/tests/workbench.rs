//! The workbench's origin: the way in, settings, state; and what each origin serves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod world;

use fleet_api::ticket::Door;
use gateway::Config;
use reqwest::{Method, StatusCode};
use world::World;

const CODE: &str = "code.localhost";

/// A world with a front end in a folder.
async fn world() -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    std::fs::create_dir(folder.path().join("assets")).unwrap();
    write("index.html", b"the dashboard");
    write("workbench.html", b"the editor");
    write("favicon.svg", b"<svg/>");
    write("assets/app-abc.js", b"plain script");
    write("assets/app-abc.js.br", b"packed script");
    let config = Config {
        web: Some(folder.path().into()),
        ..Config::default()
    };
    (World::with(config).await, folder)
}

fn own(world: &World, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request
        .header(
            "cookie",
            format!("roost_workbench={}", world.ticket("demo", Door::Workbench)),
        )
        .header("origin", format!("http://{}", world.authority(CODE)))
        .header("x-roost", "1")
}

#[tokio::test]
async fn a_one_time_ticket_becomes_a_cookie_for_this_workspace() {
    let (world, _folder) = world().await;
    let answer = world.navigate(CODE, "/w/demo/").send().await.unwrap();
    let sign_in = format!("http://{}/open/demo", world.authority("localhost"));
    assert_eq!(answer.headers()["location"], sign_in.as_str());

    let entry = format!(
        "/w/demo/?entry={}",
        world.ticket("demo", Door::WorkbenchEntry)
    );
    let answer = world.navigate(CODE, &entry).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()["location"], "/w/demo/");
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("; Path=/w/demo/; ") && cookie.contains("; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    assert!(!cookie.contains("Domain"), "{cookie}");

    let pair = cookie.split(';').next().unwrap();
    let answer = world
        .navigate(CODE, "/w/demo/")
        .header("cookie", pair)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "no-cache");
    assert_eq!(answer.text().await.unwrap(), "the editor");

    let again = world.navigate(CODE, &entry).send().await.unwrap();
    assert_eq!(
        again.headers()["location"],
        sign_in.as_str(),
        "a ticket was used twice"
    );
    let other = world
        .navigate(CODE, "/w/other/")
        .header("cookie", pair)
        .send()
        .await
        .unwrap();
    assert!(
        other.status().is_redirection(),
        "a cookie opened another workspace"
    );
    let slash = world.navigate(CODE, "/w/demo").send().await.unwrap();
    assert_eq!(slash.headers()["location"], "/w/demo/");
    let gone = world.navigate(CODE, "/w/nobody/").send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_state_is_told_with_where_things_are() {
    let (world, _folder) = world().await;
    let answer = world.get(CODE, "/w/demo/status").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(
        problem["sign_in_url"],
        format!("http://{}/open/demo", world.authority("localhost"))
    );

    let status: serde_json::Value = own(&world, world.get(CODE, "/w/demo/status"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(status["id"], "id-demo");
    assert_eq!(status["state"], "running");
    assert_eq!(status["folder"], "/workspaces/demo");
    assert_eq!(status["user"]["email"], "ada@example.org");
    assert_eq!(
        status["preview_url_template"],
        format!("http://{{port}}--demo.{}", world.authority("localhost"))
    );
    assert!(
        status["accelerator_note"]
            .as_str()
            .unwrap()
            .contains("emulation")
    );
}

#[tokio::test]
async fn only_the_own_page_starts_and_stops() {
    let (world, _folder) = world().await;
    let start = || world.request(Method::POST, CODE, "/w/demo/start");
    let cookie = format!("roost_workbench={}", world.ticket("demo", Door::Workbench));
    let page = format!("http://{}", world.authority(CODE));
    let preview = format!("http://{}", world.authority("1--demo.localhost"));
    for (origin, header) in [
        (None, true),
        (Some(&page), false),
        (Some(&preview), true),
        (Some(&"null".into()), true),
    ] {
        let mut request = start().header("cookie", &cookie);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        if header {
            request = request.header("x-roost", "1");
        }
        assert_eq!(
            request.send().await.unwrap().status(),
            StatusCode::FORBIDDEN,
            "{origin:?} {header}"
        );
    }
    assert!(world.directory.started.lock().unwrap().is_empty());
    assert_eq!(
        own(&world, start()).send().await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    assert_eq!(*world.directory.started.lock().unwrap(), ["id-demo"]);

    let stop = own(&world, world.request(Method::POST, CODE, "/w/demo/stop"))
        .send()
        .await
        .unwrap();
    assert_eq!(stop.status(), StatusCode::CONFLICT);
    let problem: serde_json::Value = stop.json().await.unwrap();
    assert_eq!(problem["detail"], "it cannot be stopped while it starts");
}

#[tokio::test]
async fn settings_are_saved_unless_somebody_else_did() {
    let (world, _folder) = world().await;
    let path = "/w/demo/settings/keybindings.json";
    let put = |text: &str, name: &'static str, value: &str| {
        own(&world, world.request(Method::PUT, CODE, path))
            .header(name, value)
            .body(text.to_owned())
            .send()
    };
    let absent = own(&world, world.get(CODE, path)).send().await.unwrap();
    assert_eq!(absent.status(), StatusCode::NO_CONTENT);
    let first = put("[1]", "if-none-match", "*").await.unwrap();
    assert_eq!(first.status(), StatusCode::NO_CONTENT);
    let version = first.headers()["etag"].to_str().unwrap().to_owned();
    let late = put("[2]", "if-none-match", "*").await.unwrap();
    assert_eq!(late.status(), StatusCode::PRECONDITION_FAILED);
    let second = put("[3]", "if-match", &version).await.unwrap();
    assert_eq!(second.status(), StatusCode::NO_CONTENT);
    let late = put("[4]", "if-match", &version).await.unwrap();
    assert_eq!(late.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(late.headers()["etag"], second.headers()["etag"]);
    let read = own(&world, world.get(CODE, path)).send().await.unwrap();
    assert_eq!(read.headers()["etag"], second.headers()["etag"]);
    assert_eq!(read.text().await.unwrap(), "[3]");
    let large = put(&"x".repeat(1 << 21), "if-match", &version)
        .await
        .unwrap();
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let bad = own(&world, world.get(CODE, "/w/demo/settings/a%2Fb"))
        .send()
        .await
        .unwrap();
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn files_that_never_change_are_kept_and_pages_are_asked_for_again() {
    let (world, _folder) = world().await;
    for host in ["localhost", CODE, "webview.localhost"] {
        let plain = world.get(host, "/assets/app-abc.js").send().await.unwrap();
        assert_eq!(
            plain.headers()["cache-control"],
            "public, max-age=31536000, immutable"
        );
        assert_eq!(
            plain.headers()["content-type"],
            "text/javascript; charset=utf-8"
        );
        assert_eq!(plain.headers()["x-content-type-options"], "nosniff");
        assert_eq!(plain.text().await.unwrap(), "plain script");
        let packed = world
            .get(host, "/assets/app-abc.js")
            .header("accept-encoding", "gzip, br;q=1.0")
            .send()
            .await
            .unwrap();
        assert_eq!(packed.headers()["content-encoding"], "br");
        assert_eq!(packed.text().await.unwrap(), "packed script");
        let missing = world.get(host, "/assets/old-def.js").send().await.unwrap();
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            missing.headers()["cache-control"],
            "no-store",
            "a browser would keep the gap"
        );
    }
    let page = world
        .navigate("localhost", "/workspaces/7")
        .send()
        .await
        .unwrap();
    let tag = page.headers()["etag"].clone();
    assert_eq!(page.headers()["cache-control"], "no-cache");
    assert_eq!(page.text().await.unwrap(), "the dashboard");
    let picture = world.get("localhost", "/missing.png").send().await.unwrap();
    assert_eq!(picture.status(), StatusCode::NOT_FOUND);
    let same = world
        .navigate("localhost", "/")
        .header("if-none-match", tag)
        .send()
        .await
        .unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    for path in [
        "/../Cargo.toml",
        "/assets/../../secret",
        "/assets/%2e%2e/index.html",
    ] {
        let answer = world.get(CODE, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn each_origin_serves_its_own_and_says_what_it_may_do() {
    let (world, _folder) = world().await;
    let cookie = format!("roost_workbench={}", world.ticket("demo", Door::Workbench));
    let editor = world
        .navigate(CODE, "/w/demo/")
        .header("cookie", cookie)
        .send()
        .await
        .unwrap();
    let dashboard = world.navigate("localhost", "/").send().await.unwrap();
    let policy = |answer: &reqwest::Response| {
        answer.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert!(
        policy(&dashboard).contains("script-src 'self';"),
        "{}",
        policy(&dashboard)
    );
    assert!(policy(&dashboard).contains("frame-ancestors 'none'"));
    assert!(policy(&editor).contains(&format!("ws://{}", world.authority(CODE))));
    for answer in [&editor, &dashboard] {
        assert!(
            !policy(answer).contains("unsafe-eval';")
                && policy(answer).contains("default-src 'none'")
        );
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(
            answer.headers()["cross-origin-opener-policy"],
            "same-origin"
        );
        assert!(answer.headers().contains_key("x-request-id"));
    }
    // The API is on the main origin only, the editor on its own only.
    let api = world
        .get("localhost", "/api/v1/workspaces")
        .send()
        .await
        .unwrap();
    assert!(
        api.text()
            .await
            .unwrap()
            .starts_with("control plane: /api/v1/workspaces")
    );
    for host in [CODE, "webview.localhost"] {
        let api = world.get(host, "/api/v1/workspaces").send().await.unwrap();
        assert_eq!(api.status(), StatusCode::NOT_FOUND, "{host}");
    }
    let elsewhere = world
        .get("localhost", "/w/demo/status")
        .send()
        .await
        .unwrap();
    assert_eq!(elsewhere.text().await.unwrap(), "the dashboard");
    // Only one spelling of each.
    let page = world
        .navigate("localhost", "/workbench.html")
        .send()
        .await
        .unwrap();
    assert_eq!(page.text().await.unwrap(), "the dashboard");
}

#[tokio::test]
async fn other_names_of_this_machine_lead_to_the_one() {
    let (world, _folder) = world().await;
    let answer = world
        .navigate("127.0.0.1", "/new?repo=x")
        .send()
        .await
        .unwrap();
    let main = format!("http://{}/new?repo=x", world.authority("localhost"));
    assert_eq!(answer.headers()["location"], main.as_str());
    let post = world
        .request(Method::POST, "127.0.0.1", "/api/v1/x")
        .send()
        .await
        .unwrap();
    assert_eq!(post.status(), StatusCode::MISDIRECTED_REQUEST);
    let token = world
        .get("127.0.0.1", "/api/v1/x")
        .header("authorization", "Bearer x");
    assert_eq!(token.send().await.unwrap().status(), StatusCode::OK);
    for host in [
        "evil.example",
        "evil.localhost",
        "10.0.0.1",
        "localhost.evil.example",
    ] {
        let answer = world
            .get(host, "/api/v1/x")
            .header("authorization", "Bearer x")
            .send();
        assert_eq!(
            answer.await.unwrap().status(),
            StatusCode::MISDIRECTED_REQUEST,
            "{host}"
        );
    }
}
