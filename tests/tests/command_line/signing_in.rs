//! `login`, `logout`, and tokens that are valid no longer.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use roost_tests::Server;
use roost_tests::api::{EMAIL, PASSWORD};
use roost_tests::cli::{Said, command, fed};

use super::{fine, refused};

/// As somebody whose settings are in a folder, without variables.
async fn person(
    server: &Server,
    home: &Path,
    arguments: &[&str],
    input: &str,
) -> anyhow::Result<Said> {
    let mut command = command(server.api(), arguments)?;
    command
        .env_remove("ROOST_URL")
        .env_remove("ROOST_TOKEN")
        .env("XDG_CONFIG_HOME", home);
    fed(&mut command, input).await
}

pub async fn run(server: &Server) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let home = home.path();
    let stranger = person(server, home, &["ls"], "").await?;
    refused(&stranger, 1, &["not signed in", "roost login"]);
    let login = |password| {
        let url = server.api().url();
        let arguments = ["login", url, "--email", EMAIL, "--password-stdin"];
        async move { person(server, home, &arguments, password).await }
    };
    let wrong = login("not it\n").await?;
    refused(&wrong, 1, &["password is wrong"]);
    let signed_in = login(&format!("{PASSWORD}\n")).await?;
    assert!(fine(&signed_in).contains(EMAIL), "{signed_in:?}");
    let file = home.join("roost/client.toml");
    assert_eq!(
        std::fs::metadata(&file)?.permissions().mode() & 0o777,
        0o600
    );
    fine(&person(server, home, &["ls"], "").await?);

    let saved = std::fs::read_to_string(&file)?;
    let signed_out = person(server, home, &["logout"], "").await?;
    assert_eq!(signed_out.code, 0, "{signed_out:?}");
    assert!(!file.exists());
    // A copy of it is of no use: the token was revoked, which every command says with what to do.
    std::fs::write(&file, saved)?;
    for (arguments, code) in [
        (&["ls"][..], 1),
        (&["start", "x"], 1),
        (&["cp", "x:y", "."], 1),
        (&["exec", "x", "--", "true"], 255),
    ] {
        let said = person(server, home, arguments, "").await?;
        refused(&said, code, &["token is not valid", "roost login"]);
    }
    Ok(())
}
