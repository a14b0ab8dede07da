//! How long until a person can type: an empty workspace beside bare QEMU, and one with a real clone.

use std::collections::BTreeMap;

use anyhow::ensure;
use control_api::workspaces::CreateWorkspace;
use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::guest::session;
use roost_tests::{Options, Server};

use super::bare::Template;
use super::git::GitServer;
use super::report::{Bar, Row, Samples};
use super::world::{accelerator, first_prompt, timed};

/// What ours may take more than bare QEMU: as a ratio, and in milliseconds.
const RATIO: f64 = 1.3;
const BEYOND_MS: f64 = 150.0;

pub async fn run(runs: usize) -> anyhow::Result<(String, Vec<Row>)> {
    let git = GitServer::start().await?;
    let options = Options {
        config: git.config(),
        ..Options::default()
    };
    let server = Server::start(options).await?;
    // The first start of a server imports images and tries the accelerator: it is not measured.
    server.running(&empty("warm")).await?;
    let accelerator = accelerator(server.api()).await?;
    let template = Template::of(&server)?;
    server.api().delete("warm").await?;

    let mut ours = Samples::default();
    let (mut bare, mut beyond, mut opening) = <(Samples, Samples, Samples)>::default();
    let mut floors: BTreeMap<&str, Samples> = BTreeMap::new();
    let mut steps: BTreeMap<usize, (String, Samples)> = BTreeMap::new();
    for round in 0..runs {
        let name = format!("start{round}");
        // In turn first, so that neither always finds what the other left warm.
        let (floor, (opened, took)) = if round % 2 == 0 {
            let floor = template.boot().await?;
            (floor, timed(to_prompt(&server, &empty(&name))).await?)
        } else {
            let ours = timed(to_prompt(&server, &empty(&name))).await?;
            (template.boot().await?, ours)
        };
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
        for (step, took) in [
            ("boot", floor.agent),
            ("configure", floor.configured - floor.agent),
            ("session and shell", floor.prompt - floor.configured),
        ] {
            floors.entry(step).or_default().0.push(took);
        }
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
    let opening = ("session and shell".to_owned(), opening);
    for (step, samples) in steps.values().chain([&opening]) {
        let floor = floors.get(step.as_str()).map(|floor| ("bare QEMU", floor));
        let name = format!("  step {step}");
        rows.push(Row::compared(name, "ms", samples, floor, Bar::None));
    }
    rows.push(clone(&server, &git, runs.div_ceil(2)).await?);
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
async fn clone(server: &Server, git: &GitServer, runs: usize) -> anyhow::Result<Row> {
    let mut samples = Samples::default();
    for round in 0..runs {
        let name = format!("clone{round}");
        let request = CreateWorkspace {
            repository: Some(git.url().into()),
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
