//! What every database must do the same.

use std::collections::BTreeMap;

use control_api::git::GitCredential;
use control_api::identity::{LinkPurpose, Role, Token};
use control_plane::store::links::LinkRow;
use control_plane::store::quotas::Holder;
use control_plane::store::starts::StepChange;
use control_plane::store::users::UserRow;
use control_plane::store::workspaces::{Changed, Created, IdempotencyKey, Report, WorkspaceRow};
use control_plane::store::{Store, StoreError};
use fleet_api::host::{
    CloneState, FailureKind, Observed, Repository, RepositoryStatus, StartFailure,
};
use fleet_api::points::Origin;
use model::quota::Quota;
use model::state::{Effect, Failure, FailureKind as Kind, Placement, StartOutcome, State};
use model::{Size, UserId, WorkspaceId, WorkspaceName};
use sqlx::Executor;

use crate::database::{Database, on_each, sqlite};

fn user(store: &Store, id: &str) -> UserRow {
    UserRow {
        id: UserId::new(id),
        organization: store.organization().clone(),
        email: format!("{id}@example.com"),
        name: "Ada Ü. 🦉".into(),
        role: Role::Administrator,
        password_hash: None,
        git_name: String::new(),
        git_email: String::new(),
        created_ms: 5,
    }
}

async fn with_user(store: &Store) -> UserRow {
    let user = user(store, "ada");
    assert!(store.add_user(&user).await.unwrap());
    user
}

fn workspace(owner: &UserRow, id: &str, name: &str) -> WorkspaceRow {
    WorkspaceRow {
        id: WorkspaceId::new(id),
        organization: owner.organization.clone(),
        owner: owner.id.clone(),
        name: WorkspaceName::parse(name).unwrap(),
        generation: 1,
        state: State::new(10),
        detail: String::new(),
        host: None,
        observed: None,
        repository: Some(Repository {
            url: "https://a.b/c".into(),
            branch: Some("main".into()),
            folder: "c".into(),
        }),
        origin: Some(Origin {
            workspace: WorkspaceId::new("another"),
            number: 3,
        }),
        size: Size::default(),
        labels: BTreeMap::from([("team".into(), "ü".into())]),
        tags: vec!["one".into()],
        report: None,
        needs_credentials: None,
        created_ms: 10,
        changed_ms: 10,
        used_ms: None,
    }
}

const BEGIN: [Effect; 1] = [Effect::BeginStart { epoch: 1 }];

#[tokio::test]
async fn users_links_sessions_and_tokens() {
    on_each(async |database: Database| {
        let store = database.open().await;
        assert!(!store.has_users().await.unwrap());
        let ada = with_user(&store).await;
        assert!(
            !store
                .add_user(&UserRow {
                    id: UserId::new("other"),
                    ..ada.clone()
                })
                .await
                .unwrap()
        );
        assert_eq!(
            store.user_by_email("ada@example.com").await.unwrap(),
            Some(ada.clone())
        );
        assert_eq!(store.user(&UserId::new("nobody")).await.unwrap(), None);
        assert_eq!(store.users().await.unwrap(), std::slice::from_ref(&ada));

        store
            .add_session("s1", "hash1", &ada.id, 10, 100)
            .await
            .unwrap();
        store
            .add_session("s2", "hash2", &ada.id, 10, 100)
            .await
            .unwrap();
        assert_eq!(
            store.session("hash1", 99).await.unwrap().unwrap().user,
            ada.id
        );
        assert_eq!(
            store.session("hash1", 100).await.unwrap(),
            None,
            "it has expired"
        );
        store.extend_session("s1", 50, 200).await.unwrap();
        assert!(store.session_exists("s1", 150).await.unwrap());
        store
            .set_password(&ada.id, "$argon2id$x", Some("s1"))
            .await
            .unwrap();
        assert!(store.has_users().await.unwrap());
        assert!(store.session_exists("s1", 60).await.unwrap());
        assert!(
            !store.session_exists("s2", 60).await.unwrap(),
            "a new password ends the others"
        );
        store.end_session("s1").await.unwrap();
        assert_eq!(store.session("hash1", 60).await.unwrap(), None);

        let link = LinkRow {
            purpose: LinkPurpose::PasswordReset,
            user: Some(ada.id.clone()),
            created_ms: 1,
            expires_ms: 50,
        };
        store.add_link("old", &link).await.unwrap();
        store.add_link("new", &link).await.unwrap();
        assert_eq!(
            store.link("old", 10).await.unwrap(),
            None,
            "a newer link replaces it"
        );
        assert_eq!(store.link("new", 10).await.unwrap(), Some(link.clone()));
        assert_eq!(store.link("new", 50).await.unwrap(), None);
        let used = tokio::join!(store.use_link("new"), store.use_link("new"));
        assert!(used.0.unwrap() != used.1.unwrap(), "one of two uses it");

        let token = Token {
            id: "t".into(),
            name: "ci".into(),
            created_ms: 1,
            expires_ms: Some(100),
            used_ms: None,
        };
        store.add_token(&ada.id, "hash", &token).await.unwrap();
        assert_eq!(store.tokens(&ada.id).await.unwrap(), [token]);
        assert!(store.token("hash", 99).await.unwrap().is_some());
        assert!(store.token("hash", 100).await.unwrap().is_none());
        store.use_token("t", 77).await.unwrap();
        assert_eq!(store.tokens(&ada.id).await.unwrap()[0].used_ms, Some(77));
        assert!(
            !store
                .delete_token(&UserId::new("other"), "t")
                .await
                .unwrap()
        );
        store.forget_expired(100, 0).await.unwrap();
        assert!(
            !store.delete_token(&ada.id, "t").await.unwrap(),
            "it was forgotten"
        );
    })
    .await;
}

