//! Sign-in, tokens, users, credentials: who may do what.

use control_api::git::GitCredentialList;
use control_api::identity::{
    LinkInfo, LinkPurpose, Me, NewToken, OneTimeLink, TokenList, UserList,
};
use control_api::problem::Kind;
use control_api::server::{HostStatus, Server};
use control_api::workspaces::Remote;
use control_plane::ControlPlane;
use fleet_api::control::GitRemote;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::{self, Api, EMAIL, PASSWORD, administrator, cookie, good, is, serve};
use crate::world::{Running, World};

#[tokio::test]
async fn the_first_administrator_comes_by_a_link_that_works_once() {
    let world = World::new();
    let control = world.open().await;
    let mut api = serve(&control).await;
    let server: Server = api.get("/api/v1/server").await;
    assert!(server.needs_setup);
    assert_eq!(
        server.origin,
        format!("http://localhost:{}", api.address.port())
    );
    let old = control.first_link().await.unwrap().unwrap();
    let link = control.first_link().await.unwrap().unwrap();
    let check = |token: &str| json!({ "token": token });
    let stale = api
        .problem(
            Method::POST,
            "/api/v1/welcome/check",
            Some(check(&old.token)),
        )
        .await;
    is(&stale, Kind::LinkExpired);
    let info: LinkInfo = api.post("/api/v1/welcome/check", check(&link.token)).await;
    assert_eq!(
        (info.purpose, info.email),
        (LinkPurpose::FirstAdministrator, None)
    );

    let mut body = json!({ "token": link.token, "email": "nonsense", "password": PASSWORD });
    let wrong = api
        .problem(Method::POST, "/api/v1/welcome", Some(body.clone()))
        .await;
    is(&wrong, Kind::InvalidField);
    body["email"] = json!(" Ada@Example.com ");
    body["password"] = json!("short");
    is(
        &api.problem(Method::POST, "/api/v1/welcome", Some(body.clone()))
            .await,
        Kind::WeakPassword,
    );
    body["password"] = json!(PASSWORD);
    let response = api
        .send(Method::POST, "/api/v1/welcome", Some(body.clone()))
        .await;
    let header = response.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .to_owned();
    for part in ["roost_session=", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(header.contains(part), "{header}");
    }
    assert!(
        !header.contains("Secure") && !header.contains("Domain"),
        "{header}"
    );
    api.cookie = Some(cookie(&response));
    let me: Me = api.get("/api/v1/me").await;
    assert_eq!(me.email, EMAIL);
    is(
        &api.problem(Method::POST, "/api/v1/welcome", Some(body))
            .await,
        Kind::LinkExpired,
    );
    assert!(
        control.first_link().await.unwrap().is_none(),
        "there is somebody now"
    );
}

