//! How long until a person can type: an empty workspace beside bare QEMU, and one with a real clone.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::process::Stdio;

use anyhow::{Context, ensure};
use control_api::workspaces::CreateWorkspace;
use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::guest::session;
use roost_tests::{Options, Server};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::bare::Template;
use super::report::{Bar, Row, Samples};
use super::world::{accelerator, first_prompt, timed};
use crate::generate::root;

/// What ours may take more than bare QEMU: as a ratio, and in milliseconds.
const RATIO: f64 = 1.3;
const BEYOND_MS: f64 = 150.0;

pub async fn run(runs: usize) -> anyhow::Result<(String, Vec<Row>)> {
    let address = own_address();
    let options = Options {
        config: address.map_or(String::new(), |address| {
            format!("[git]\nallow = [\"{address}\"]\n")
        }),
        ..Options::default()
    };
    let server = Server::start(options).await?;
    // The first start of a server imports images and tries the accelerator: it is not measured.
    server.running(&empty("warm")).await?;
    let accelerator = accelerator(server.api()).await?;
    let vmm = server
        .vmms()
        .pop()
        .context("a running workspace has a VMM")?;
    let template = Template::of(vmm)?;
    server.api().delete("warm").await?;

    let mut ours = Samples::default();
    let (mut bare, mut bare_agent) = (Samples::default(), Samples::default());
    let (mut beyond, mut opening) = (Samples::default(), Samples::default());
    let mut steps: BTreeMap<usize, (String, Samples)> = BTreeMap::new();
    for round in 0..runs {
        let floor = template.boot().await?;
        let name = format!("start{round}");
        let (opened, took) = timed(to_prompt(&server, &empty(&name))).await?;
        for (place, (step, took)) in timeline(&server, &name).await?.into_iter().enumerate() {
            let row = steps
                .entry(place)
                .or_insert_with(|| (step, Samples::default()));
            row.1.0.push(took);
        }
        server.api().delete(&name).await?;
        ours.0.push(took);
        opening.0.push(opened);
        beyond.0.push(took - floor.prompt);
        bare.0.push(floor.prompt);
        bare_agent.0.push(floor.agent);
    }
    let floor = Some(("bare QEMU", &bare));
    let mut rows = vec![
        Row::compared(
            "API call to first prompt byte",
            "ms",
            &ours,
            floor,
            Bar::RatioAtMost(RATIO),
        ),
        Row::new(
            "  beyond bare QEMU",
            "ms",
            &beyond,
            Bar::MedianAtMost(BEYOND_MS),
        ),
    ];
    for (step, samples) in steps.values() {
        let floor = (step == "boot").then_some(("bare, agent answers", &bare_agent));
        rows.push(Row::compared(
            format!("  step {step}"),
            "ms",
            samples,
            floor,
            Bar::None,
        ));
    }
    rows.push(Row::new("  session and shell", "ms", &opening, Bar::None));
    if let Some(address) = address {
        rows.push(clone(&server, address, runs.div_ceil(2)).await?);
    }
    server.close().await?;
    Ok((accelerator, rows))
}

/// Returns how long opening the session took until the prompt.
async fn to_prompt(server: &Server, request: &CreateWorkspace) -> anyhow::Result<f64> {
    let made = server.running(request).await?;
    let open = async {
        let session = session(server.api(), made.name.as_str(), StreamClass::Interactive).await?;
        first_prompt(&session).await
    };
    Ok(timed(open).await?.1)
}

/// Steps of the last start and their milliseconds.
async fn timeline(server: &Server, name: &str) -> anyhow::Result<Vec<(String, f64)>> {
    let mut starts = server.api().starts(name).await?;
    ensure!(!starts.is_empty(), "{name} was started");
    let steps = starts.remove(0).steps.into_iter();
    Ok(steps
        .map(|step| (step.step, step.took_ms.unwrap_or(0) as f64))
        .collect())
}

/// The same with this repository, as a real Git server gives it.
async fn clone(server: &Server, address: IpAddr, runs: usize) -> anyhow::Result<Row> {
    let folder = tempfile::tempdir()?;
    let bare = folder.path().join("public/roost.git");
    let made = Command::new("git")
        .args(["clone", "-q", "--bare"])
        .arg(root())
        .arg(&bare)
        .status()
        .await?;
    ensure!(made.success(), "git cloned nothing");
    let (_git, port) = git_server(folder.path(), address).await?;
    let mut samples = Samples::default();
    for round in 0..runs {
        let name = format!("clone{round}");
        let request = CreateWorkspace {
            repository: Some(format!("http://{address}:{port}/public/roost.git")),
            ..empty(&name)
        };
        samples.0.push(timed(to_prompt(server, &request)).await?.1);
        server.api().delete(&name).await?;
    }
    Ok(Row::new(
        "API call to first prompt byte, clone done",
        "ms",
        &samples,
        Bar::None,
    ))
}

async fn git_server(folder: &std::path::Path, address: IpAddr) -> anyhow::Result<(Child, u16)> {
    let mut child = Command::new("python3")
        .arg(root().join("tests/git-server/git_server.py"))
        .arg(folder)
        .args(["--listen", &address.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting the Git server")?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let line = BufReader::new(stdout).lines().next_line().await?;
    let port = line
        .context("the Git server prints its port")?
        .trim()
        .parse()?;
    Ok((child, port))
}

/// An address of this machine that is not loopback, when it has one: a guest's Git relay goes nowhere else.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: it asks the kernel which address it would send from.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}