#[tokio::test]
async fn credentials_settings_and_the_audit_log() {
    on_each(async |database: Database| {
        let store = database.open().await;
        let ada = with_user(&store).await;
        let credential = GitCredential {
            id: "c1".into(),
            authority: "a.b".into(),
            path_prefix: String::new(),
            username: "git".into(),
            created_ms: 1,
            used_ms: None,
        };
        let sealed = [0, 255, 7];
        assert_eq!(
            store
                .set_credential(&ada.id, &credential, &sealed)
                .await
                .unwrap(),
            "c1"
        );
        let again = GitCredential {
            id: "c2".into(),
            username: "me".into(),
            ..credential.clone()
        };
        assert_eq!(
            store.set_credential(&ada.id, &again, &[1]).await.unwrap(),
            "c1",
            "replaced"
        );
        let found = store.credentials(&ada.id).await.unwrap();
        assert_eq!(
            found,
            [(
                GitCredential {
                    id: "c1".into(),
                    ..again
                },
                vec![1]
            )]
        );
        assert!(store.delete_credential(&ada.id, "c1").await.unwrap());

        assert_eq!(store.setting(&ada.id, "settings").await.unwrap().version, 0);
        assert_eq!(
            store
                .save_setting(&ada.id, "settings", Some(1), "{}")
                .await
                .unwrap(),
            Err(0)
        );
        assert_eq!(
            store
                .save_setting(&ada.id, "settings", Some(0), "{}")
                .await
                .unwrap(),
            Ok(1)
        );
        assert_eq!(
            store
                .save_setting(&ada.id, "settings", Some(0), "x")
                .await
                .unwrap(),
            Err(1)
        );
        assert_eq!(
            store
                .save_setting(&ada.id, "settings", None, "y")
                .await
                .unwrap(),
            Ok(2)
        );
        assert_eq!(store.setting(&ada.id, "settings").await.unwrap().text, "y");
        let race = tokio::join!(
            store.save_setting(&ada.id, "settings", Some(2), "a"),
            store.save_setting(&ada.id, "settings", Some(2), "b"),
        );
        let won = [race.0.unwrap(), race.1.unwrap()];
        assert_eq!(
            won.iter().filter(|saved| **saved == Ok(3)).count(),
            1,
            "{won:?}"
        );

        store
            .record(&ada.id, "workspace.create", "w", "demo", 9)
            .await
            .unwrap();
        let log = store.audit(10).await.unwrap();
        assert_eq!(
            (log.len(), log[0].action.as_str(), log[0].at_ms),
            (1, "workspace.create", 9)
        );
        let url = match database.url() {
            Some(url) => url,
            None => format!("sqlite://{}/roost.db", database.folder().display()),
        };
        let raw = sqlx::AnyPool::connect(&url).await.unwrap();
        for change in ["UPDATE audit SET action = 'x'", "DELETE FROM audit"] {
            let error = raw.execute(change).await.unwrap_err();
            assert!(error.to_string().contains("append-only"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_workspace_changes_by_compare_and_set() {
    on_each(async |database: Database| {
        let store = database.open().await;
        let ada = with_user(&store).await;
        let row = workspace(&ada, "w1", "demo");
        assert_eq!(
            store.create_workspace(&row, None, &BEGIN).await.unwrap(),
            Created::Done
        );
        assert_eq!(
            store.find_workspace("demo").await.unwrap(),
            Some(row.clone())
        );
        assert_eq!(store.find_workspace("w1").await.unwrap(), Some(row.clone()));
        assert_eq!(
            store.workspaces_under_way().await.unwrap(),
            std::slice::from_ref(&row.id)
        );

        let changed = WorkspaceRow {
            state: State::Running {
                at: Placement {
                    epoch: 1,
                    disk: true,
                },
                silent_since_ms: None,
            },
            host: Some("here".into()),
            observed: Some(Observed::Running {
                epoch: 1,
                clone: CloneState::Ready,
                unresponsive: false,
            }),
            report: Some(Report {
                repositories: vec![RepositoryStatus {
                    path: "/workspaces/c".into(),
                    branch: "main".into(),
                    uncommitted: 2,
                    unpushed: 0,
                    stashes: 0,
                    no_remote: false,
                    error: None,
                }],
                seen_ms: 20,
            }),
            needs_credentials: Some("a.b".into()),
            changed_ms: 20,
            ..row.clone()
        };
        let end = Effect::EndStart {
            epoch: 1,
            outcome: StartOutcome::Running,
        };
        let done = store.change_workspace(&changed, &[end], 20).await.unwrap();
        assert_eq!(done, Changed::Done);
        let expected = WorkspaceRow {
            generation: 2,
            ..changed.clone()
        };
        assert_eq!(
            store.workspace(&row.id).await.unwrap(),
            Some(expected.clone())
        );
        assert_eq!(
            store.change_workspace(&changed, &[], 21).await.unwrap(),
            Changed::Conflict
        );
        let race = tokio::join!(
            store.change_workspace(&expected, &[], 22),
            store.change_workspace(&expected, &[], 22),
        );
        let won = [race.0.unwrap(), race.1.unwrap()];
        assert_eq!(
            won.iter()
                .filter(|change| **change == Changed::Done)
                .count(),
            1,
            "{won:?}"
        );
        assert!(store.workspaces_under_way().await.unwrap().is_empty());
        store.touch_workspace(&row.id, 33).await.unwrap();
        assert_eq!(
            store.workspace(&row.id).await.unwrap().unwrap().used_ms,
            Some(33)
        );

        // What was saved is there when it is opened again.
        store.close().await;
        let store = database.open().await;
        assert_eq!(
            store.workspace(&row.id).await.unwrap().unwrap().generation,
            3
        );
        let last = store.workspace(&row.id).await.unwrap().unwrap();
        let purged = store
            .change_workspace(&last, &[Effect::Purge], 40)
            .await
            .unwrap();
        assert_eq!(purged, Changed::Done);
        assert_eq!(store.workspace(&row.id).await.unwrap(), None);
        assert_eq!(
            store.starts(&row.id).await.unwrap(),
            [],
            "its timelines are gone with it"
        );
    })
    .await;
}

#[tokio::test]
async fn a_name_is_never_another_workspaces() {
    on_each(async |database: Database| {
        let store = database.open().await;
        let ada = with_user(&store).await;
        let first = workspace(&ada, "w1", "demo");
        let second = workspace(&ada, "w2", "demo");
        let race = tokio::join!(
            store.create_workspace(&first, None, &BEGIN),
            store.create_workspace(&second, None, &BEGIN),
        );
        let won = [race.0.unwrap(), race.1.unwrap()];
        assert_eq!(
            won.iter().filter(|made| **made == Created::Done).count(),
            1,
            "{won:?}"
        );
        assert!(won.contains(&Created::NameTaken), "{won:?}");

        let mut row = store.find_workspace("demo").await.unwrap().unwrap();
        row.name = WorkspaceName::parse("renamed").unwrap();
        assert_eq!(
            store.change_workspace(&row, &[], 20).await.unwrap(),
            Changed::Done
        );
        let third = workspace(&ada, "w3", "demo");
        let made = store.create_workspace(&third, None, &BEGIN).await.unwrap();
        assert_eq!(made, Created::NameTaken, "the old name stays reserved");
        let third = workspace(&ada, "w3", "third");
        assert_eq!(
            store.create_workspace(&third, None, &BEGIN).await.unwrap(),
            Created::Done
        );
        let stolen = WorkspaceRow {
            name: WorkspaceName::parse("demo").unwrap(),
            ..third
        };
        assert_eq!(
            store.change_workspace(&stolen, &[], 20).await.unwrap(),
            Changed::NameTaken
        );
        row = store.find_workspace("renamed").await.unwrap().unwrap();
        row.name = WorkspaceName::parse("demo").unwrap();
        let back = store.change_workspace(&row, &[], 21).await.unwrap();
        assert_eq!(back, Changed::Done, "its own old name is free for it");
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_makes_one_workspace() {
    on_each(async |database: Database| {
        let store = database.open().await;
        let ada = with_user(&store).await;
        let key = IdempotencyKey {
            key: "k".into(),
            request_hash: "h".into(),
        };
        let first = workspace(&ada, "w1", "demo");
        let second = workspace(&ada, "w2", "demo-2");
        let race = tokio::join!(
            store.create_workspace(&first, Some(&key), &BEGIN),
            store.create_workspace(&second, Some(&key), &BEGIN),
        );
        let won = [race.0.unwrap(), race.1.unwrap()];
        assert_eq!(
            won.iter().filter(|made| **made == Created::Done).count(),
            1,
            "{won:?}"
        );
        assert_eq!(store.workspace_ids().await.unwrap().len(), 1);
        let other = IdempotencyKey {
            request_hash: "other".into(),
            ..key.clone()
        };
        let made = store
            .create_workspace(&workspace(&ada, "w3", "x"), Some(&other), &BEGIN)
            .await;
        assert_eq!(made.unwrap(), Created::KeyReused);
        store.forget_expired(0, 10).await.unwrap();
        let made = store
            .create_workspace(&workspace(&ada, "w3", "x"), Some(&other), &BEGIN)
            .await;
        assert_eq!(made.unwrap(), Created::Done, "after a day it is forgotten");
    })
    .await;
}

#[tokio::test]
async fn a_timeline_is_kept_step_by_step() {
    on_each(async |database: Database| {
        let store = database.open().await;
        let ada = with_user(&store).await;
        let row = workspace(&ada, "w1", "demo");
        store.create_workspace(&row, None, &BEGIN).await.unwrap();
        let change = async |step: &str, at, change| {
            store
                .change_step(&row.id, 1, step, at, change)
                .await
                .unwrap()
                .unwrap()
        };
        change("boot", 10, StepChange::Began).await;
        let progress = |detail: &str| StepChange::Progress {
            detail: detail.into(),
            percent: Some(50),
        };
        change("boot", 11, progress("one")).await;
        change("boot", 12, progress("one")).await;
        let step = change("boot", 13, progress("two")).await;
        assert_eq!(
            (step.log.as_str(), step.detail.as_str()),
            ("one\ntwo\n", "two")
        );
        let failure = StartFailure {
            kind: FailureKind::GuestSilent,
            message: "it says nothing".into(),
            log: "kernel panic".into(),
        };
        let ended = StepChange::Ended {
            took_ms: 9,
            failure: Some(failure.clone()),
        };
        change("boot", 19, ended).await;
        let failure = Failure {
            kind: Kind::Host("guest-silent".into()),
            message: "it says nothing".into(),
            log: String::new(),
        };
        let end = Effect::EndStart {
            epoch: 1,
            outcome: StartOutcome::Failed(failure.clone()),
        };
        store.change_workspace(&row, &[end], 20).await.unwrap();
        let starts = store.starts(&row.id).await.unwrap();
        assert_eq!(starts.len(), 1);
        assert_eq!(
            (starts[0].outcome.as_str(), starts[0].ended_ms),
            ("failed", Some(20))
        );
        assert_eq!(starts[0].failure, Some(failure));
        assert_eq!(starts[0].steps[0].took_ms, Some(9));
        assert!(starts[0].steps[0].log.ends_with("kernel panic\n"));
        let long = "x".repeat(20_000);
        for line in ["a", "b", "c"] {
            change("clone", 21, progress(&format!("{line}{long}"))).await;
        }
        let start = store.start(&row.id, 1).await.unwrap().unwrap();
        let log = &start
            .steps
            .iter()
            .find(|step| step.step == "clone")
            .unwrap()
            .log;
        assert!(
            log.len() <= 32 * 1024 && log.starts_with('c'),
            "the first lines go"
        );
        let unknown = store
            .change_step(&row.id, 7, "boot", 1, StepChange::Began)
            .await
            .unwrap();
        assert_eq!(unknown, None);
    })
    .await;
}

#[tokio::test]
async fn several_first_starts_at_once_agree() {
    on_each(async |database: Database| {
        let ids: Vec<String> = (0..6)
            .map(|number| format!("organization {number}"))
            .collect();
        let opening = ids.iter().map(|id| database.open_as(id));
        let stores = futures::future::join_all(opening).await;
        for store in &stores {
            assert_eq!(store.organization(), stores[0].organization());
            assert!(!store.has_users().await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn data_of_a_newer_version_is_refused() {
    on_each(async |database: Database| {
        let store = database.open().await;
        store.close().await;
        let url = match database.url() {
            Some(url) => url,
            None => format!("sqlite://{}/roost.db", database.folder().display()),
        };
        let raw = sqlx::AnyPool::connect(&url).await.unwrap();
        let newer = match database.kind {
            "SQLite" => "INSERT INTO _sqlx_migrations VALUES (9999, 'future', CURRENT_TIMESTAMP, 1, x'00', 1)",
            _ => "INSERT INTO _sqlx_migrations VALUES (9999, 'future', now(), true, '\\x00', 1)",
        };
        raw.execute(newer).await.unwrap();
        raw.close().await;
        let opened = Store::open(&database.folder(), database.url().as_deref(), "o", 1).await;
        let error = opened.err().unwrap();
        assert!(matches!(error, StoreError::Newer { found: 9999, known: 3 }), "{error:?}");
        assert!(error.to_string().contains("newer version of Roost"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn sqlite_is_durable_and_an_odd_address_is_refused() {
    let database = sqlite();
    let store = database.open().await;
    with_user(&store).await;
    assert!(
        database.folder().join("roost.db-wal").exists(),
        "it writes ahead"
    );
    let opened = Store::open(&database.folder(), Some("mysql://x"), "o", 1).await;
    assert!(matches!(opened.err(), Some(StoreError::Address { .. })));
}

#[tokio::test]
async fn quotas_limit_what_is_added_up() {
    on_each(async |database: Database| {
        let store = database.open().await;
        let ada = with_user(&store).await;
        let (user, all) = (
            Holder::User(&ada.id),
            Holder::Organization(&ada.organization),
        );
        for holder in [user, all] {
            assert_eq!(store.quota(holder).await.unwrap(), Quota::default());
            let promised = store.promised(holder).await.unwrap();
            assert_eq!((promised.workspaces, promised.logical), (0, 0));
        }
        let row = workspace(&ada, "w1", "demo");
        store.create_workspace(&row, None, &BEGIN).await.unwrap();
        for holder in [user, all] {
            let promised = store.promised(holder).await.unwrap();
            let disk = row.size.disk_gib << 30;
            assert_eq!((promised.workspaces, promised.logical), (1, disk));
        }
        let mut quota = Quota {
            workspaces: Some(3),
            logical: None,
            stored: Some(5 << 40),
        };
        store.set_quota(user, &quota, 1).await.unwrap();
        assert_eq!(store.quota(user).await.unwrap(), quota);
        quota.workspaces = None;
        store.set_quota(user, &quota, 2).await.unwrap();
        assert_eq!(store.quota(user).await.unwrap(), quota);
        assert_eq!(store.quota(all).await.unwrap(), Quota::default());
        let listed = store.all_workspaces().await.unwrap();
        assert_eq!(listed.len(), 1);
    })
    .await;
}