#[tokio::test]
async fn sign_in_and_out() {
    let world = World::new();
    let control = world.open().await;
    administrator(&control).await;
    let mut api = serve(&control).await;
    is(
        &api.problem(Method::GET, "/api/v1/me", None).await,
        Kind::NotSignedIn,
    );
    let body = json!({ "email": "ADA@example.com", "password": PASSWORD });
    let response = api.send(Method::POST, "/api/v1/session", Some(body)).await;
    api.cookie = Some(cookie(&response));
    let _: Me = api.get("/api/v1/me").await;
    let update = json!({ "git_name": "Ada L.", "git_email": "ada@lovelace.example" });
    let me: Me = good(api.send(Method::PATCH, "/api/v1/me", Some(update)).await).await;
    assert_eq!((me.name.as_str(), me.git_name.as_str()), ("Ada", "Ada L."));
    let gone = api.send(Method::DELETE, "/api/v1/session", None).await;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert!(
        gone.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    is(
        &api.problem(Method::GET, "/api/v1/me", None).await,
        Kind::NotSignedIn,
    );
}

#[tokio::test]
async fn under_https_the_cookie_is_bound_to_the_host() {
    let world = World::new();
    let control = world.open().await;
    administrator(&control).await;
    let api = serve(&control).await;
    let response = api
        .client
        .post(format!("http://{}/api/v1/session", api.address))
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "localhost")
        .header("origin", "https://localhost")
        .json(&json!({ "email": EMAIL, "password": PASSWORD }))
        .send()
        .await
        .unwrap();
    let header = response.headers()["set-cookie"].to_str().unwrap();
    assert!(
        header.starts_with("__Host-roost_session=") && header.ends_with("; Secure"),
        "{header}"
    );
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let world = World::new();
    let control = world.open().await;
    let mut api = administrator(&control).await;
    let own = api.origin.clone();
    for foreign in [
        None,
        Some("null"),
        Some("http://evil.example"),
        Some("http://3000--a.localhost"),
    ] {
        api.origin = foreign.map(Into::into);
        for (method, path) in [
            (Method::POST, "/api/v1/workspaces"),
            (Method::PATCH, "/api/v1/me"),
            (Method::DELETE, "/api/v1/session"),
            (Method::POST, "/api/v1/tokens"),
        ] {
            is(
                &api.problem(method, path, Some(json!({}))).await,
                Kind::OriginRefused,
            );
        }
        if foreign.is_some() {
            let body = json!({ "email": EMAIL, "password": PASSWORD });
            let refused = api
                .problem(Method::POST, "/api/v1/session", Some(body))
                .await;
            is(&refused, Kind::OriginRefused);
        }
    }
    api.origin = own;
    let _: NewToken = api.post("/api/v1/tokens", json!({ "name": "x" })).await;
}

#[tokio::test]
async fn passwords_cannot_be_tried_for_ever() {
    let world = World::new();
    let control = world.open().await;
    administrator(&control).await;
    let api = serve(&control).await;
    let wrong = || Some(json!({ "email": EMAIL, "password": "wrong" }));
    for _ in 0..8 {
        is(
            &api.problem(Method::POST, "/api/v1/session", wrong()).await,
            Kind::WrongPassword,
        );
    }
    let response = api.send(Method::POST, "/api/v1/session", wrong()).await;
    assert!(response.headers().contains_key("retry-after"));
    let limited = api::problem(response).await;
    is(&limited, Kind::TooManyAttempts);
    assert!(limited.retry_after_s.unwrap() > 200);
    let right = || Some(json!({ "email": EMAIL, "password": PASSWORD }));
    is(
        &api.problem(Method::POST, "/api/v1/session", right()).await,
        Kind::TooManyAttempts,
    );
    world.wait_ms(5 * 60_000);
    assert_eq!(
        api.send(Method::POST, "/api/v1/session", right())
            .await
            .status(),
        StatusCode::OK
    );
    let nobody = Some(json!({ "email": "nobody@example.com", "password": PASSWORD }));
    is(
        &api.problem(Method::POST, "/api/v1/session", nobody).await,
        Kind::WrongPassword,
    );
}

#[tokio::test]
async fn tokens_are_shown_once_and_end() {
    let world = World::new();
    let control = world.open().await;
    let admin = administrator(&control).await;
    let made: NewToken = admin
        .post(
            "/api/v1/tokens",
            json!({ "name": "ci", "expires_in_days": 1 }),
        )
        .await;
    assert!(made.secret.starts_with("roost_"));
    let mut program = serve(&control).await;
    program.origin = None;
    program.token = Some(made.secret.clone());
    let list = program
        .send(Method::GET, "/api/v1/tokens", None)
        .await
        .text()
        .await
        .unwrap();
    assert!(!list.contains(&made.secret));
    let list: TokenList = serde_json::from_str(&list).unwrap();
    assert!(list.tokens[0].used_ms.is_some());
    let database = std::fs::read(world.folder.path().join("roost.db")).unwrap();
    let wal = std::fs::read(world.folder.path().join("roost.db-wal")).unwrap_or_default();
    let kept = [database, wal].concat();
    assert!(
        !kept
            .windows(20)
            .any(|window| window == &made.secret.as_bytes()[6..26])
    );

    let by_password = json!({ "email": EMAIL, "password": PASSWORD, "name": "laptop" });
    program.token = None;
    let second: NewToken = program
        .post("/api/v1/tokens/by-password", by_password)
        .await;
    program.token = Some(made.secret);
    let path = format!("/api/v1/tokens/{}", second.token.id);
    let deleted = program.send(Method::DELETE, &path, None).await;
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    is(
        &program.problem(Method::DELETE, &path, None).await,
        Kind::NotFound,
    );
    world.wait_ms(24 * 3_600_000);
    is(
        &program.problem(Method::GET, "/api/v1/me", None).await,
        Kind::NotSignedIn,
    );
    is(
        &admin
            .problem(Method::POST, "/api/v1/tokens", Some(json!({ "name": " " })))
            .await,
        Kind::InvalidField,
    );
}

