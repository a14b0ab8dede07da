//! Minutes of mixed I/O in a guest with a point in time taken in each: nothing waits long, and everything read is what
//! was written.

use std::time::Duration;

use anyhow::Context;
use control_api::points::Point;
use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::guest::session;
use roost_tests::{Options, Server};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::fio;
use super::report::{Bar, Row, Samples};
use super::storage::{fio, prepare_fio};
use super::work::{bring, output_in_guest};
use super::world::{accelerator, milliseconds, timed};

/// What a guest's I/O may wait, milliseconds.
const STALL_MS: f64 = 2000.0;
const MINUTE: Duration = Duration::from_secs(60);

pub async fn run(minutes: usize) -> anyhow::Result<(String, Vec<Row>)> {
    let server = Server::start(Options::default()).await?;
    server.running(&empty("soak")).await?;
    let guest = session(server.api(), "soak", StreamClass::Bulk).await?;
    let prepared = tempfile::tempdir()?;
    prepare_fio(prepared.path()).await?;
    bring(&guest, prepared.path()).await?;
    let line = fio(&fio::mixed(minutes * 60));
    let work = output_in_guest(&guest, &line);
    tokio::pin!(work);
    let mut points = Samples::default();
    let mut minute = interval(MINUTE);
    minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
    minute.tick().await;
    let report = loop {
        tokio::select! {
            report = &mut work => break report?,
            _ = minute.tick() => {
                let point = json!({ "name": format!("minute {}", points.0.len() + 1) });
                let taken = timed(server.api().post::<Point>("/workspaces/soak/points", &point));
                points.0.push(taken.await?.1);
            }
        }
    };
    let longest = Samples(vec![longest_request(&report)?]);
    let accelerator = accelerator(server.api()).await?;
    server.close().await?;
    let name = format!("longest request in {minutes} minutes of mixed I/O, all of it verified");
    Ok((
        accelerator,
        vec![
            Row::new(name, "ms", &longest, Bar::MedianAtMost(STALL_MS)),
            Row::new(
                "taking a point, as the API has it",
                "ms",
                &points,
                Bar::None,
            ),
        ],
    ))
}

/// Of what fio reports, milliseconds. An error when what was read was not what had been written.
fn longest_request(report: &[u8]) -> anyhow::Result<f64> {
    let report: Value = serde_json::from_slice(report)?;
    let jobs = report["jobs"].as_array().context("fio reports jobs")?;
    let mut longest = 0.0;
    for job in jobs {
        anyhow::ensure!(job["error"] == 0, "{job}");
        for kind in ["read", "write", "sync"] {
            let most = job[kind]["lat_ns"]["max"].as_u64().unwrap_or(0);
            longest = f64::max(longest, milliseconds(Duration::from_nanos(most)));
        }
    }
    Ok(longest)
}
