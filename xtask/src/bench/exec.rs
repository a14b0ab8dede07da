//! How long a program waits for the first output of a command in a running workspace.

use anyhow::Context;
use control_api::programs::{ExecEvent, ExecRequest};
use futures::StreamExt;
use reqwest::Method;
use roost_tests::api::{Api, answered, empty};
use roost_tests::{Options, Server};

use super::report::{Bar, Row, Samples};
use super::world::{accelerator, timed};

const P99_MS: f64 = 2_000.0;

pub async fn run(runs: usize) -> anyhow::Result<(String, Vec<Row>)> {
    let server = Server::start(Options::default()).await?;
    server.running(&empty("exec")).await?;
    let mut rows = Vec::new();
    // `true` says nothing, so `echo` is the smallest: what Roost costs without the program.
    let echo = samples(server.api(), &["echo", "1"], runs).await?;
    let python = samples(server.api(), &["python3", "-c", "print(1)"], runs).await?;
    rows.push(Row::compared(
        "API call to first output of python3 -c 'print(1)'",
        "ms",
        &python,
        Some(("echo 1", &echo)),
        Bar::P99AtMost(P99_MS),
    ));
    let accelerator = accelerator(server.api()).await?;
    server.close().await?;
    Ok((accelerator, rows))
}

async fn samples(api: &Api, command: &[&str], runs: usize) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..runs {
        samples.0.push(timed(first_output(api, command)).await?.1);
    }
    Ok(samples)
}

async fn first_output(api: &Api, command: &[&str]) -> anyhow::Result<()> {
    let request = ExecRequest {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecRequest::default()
    };
    let request = api
        .request(Method::POST, "/workspaces/exec/exec")
        .json(&request);
    let mut body = answered(request).await?.bytes_stream();
    let mut text = Vec::new();
    loop {
        text.extend_from_slice(&body.next().await.context("the command said nothing")??);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") {
                break;
            }
            if let ExecEvent::Output { .. } = serde_json::from_slice(line)? {
                return Ok(());
            }
        }
    }
}