#[tokio::test]
async fn administrators_invite_and_members_cannot() {
    let world = World::new();
    let control = world.open().await;
    let admin = administrator(&control).await;
    let add = json!({ "email": "bob@example.com", "name": "Bob", "role": "member" });
    let link: OneTimeLink = admin.post("/api/v1/users", add.clone()).await;
    is(
        &admin
            .problem(Method::POST, "/api/v1/users", Some(add))
            .await,
        Kind::EmailTaken,
    );
    let mut bob = join(&control, &link).await;
    let users: UserList = admin.get("/api/v1/users").await;
    assert_eq!(users.users.iter().filter(|user| user.active).count(), 2);
    is(
        &bob.problem(Method::GET, "/api/v1/users", None).await,
        Kind::Forbidden,
    );
    let path = format!("/api/v1/users/{}/reset-password", link.user.id);
    is(
        &bob.problem(Method::POST, &path, Some(json!({}))).await,
        Kind::Forbidden,
    );

    let reset: OneTimeLink = admin.post(&path, json!({})).await;
    let token = reset.url.split('#').nth(1).unwrap();
    let body = json!({ "token": token, "password": "another password" });
    let response = bob.send(Method::POST, "/api/v1/welcome", Some(body)).await;
    is(
        &bob.problem(Method::GET, "/api/v1/me", None).await,
        Kind::NotSignedIn,
    );
    bob.cookie = Some(cookie(&response));
    let change = |current: &str| json!({ "current": current, "new": "a third password" });
    let wrong = bob
        .problem(Method::POST, "/api/v1/me/password", Some(change("guess")))
        .await;
    is(&wrong, Kind::WrongPassword);
    let done = bob
        .send(
            Method::POST,
            "/api/v1/me/password",
            Some(change("another password")),
        )
        .await;
    assert_eq!(done.status(), StatusCode::NO_CONTENT);
    let _: Me = bob.get("/api/v1/me").await;

    let (_, link) = control.reset_password("bob@example.com").await.unwrap();
    assert!(!link.token.is_empty());
    assert!(control.reset_password("nobody@example.com").await.is_err());
}

