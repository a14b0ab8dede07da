//! Everyday work in a guest beside the same work on the host: what the accelerator in use costs.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use guest_protocol::client::Session;
use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::guest::{session, shell};
use roost_tests::{Options, Server};
use serde_json::Value;
use tokio::process::Command;

use super::git::GitServer;
use super::report::{Bar, Row, Samples};
use super::world::{accelerator, timed};
use crate::generate::root;

/// Names and shell lines. `ORIGIN` is the repository's address; each line starts in the prepared folder and cleans
/// up what the last run of it left.
const WORK: &[(&str, &str)] = &[
    (
        "git clone of this repository",
        "rm -rf clone && git clone -q ORIGIN clone",
    ),
    (
        "npm ci, packages cached",
        "cd node && npm ci --offline --cache ../npm-cache --no-audit --no-fund",
    ),
    (
        "venv and pip install, wheels cached",
        "rm -rf venv && python3 -m venv venv && \
         venv/bin/pip -q install --no-index --find-links wheels pytest rich",
    ),
    ("gcc -O0 of SQLite", "gcc -O0 -c sqlite3.c -o sqlite3.o"),
    (
        "pytest, 400 tests",
        "venv/bin/python -m pytest -q test_work.py",
    ),
];

/// A package with some sixty others behind it.
const PACKAGE: &str =
    r#"{"name":"work","version":"1.0.0","private":true,"dependencies":{"express":"4.21.2"}}"#;

const TESTS: &str = "\
import io, json, re
import pytest
from rich.console import Console
from rich.table import Table

@pytest.mark.parametrize('size', range(1, 401))
def test_work(size):
    rows = [{'name': f'row {index}', 'value': index * size} for index in range(size)]
    assert json.loads(json.dumps(rows)) == rows
    table = Table('name', 'value')
    for row in rows[:20]:
        table.add_row(row['name'], str(row['value']))
    out = io.StringIO()
    Console(file=out, width=80).print(table)
    assert len(re.findall(r'row \\d+', out.getvalue())) == min(size, 20)
";

pub async fn run(runs: usize) -> anyhow::Result<(String, Vec<Row>)> {
    let git = GitServer::start().await?;
    let prepared = tempfile::tempdir()?;
    prepare(prepared.path()).await?;
    let config = git.config();
    let server = Server::start(Options {
        config,
        ..Options::default()
    })
    .await?;
    server.running(&empty("work")).await?;
    let guest = session(server.api(), "work", StreamClass::Bulk).await?;
    bring(&guest, prepared.path()).await?;
    let mut rows = Vec::new();
    for (name, line) in WORK {
        let line = line.replace("ORIGIN", git.url());
        let (mut there, mut here) = (Samples::default(), Samples::default());
        for _ in 0..runs {
            here.0.push(seconds(on_host(prepared.path(), &line)).await?);
            there.0.push(seconds(in_guest(&guest, &line)).await?);
        }
        rows.push(Row::compared(
            *name,
            "s",
            &there,
            Some(("the host", &here)),
            Bar::None,
        ));
    }
    let accelerator = accelerator(server.api()).await?;
    server.close().await?;
    Ok((accelerator, rows))
}

/// What the work needs is fetched and put into the folder, so that no registry is measured.
async fn prepare(folder: &Path) -> anyhow::Result<()> {
    let node = folder.join("node");
    std::fs::create_dir(&node)?;
    std::fs::write(node.join("package.json"), PACKAGE)?;
    std::fs::write(folder.join("test_work.py"), TESTS)?;
    std::fs::copy(sqlite().await?, folder.join("sqlite3.c"))?;
    on_host(
        folder,
        // With the addresses of the packages in the lock file, whatever the host's npm is configured to leave out:
        // without them `npm ci` asks the registry.
        "(cd node && npm install --cache ../npm-cache --no-audit --no-fund --no-omit-lockfile-registry-resolved && \
          rm -rf node_modules)",
    )
    .await?;
    on_host(
        folder,
        "python3 -m venv fetch && fetch/bin/pip -q download --only-binary :all: -d wheels pytest rich && rm -rf fetch",
    )
    .await
}

/// The amalgamation among this workspace's own dependencies.
pub async fn sqlite() -> anyhow::Result<std::path::PathBuf> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .await?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo names packages")?;
    let manifest = packages
        .iter()
        .find(|package| package["name"] == "libsqlite3-sys")
        .and_then(|package| package["manifest_path"].as_str())
        .context("SQLite is among the dependencies")?;
    Ok(Path::new(manifest)
        .with_file_name("sqlite3")
        .join("sqlite3.c"))
}

pub async fn bring(guest: &Session, folder: &Path) -> anyhow::Result<()> {
    let archive = Command::new("tar")
        .args(["c", "-C"])
        .arg(folder)
        .arg(".")
        .output()
        .await?;
    ensure!(archive.status.success(), "tar packed nothing");
    let workspace = guest.welcome().workspace.clone();
    let path = format!("{workspace}/work.tar");
    guest.put_file(&path, &archive.stdout).await?;
    in_guest(guest, "tar xf work.tar && rm work.tar").await
}

pub async fn in_guest(guest: &Session, line: &str) -> anyhow::Result<()> {
    output_in_guest(guest, line).await.map(drop)
}

/// What the line prints.
pub async fn output_in_guest(guest: &Session, line: &str) -> anyhow::Result<Vec<u8>> {
    let output = shell(guest, line).await?;
    ensure!(output.success(), "in the guest, {line}: {output:?}");
    Ok(output.stdout)
}

pub async fn on_host(folder: &Path, line: &str) -> anyhow::Result<()> {
    let output = Command::new("bash")
        .args(["-c", line])
        .current_dir(folder)
        .output()
        .await?;
    ensure!(output.status.success(), "on the host, {line}: {output:?}");
    Ok(())
}

async fn seconds(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<f64> {
    Ok(timed(work).await?.1 / 1e3)
}
