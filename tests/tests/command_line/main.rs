//! Every command of the command line on one server, as a person and as a script meet it. No VM is needed.

mod copying;
mod running;
mod signing_in;
mod work;

use std::process::Stdio;

use anyhow::Context;
use control_api::workspaces::{Workspace, WorkspaceState};
use roost_tests::cli::{Said, command, roost};
use roost_tests::{Options, Server};
use serde_json::{Value, json};

/// The workspace that most of it is about.
const NAME: &str = "workshop";

#[tokio::test]
async fn every_command_does_what_it_says() -> anyhow::Result<()> {
    let server = Server::start(Options {
        process: true,
        ..Options::default()
    })
    .await?;
    without_a_workspace(&server).await?;
    signing_in::run(&server).await?;
    made(&server).await?;
    running::run(&server).await?;
    copying::run(&server).await?;
    work::run(&server).await?;
    told(&server).await?;
    ended(&server).await?;
    server.close().await
}

/// Ended well and complained about nothing.
#[track_caller]
fn fine(said: &Said) -> &str {
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    &said.stdout
}

/// The command failed with this code and said all of `words`, each once.
#[track_caller]
fn refused(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    assert!(said.stderr.starts_with("roost: "), "{said:?}");
    for word in words {
        assert_eq!(said.stderr.matches(word).count(), 1, "{word:?}: {said:?}");
    }
}

#[track_caller]
fn document(said: &Said) -> Value {
    serde_json::from_str(fine(said)).expect("one JSON document")
}

async fn without_a_workspace(server: &Server) -> anyhow::Result<()> {
    let api = server.api();
    let version = document(&roost(api, &["--json", "version"]).await?);
    let words = roost(api, &["version"]).await?;
    let number = version["version"].as_str().context("a version")?;
    assert_eq!(fine(&words), format!("roost {number}\n"));
    for shell in ["bash", "zsh", "fish"] {
        let said = roost(api, &["completions", shell]).await?;
        assert!(fine(&said).contains("port-forward"), "{shell}");
    }
    let doctor = command(api, &["--json", "doctor"])?
        .env("ROOST_DATA", server.data())
        .output()
        .await?;
    // 2 says that an isolation layer is off.
    assert!(matches!(doctor.status.code(), Some(0 | 2)), "{doctor:?}");
    let layers: Value = serde_json::from_slice(&doctor.stdout)?;
    assert!(layers["layers"].is_array(), "{layers}");
    assert_eq!(document(&roost(api, &["--json", "ls"]).await?), json!([]));
    // Whoever read has seen enough: quietly, and told by the code alone.
    for arguments in [&["ls"][..], &["--json", "ls"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let output = command(api, arguments)?
            .stdout(Stdio::from(writer))
            .stderr(Stdio::piped())
            .spawn()?
            .wait_with_output()
            .await?;
        assert_eq!(output.status.code(), Some(141), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    Ok(())
}

async fn made(server: &Server) -> anyhow::Result<()> {
    let api = server.api();
    let create = ["--json", "create", "--name", NAME, "--label", "kind=test"];
    let made: Workspace = serde_json::from_value(document(&roost(api, &create).await?))?;
    assert_eq!((made.state, made.ready), (WorkspaceState::Running, true));
    let other = roost(api, &["create", "--name", "gallery", "--detach"]).await?;
    assert!(other.stdout.starts_with("gallery is "), "{other:?}");
    let list = roost(api, &["ls", "--label", "kind=test"]).await?;
    let lines: Vec<Vec<&str>> = fine(&list)
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0][..2], ["NAME", "STATE"]);
    assert_eq!(lines[1][..2], [NAME, "running"]);
    assert_eq!(lines.len(), 2);
    let all = document(&roost(api, &["--json", "ls"]).await?);
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    // A name that is nearly right is proposed, whatever was to be done with it.
    for (arguments, code) in [
        (&["start", "workshpo"][..], 1),
        (&["stop", "workshpo"], 1),
        (&["rm", "workshpo"], 1),
        (&["logs", "workshpo"], 1),
        (&["open", "workshpo"], 1),
        (&["work", "list", "workshpo"], 1),
        (&["cp", "workshpo:x", "."], 1),
        (&["port-forward", "workshpo", "80"], 1),
        (&["exec", "workshpo", "--", "true"], 255),
        (&["shell", "workshpo"], 255),
    ] {
        let said = roost(api, arguments).await?;
        refused(&said, code, &["workshpo", "Did you mean workshop?"]);
    }
    let said = roost(api, &["start", "zebra"]).await?;
    refused(&said, 1, &["zebra", "`roost ls` lists yours."]);
    Ok(())
}

async fn told(server: &Server) -> anyhow::Result<()> {
    let api = server.api();
    let logs = roost(api, &["logs", NAME]).await?;
    assert!(fine(&logs).contains("Done"), "{logs:?}");
    let starts = document(&roost(api, &["--json", "logs", NAME]).await?);
    assert!(starts["starts"][0]["steps"].is_array(), "{starts}");
    let console = document(&roost(api, &["--json", "logs", NAME, "--console"]).await?);
    assert!(console["text"].is_string(), "{console}");
    // No browser is to be started by a test.
    let opened = command(api, &["--json", "open", NAME])?
        .env("PATH", "/nowhere")
        .output()
        .await?;
    let opened: Value = serde_json::from_slice(&opened.stdout)?;
    let url = opened["url"].as_str().context("an address")?;
    assert!(url.starts_with(api.url()) && url.contains(NAME), "{url}");
    Ok(())
}

async fn ended(server: &Server) -> anyhow::Result<()> {
    let api = server.api();
    let stopped = document(&roost(api, &["--json", "stop", NAME]).await?);
    assert_eq!(stopped["state"], "stopped");
    work::stopped(server).await?;
    let said = roost(api, &["exec", NAME, "--", "true"]).await?;
    refused(&said, 255, &["stopped", "Start it"]);
    let said = roost(api, &["cp", &format!("{NAME}:x"), "."]).await?;
    refused(&said, 1, &["stopped", "Start it"]);
    let started = document(&roost(api, &["--json", "start", NAME]).await?);
    assert_eq!(
        (&started["state"], &started["ready"]),
        (&json!("running"), &json!(true))
    );
    let gone = roost(api, &["--json", "rm", "--force", NAME, "gallery"]).await?;
    assert_eq!(document(&gone), json!({ "deleted": [NAME, "gallery"] }));
    assert_eq!(api.workspaces().await?, [], "rm waits until they are gone");
    Ok(())
}
