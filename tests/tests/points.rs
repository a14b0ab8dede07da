//! Points in time of a disk, as a person has them on the command line.

use std::process::Command;

use control_api::points::{Point, PointList};
use control_api::workspaces::Workspace;
use roost_tests::api::empty;
use roost_tests::cli::{Said, roost};
use roost_tests::{Options, Server};

const FILE: &str = "/workspaces/notes/file";

#[track_caller]
fn fine(said: &Said) -> &str {
    assert_eq!(said.code, 0, "{said:?}");
    &said.stdout
}

async fn shell(server: &Server, workspace: &str, script: &str) -> anyhow::Result<String> {
    let said = roost(server.api(), &["exec", workspace, "--", "sh", "-c", script]).await?;
    Ok(fine(&said).trim().to_owned())
}

/// A point of a workspace that runs as a disk, and the files of one that does not: other programs read both.
async fn given_out(server: &Server, point: u64) -> anyhow::Result<()> {
    let api = server.api();
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (disk, files) = (path("notes.qcow2"), path("other.tar.gz"));
    let point = point.to_string();
    let exported = roost(
        api,
        &["snapshots", "export", "notes", &point, "--output", &disk],
    )
    .await?;
    fine(&exported);
    let run = |program: &str, arguments: &[&str]| -> anyhow::Result<String> {
        let output = Command::new(program).args(arguments).output()?;
        anyhow::ensure!(output.status.success(), "{program}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    run("qemu-img", &["check", &disk])?;

    fine(&roost(api, &["stop", "other"]).await?);
    let archived = roost(api, &["snapshots", "files", "other", "--output", &files]).await?;
    fine(&archived);
    let shown = run("tar", &["-xOzf", &files, "workspaces/notes/file"])?;
    assert_eq!(shown.trim(), "second");
    Ok(())
}

#[tokio::test]
async fn a_point_is_taken_gone_back_to_and_forked_on_the_command_line() -> anyhow::Result<()> {
    let server = Server::start(Options::default()).await?;
    let api = server.api();
    server.running(&empty("notes")).await?;
    let none = roost(api, &["snapshots", "list", "notes"]).await?;
    assert!(fine(&none).contains("no points yet"), "{none:?}");
    shell(&server, "notes", &format!("echo first > {FILE}; sync")).await?;
    let taken = roost(
        api,
        &[
            "--json",
            "snapshots",
            "take",
            "notes",
            "--name",
            "the first",
        ],
    )
    .await?;
    let first: Point = serde_json::from_str(fine(&taken))?;
    shell(&server, "notes", &format!("echo second > {FILE}; sync")).await?;

    let refused = roost(api, &["snapshots", "restore", "notes", "the first"]).await?;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("--stop"), "{refused:?}");
    let back = roost(
        api,
        &["snapshots", "restore", "notes", "the first", "--stop"],
    )
    .await?;
    assert!(fine(&back).contains("notes is running"), "{back:?}");
    assert_eq!(
        shell(&server, "notes", &format!("cat {FILE}")).await?,
        "first"
    );

    // What the step back left behind is there for a fork.
    let listed = roost(api, &["--json", "snapshots", "list", "notes"]).await?;
    let list: PointList = serde_json::from_str(fine(&listed))?;
    let left = list.points.last().expect("two points");
    assert_eq!(left.name, "Before going back to the first");
    assert_eq!(
        list.now.follows.map(|follows| follows.number),
        Some(first.number)
    );
    let words = roost(api, &["snapshots", "list", "notes"]).await?;
    assert!(fine(&words).contains("│ ○"), "{words:?}");
    let forked = roost(
        api,
        &[
            "--json",
            "snapshots",
            "fork",
            "notes",
            &left.number.to_string(),
            "--name",
            "other",
        ],
    )
    .await?;
    let fork: Workspace = serde_json::from_str(fine(&forked).lines().last().unwrap_or_default())
        .or_else(|_| serde_json::from_str(fine(&forked)))?;
    assert_eq!(fork.name.as_str(), "other");
    assert_eq!(
        shell(&server, "other", &format!("cat {FILE}")).await?,
        "second"
    );

    given_out(&server, left.number).await?;

    let removed = roost(api, &["snapshots", "rm", "notes", "the first"]).await?;
    fine(&removed);
    let gone = roost(api, &["snapshots", "show", "notes", "the first"]).await?;
    assert!(gone.stderr.contains("snapshots list notes"), "{gone:?}");
    server.close().await
}
