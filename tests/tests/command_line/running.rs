//! `exec`, `shell` and `port-forward`.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use roost_tests::cli::{command, fed, roost};
use roost_tests::pty::Terminal;
use roost_tests::{Server, until};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{NAME, fine, refused};

pub async fn run(server: &Server) -> anyhow::Result<()> {
    programs(server).await?;
    signals(server).await?;
    closed_pipes(server).await?;
    shells(server).await?;
    ports(server).await
}

/// `roost exec` of a shell line.
fn line(line: &str) -> [&str; 6] {
    ["exec", NAME, "--", "sh", "-c", line]
}

async fn programs(server: &Server) -> anyhow::Result<()> {
    let api = server.api();
    let said = roost(api, &line("echo out; echo err >&2; exit 7")).await?;
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (7, "out\n", "err\n")
    );
    let sorted = fed(
        &mut command(server.api(), &["exec", NAME, "--", "sort"])?,
        "b\na\n",
    )
    .await?;
    assert_eq!(fine(&sorted), "a\nb\n");
    let place = ["exec", NAME, "-C", "/tmp", "-e", "COLOUR=a=b", "--"];
    let said = roost(
        api,
        &[&place[..], &["sh", "-c", "pwd; echo $COLOUR"]].concat(),
    )
    .await?;
    assert_eq!(fine(&said), "/tmp\na=b\n");
    let killed = roost(api, &line("kill -9 $$")).await?;
    assert_eq!(killed.code, 137, "{killed:?}");
    let missing = roost(api, &["exec", NAME, "--", "no-such-program"]).await?;
    refused(&missing, 127, &["no-such-program"]);
    let data = roost(api, &["exec", NAME, "--", "/etc/passwd"]).await?;
    refused(&data, 126, &["/etc/passwd"]);
    let nowhere = roost(api, &["exec", NAME, "-C", "/no/folder", "--", "true"]).await?;
    refused(&nowhere, 255, &["/no/folder"]);
    let help = roost(api, &["exec", "--help"]).await?;
    for code in ["127", "126", "255"] {
        assert!(fine(&help).contains(code), "{code}: {help:?}");
    }
    Ok(())
}

/// What is sent to `roost exec` arrives at the program.
async fn signals(server: &Server) -> anyhow::Result<()> {
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
    ] {
        let script = format!("trap 'echo got {name}; exit 3' {name}; echo ready; sleep 60");
        let mut child = command(server.api(), &line(&script))?
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        assert_eq!(lines.next_line().await?.as_deref(), Some("ready"));
        let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
        kill_process(pid.context("it runs")?, signal)?;
        let got = format!("got {name}");
        assert_eq!(lines.next_line().await?, Some(got));
        assert_eq!(child.wait().await?.code(), Some(3), "{name}");
    }
    Ok(())
}

/// `roost exec … | head -1`: quiet, and the program in the workspace ends as well.
async fn closed_pipes(server: &Server) -> anyhow::Result<()> {
    let marker = format!("endless-{}", std::process::id());
    let mut child = command(server.api(), &["exec", NAME, "--", "yes", &marker])?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
    assert_eq!(lines.next_line().await?.as_deref(), Some(marker.as_str()));
    drop(lines);
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await??;
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    until("the program has ended", 30, async || {
        let running = std::fs::read_dir("/proc")?.flatten().any(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.starts_with(b"yes\0") && String::from_utf8_lossy(&line).contains(&marker)
        });
        Ok((!running).then_some(()))
    })
    .await
}

/// A shell in a terminal ends when it is told to, without one more key, and leaves the terminal as it was.
async fn shells(server: &Server) -> anyhow::Result<()> {
    let mut shell = command(server.api(), &["shell", NAME])?;
    let (mut terminal, mut child) = Terminal::run(&mut shell)?;
    // A prompt of whatever user; written so that its echo is not taken for it.
    terminal.press("PS1='re''ady> '\r")?;
    terminal.shows("ready> ").await?;
    let echo = |terminal: &Terminal| {
        tcgetattr(&terminal.slave).map(|settings| settings.local_modes.contains(LocalModes::ECHO))
    };
    assert!(!echo(&terminal)?, "keys are echoed by the workspace alone");
    terminal.press("echo $((6 * 7)); stty size\r")?;
    terminal.shows("42").await?;
    terminal.shows("24 80").await?;
    terminal.press("exit 5\r")?;
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
    assert_eq!(status.context("the shell ends")??.code(), Some(5));
    assert!(echo(&terminal)?, "the terminal is as it was");
    let missing = roost(server.api(), &["shell", NAME, "--", "no-such-program"]).await?;
    refused(&missing, 127, &["no-such-program"]);
    Ok(())
}

async fn ports(server: &Server) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let remote = format!("0:{port}");
    let mut child = command(server.api(), &["--json", "port-forward", NAME, &remote])?
        .stdout(Stdio::piped())
        .spawn()?;
    let mut out = BufReader::new(child.stdout.take().context("stdout is piped")?);
    let begun = document(&mut out).await?;
    let local = begun["local"].as_str().context("an address")?.to_owned();
    let mut here = TcpStream::connect(&local).await?;
    let (mut there, _) = listener.accept().await?;
    here.write_all(b"to the workspace").await?;
    let mut heard = [0; 16];
    there.read_exact(&mut heard).await?;
    assert_eq!(&heard, b"to the workspace");
    there.write_all(b"and back").await?;
    drop(there);
    let mut answer = String::new();
    here.read_to_string(&mut answer).await?;
    assert_eq!(answer, "and back");

    // Nobody listens any more: each connection is closed, and the reason told.
    drop(listener);
    let mut refused = TcpStream::connect(&local).await?;
    assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0);
    let told = document(&mut out).await?;
    assert_eq!(told["remote"], port, "{told}");
    let reason = told["refused"].as_str().context("a reason")?;
    assert!(reason.contains("othing listens on port"), "{reason}");
    child.kill().await?;

    let mut child = command(server.api(), &["port-forward", NAME, &remote])?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut out = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
    let begun = out.next_line().await?.context("a line")?;
    let local = begun.split(' ').next().unwrap_or_default();
    let from = TcpStream::connect(local).await?.local_addr()?;
    let mut errors = BufReader::new(child.stderr.take().context("stderr is piped")?).lines();
    let line = errors.next_line().await?.context("a line")?;
    for word in [&from.to_string(), NAME, &port.to_string(), "othing listens"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    child.kill().await?;
    Ok(())
}

/// The next JSON document, which may have several lines.
async fn document(out: &mut (impl AsyncBufReadExt + Unpin)) -> anyhow::Result<Value> {
    let mut text = String::new();
    loop {
        let read =
            tokio::time::timeout(Duration::from_secs(30), out.read_line(&mut text)).await??;
        anyhow::ensure!(read > 0, "it ended after {text:?}");
        if let Ok(value) = serde_json::from_str(&text) {
            return Ok(value);
        }
    }
}