/// Somebody who was invited, signed in.
pub async fn join(control: &ControlPlane, link: &OneTimeLink) -> Api {
    let mut api = serve(control).await;
    let token = link.url.split('#').nth(1).unwrap();
    let body = json!({ "token": token, "password": "bob's password" });
    let response = api.send(Method::POST, "/api/v1/welcome", Some(body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    api.cookie = Some(cookie(&response));
    api
}

#[tokio::test]
async fn git_credentials_go_to_their_server_and_nowhere_else() {
    let world = World::new();
    let running = Running::new(&world).await;
    let api = administrator(&running.control).await;
    let workspace = api
        .create(json!({ "repository": "https://git.example/team/app" }))
        .await;
    let remote = |scheme: &str, authority: &str, path: &str| GitRemote {
        scheme: scheme.into(),
        authority: authority.into(),
        path: path.into(),
        write: false,
    };
    let desk = running.control.credentials();
    let team = remote("https", "git.example", "/team/app");
    assert_eq!(desk.credential(&workspace.id, &team).await, None);
    desk.rejected(&workspace.id, &team);
    let asked = api
        .until(workspace.id.as_str(), |found| {
            found.needs_credentials.is_some()
        })
        .await;
    assert_eq!(asked.needs_credentials.as_deref(), Some("git.example"));

    let set = |prefix: &str, secret: &str| json!({ "authority": "git.example", "path_prefix": prefix, "username": "ada", "secret": secret });
    let saved: Value = api
        .post("/api/v1/git-credentials", set("", "s3cret-for-all"))
        .await;
    assert!(saved.get("secret").is_none());
    let _: Value = api
        .post("/api/v1/git-credentials", set("/team", "s3cret-for-team"))
        .await;
    api.until(workspace.id.as_str(), |found| {
        found.needs_credentials.is_none()
    })
    .await;
    let found = desk.credential(&workspace.id, &team).await.unwrap();
    assert_eq!(
        (found.username.as_str(), found.secret.as_str()),
        ("ada", "s3cret-for-team")
    );
    let other = remote("https", "git.example", "/other");
    assert_eq!(
        desk.credential(&workspace.id, &other).await.unwrap().secret,
        "s3cret-for-all"
    );
    for elsewhere in [
        remote("http", "git.example", "/team/app"),
        remote("https", "git.example:8443", "/team/app"),
        remote("https", "evil.example", "/team/app"),
    ] {
        assert_eq!(
            desk.credential(&workspace.id, &elsewhere).await,
            None,
            "{elsewhere:?}"
        );
    }
    let text = api
        .send(Method::GET, "/api/v1/git-credentials", None)
        .await
        .text()
        .await
        .unwrap();
    assert!(!text.contains("s3cret"), "{text}");
    let list: GitCredentialList = serde_json::from_str(&text).unwrap();
    assert!(
        list.credentials
            .iter()
            .all(|credential| credential.used_ms.is_some())
    );
    for name in ["roost.db", "roost.db-wal"] {
        let kept = std::fs::read(world.folder.path().join(name)).unwrap_or_default();
        assert!(!kept.windows(6).any(|window| window == b"s3cret"), "{name}");
    }
    let path = format!("/api/v1/git-credentials/{}", list.credentials[0].id);
    assert_eq!(
        api.send(Method::DELETE, &path, None).await.status(),
        StatusCode::NO_CONTENT
    );
    let wrong = json!({ "authority": "https://", "secret": "x" });
    is(
        &api.problem(Method::POST, "/api/v1/git-credentials", Some(wrong))
            .await,
        Kind::InvalidField,
    );
}

#[tokio::test]
async fn host_and_remote_answer_the_create_dialog() {
    let world = World::new();
    let control = world.open().await;
    let api = administrator(&control).await;
    let host: HostStatus = api.get("/api/v1/host").await;
    assert_eq!(
        (host.accelerator.as_str(), host.layers[0].on),
        ("process", false)
    );
    assert!(
        host.preview_pattern
            .contains("{port}--{workspace}.localhost")
    );
    let remote: Remote = api
        .get("/api/v1/remote?url=git@github.com:rust-lang/Log.git")
        .await;
    assert_eq!(remote.url, "https://github.com/rust-lang/Log.git");
    assert_eq!(
        (remote.folder.as_str(), remote.suggested_name.as_str()),
        ("Log", "log")
    );
    let problem = api
        .problem(Method::GET, "/api/v1/remote?url=rust-lang/log", None)
        .await;
    is(&problem, Kind::InvalidRepository);
    assert_eq!(
        problem.suggestion.as_deref(),
        Some("https://github.com/rust-lang/log")
    );
    is(
        &api.problem(Method::GET, "/api/v1/remote", None).await,
        Kind::InvalidRequest,
    );
    is(
        &api.problem(Method::GET, "/api/v1/nowhere", None).await,
        Kind::NotFound,
    );
}
