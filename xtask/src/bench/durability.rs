//! How old the oldest flushed byte gets that exists on this host alone, while a guest builds.

use std::time::Duration;

use control_api::points::PointList;
use guest_protocol::frames::StreamClass;
use roost_tests::api::{Api, empty};
use roost_tests::guest::session;
use roost_tests::{Options, Server};
use tokio::time::sleep;

use super::report::{Bar, Row, Samples};
use super::work::{bring, in_guest, sqlite};
use super::world::accelerator;

const AGE_MS: f64 = 10_000.0;
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Compiles, and makes and deletes many files, each with a sync now and then as Git does it.
const BUILD: &str = "rm -rf build && mkdir build && cd build && git init -q . && \
    for part in $(seq 20); do mkdir $part && \
    for file in $(seq 100); do echo \"int f${part}_$file(int x) { return x * $file; }\" >$part/$file.c; done; \
    cat $part/*.c >$part.c && gcc -O0 -c $part.c -o $part.o && git add . && \
    git -c user.name=x -c user.email=x@x commit -qm $part && sync; done && gcc -O0 -c ../sqlite3.c -o sqlite3.o";

pub async fn run(runs: usize) -> anyhow::Result<(String, Vec<Row>)> {
    let prepared = tempfile::tempdir()?;
    std::fs::copy(sqlite().await?, prepared.path().join("sqlite3.c"))?;
    let server = Server::start(Options::default()).await?;
    server.running(&empty("durability")).await?;
    let guest = session(server.api(), "durability", StreamClass::Bulk).await?;
    bring(&guest, prepared.path()).await?;
    let mut ages = Samples::default();
    for _ in 0..runs {
        let build = in_guest(&guest, BUILD);
        tokio::pin!(build);
        loop {
            tokio::select! {
                built = &mut build => break built?,
                () = sleep(LOOK_EVERY) => ages.0.push(age(server.api()).await?),
            }
        }
    }
    let accelerator = accelerator(server.api()).await?;
    server.close().await?;
    let row = Row::new(
        "age of the oldest flushed byte that is on the host alone",
        "ms",
        &ages,
        Bar::P99AtMost(AGE_MS),
    );
    Ok((accelerator, vec![row]))
}

async fn age(api: &Api) -> anyhow::Result<f64> {
    let points: PointList = api.get("/workspaces/durability/points").await?;
    Ok(points.now.live.map_or(0, |live| live.unsent_age_ms) as f64)
}
