//! What a thief of the database, and other users of the host, get of a server: nothing to sign in with.

use std::os::unix::fs::PermissionsExt;

use control_api::workspaces::CreateWorkspace;
use roost_tests::api::PASSWORD;
use roost_tests::{Options, Server};
use serde_json::json;

const SECRET: &str = "git-secret-f3a91c77";

#[tokio::test]
async fn the_database_and_the_log_have_no_secret_and_others_read_no_key() -> anyhow::Result<()> {
    let server = Server::start(Options {
        process: true,
        ..Options::default()
    })
    .await?;
    let api = server.api();
    let credential = json!({ "authority": "git.example.com", "username": "ada", "secret": SECRET });
    let _: serde_json::Value = api.post("/git-credentials", &credential).await?;
    api.create(&CreateWorkspace::default()).await?;
    let mut looked = 0;
    for entry in std::fs::read_dir(server.data())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("roost.db") && name != "server.log" {
            continue;
        }
        looked += 1;
        let bytes = std::fs::read(&path)?;
        for secret in [SECRET, PASSWORD, api.token()] {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{} has {secret}", path.display());
        }
        // The search itself works: who signed in stands there.
        if name == "roost.db" || name == "roost.db-wal" {
            looked += usize::from(bytes.windows(3).any(|window| window == b"ada"));
        }
    }
    assert!(looked >= 3, "the database and the log were looked at");
    for folder in ["keys", "workspaces", "run"] {
        let mode = std::fs::metadata(server.data().join(folder))?
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{folder} is open to others: {mode:o}");
    }
    server.close().await
}
