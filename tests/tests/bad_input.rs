//! Bad input, as a person meets it through the API and the command line. No VM is needed for any of it.

use anyhow::Context;
use control_api::problem::Kind;
use control_api::workspaces::{CreateWorkspace, WorkspaceState};
use futures::{SinkExt, StreamExt};
use guest_protocol::frames::StreamClass;
use roost_tests::api::Refused;
use roost_tests::cli::{Said, roost};
use roost_tests::guest::{session, shell, socket};
use roost_tests::{Options, Server};
use tokio_tungstenite::tungstenite::{Error, Message};

fn without_vms() -> Options {
    Options {
        process: true,
        ..Options::default()
    }
}

/// The command failed as one that was refused, and said all of `words`.
#[track_caller]
fn refused(said: &Said, words: &[&str]) {
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.starts_with("roost: "), "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "{word:?} is not in {said:?}");
    }
}

async fn problem(server: &Server, request: &CreateWorkspace) -> anyhow::Result<Refused> {
    match server.api().create(request).await {
        Ok(made) => panic!("accepted: {made:#?}"),
        Err(error) => error.downcast(),
    }
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_with_a_value_that_could() -> anyhow::Result<()> {
    let server = Server::start(without_vms()).await?;
    let named = |name: &str| CreateWorkspace {
        name: Some(name.into()),
        ..Default::default()
    };
    server.api().create(&named("shop")).await?;
    for (request, arguments, kind, field, words) in [
        (
            named("shop"),
            ["create", "--name", "shop"],
            Kind::NameTaken,
            "name",
            ["shop", "shop-2"],
        ),
        (
            named("My Shop"),
            ["create", "--name", "My Shop"],
            Kind::InvalidName,
            "name",
            ["a–z", "my-shop"],
        ),
        (
            CreateWorkspace {
                size: Some(model::Size {
                    vcpus: 99,
                    ..model::Size::default()
                }),
                ..Default::default()
            },
            ["create", "--cpus", "99"],
            Kind::SizeOverLimit,
            "size.vcpus",
            ["between 1 and 8, not 99", "limits"],
        ),
        (
            CreateWorkspace {
                repository: Some("file:///etc".into()),
                ..Default::default()
            },
            ["create", "--detach", "file:///etc"],
            Kind::InvalidRepository,
            "repository",
            ["path on your own machine", "Git server"],
        ),
    ] {
        let Refused(problem) = problem(&server, &request).await?;
        assert_eq!(problem.kind(), Some(kind), "{problem:?}");
        assert_eq!(problem.field.as_deref(), Some(field), "{problem:?}");
        for word in words {
            assert!(problem.detail.contains(word), "{word:?}: {problem:?}");
        }
        refused(&roost(server.api(), &arguments).await?, &words);
    }
    assert_eq!(server.api().workspaces().await?.len(), 1);
    server.close().await
}

#[tokio::test]
async fn a_tunnel_to_a_port_that_nobody_listens_on_is_refused() -> anyhow::Result<()> {
    let server = Server::start(without_vms()).await?;
    let made = server
        .api()
        .create(&CreateWorkspace {
            name: Some("quiet".into()),
            ..Default::default()
        })
        .await?;
    assert_eq!(made.state, WorkspaceState::Running, "{made:#?}");
    let words = ["nothing listens on port 9", "start a program"];
    let refused = socket(server.api(), "/tunnel/quiet/9").await;
    let Err(Error::Http(answer)) =
        refused.map_err(|error| error.downcast().expect("of the socket"))
    else {
        panic!("a tunnel to nothing was opened");
    };
    let said: serde_json::Value =
        serde_json::from_slice(answer.body().as_ref().context("a body")?)?;
    assert_eq!(said["type"], "urn:problem-type:roost:port-closed", "{said}");
    assert_eq!(said["title"], "Nothing listens on this port");
    let detail = said["detail"].as_str().unwrap_or_default().to_lowercase();
    for word in words {
        assert!(detail.contains(word), "{word:?}: {detail}");
    }
    server.close().await
}

#[tokio::test]
async fn a_client_that_sends_garbage_or_never_reads_hurts_only_itself() -> anyhow::Result<()> {
    let server = Server::start(without_vms()).await?;
    let name = "busy";
    server
        .api()
        .create(&CreateWorkspace {
            name: Some(name.into()),
            ..Default::default()
        })
        .await?;
    let steady = session(server.api(), name, StreamClass::Interactive).await?;
    let path = format!("/session/{name}/interactive");
    // Not a frame: the guest ends this session and says so in the close.
    let mut garbage = socket(server.api(), &path).await?;
    garbage.send(Message::Binary(vec![0xff; 64].into())).await?;
    let mut reason = None;
    while let Some(message) = garbage.next().await {
        if let Ok(Message::Close(Some(close))) = message {
            reason = Some(close.reason.to_string());
            break;
        }
    }
    let reason = reason.context("the session is closed with a reason")?;
    assert!(!reason.is_empty());
    // A text where bytes are spoken.
    let mut text = socket(server.api(), &path).await?;
    text.send(Message::Text("hello?".into())).await?;
    while let Some(Ok(message)) = text.next().await {
        if let Message::Close(Some(close)) = message {
            assert!(!close.reason.is_empty(), "{close:?}");
            break;
        }
    }
    // Connections that nobody reads from.
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(socket(server.api(), &path).await?);
    }
    let echoed = shell(&steady, "echo still here").await?;
    assert_eq!(echoed.stdout, b"still here\n");
    drop(silent);
    server.close().await
}
