//! `bench workbench`: from navigation to coloured text and to typing, and from a key to paint, beside
//! code-server; and what a browser sees of a terminal's echo. Measured by scripts in `web/bench`.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio::process::Command;

use super::report::{Bar, Row, Samples};

/// What a script prints at its end.
#[derive(Deserialize)]
struct Measured {
    accelerator: String,
    rows: Vec<Both>,
}

/// One quantity, ours and the peer's, in milliseconds.
#[derive(Deserialize)]
struct Both {
    name: String,
    ours: Vec<f64>,
    #[serde(default)]
    peer: Vec<f64>,
}

/// Ours over code-server's, from a fresh profile, from a second visit, and at each key.
fn bar(name: &str) -> Bar {
    match name {
        "key to paint" => Bar::RatioAtMost(0.9),
        _ => Bar::RatioAtMost(0.6),
    }
}

/// `runs` fresh profiles for each editor.
pub async fn run(runs: usize) -> anyhow::Result<(String, Vec<Row>)> {
    let measured = script("workbench.mjs", runs).await?;
    let rows = measured.rows.into_iter().map(|both| {
        let (ours, peer) = (Samples(both.ours), Samples(both.peer));
        let bar = bar(&both.name);
        Row::compared(both.name, "ms", &ours, Some(("code-server", &peer)), bar)
    });
    Ok((measured.accelerator, rows.collect()))
}

/// A key in the browser's terminal until its cell is on the screen; `keys` of them.
pub async fn terminal_echo(keys: usize) -> anyhow::Result<Vec<Row>> {
    let measured = script("terminal.mjs", keys).await?;
    let rows = measured.rows.into_iter().map(|both| {
        let name = format!("in a browser: {}", both.name);
        Row::new(name, "ms", &Samples(both.ours), Bar::None)
    });
    Ok(rows.collect())
}

async fn script(name: &str, count: usize) -> anyhow::Result<Measured> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web");
    if !web.join("node_modules").exists() {
        bail!("the front end's packages are missing: run ./dev bench, or npm ci in web");
    }
    let output = Command::new("node")
        .arg(format!("bench/{name}"))
        .arg(count.to_string())
        .current_dir(&web)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("running node")?;
    if !output.status.success() {
        bail!("web/bench/{name} ended with {}", output.status);
    }
    let text = String::from_utf8(output.stdout).context("reading what the script prints")?;
    let last = text.lines().rfind(|line| line.starts_with('{'));
    serde_json::from_str(last.context("the script printed no figures")?)
        .context("reading the script's figures")
}
