//! `cargo xtask bench NAME`: the numbers that Roost promises, measured on the real thing.
//!
//! Each benchmark is a file below `bench/` with one function that gives rows, and a line in [`BENCHES`] and
//! [`rows`]. `./dev bench NAME` builds what is measured first.

mod bare;
mod disk;
mod durability;
mod exec;
mod fio;
mod git;
mod memory;
mod points;
mod report;
mod soak;
mod start;
mod storage;
mod store;
mod terminal;
mod work;
mod workbench;
mod world;

use anyhow::{anyhow, bail};
use clap::Args;

use self::report::{Report, Row};
use self::world::Host;

/// Names and what is measured.
const BENCHES: &[(&str, &str)] = &[
    (
        "start",
        "API call to first prompt, beside bare QEMU; with a clone",
    ),
    ("exec", "API call to first output of python3 -c 'print(1)'"),
    (
        "terminal",
        "echo: idle, beside traffic, in a busy guest; in a browser",
    ),
    ("memory", "what a running workspace costs beside its guest"),
    (
        "disk",
        "the storage library on the host: fio, openings, index",
    ),
    (
        "points",
        "what a guest's I/O waits for a point in time of its disk",
    ),
    (
        "store",
        "writing to durable in a store, and first reads from it",
    ),
    (
        "durability",
        "how old what is on the host alone gets, under a build",
    ),
    (
        "soak",
        "half an hour of mixed I/O with a point in time each minute",
    ),
    (
        "storage",
        "fio, many files and memory, beside a raw file as the disk",
    ),
    (
        "workbench",
        "opening, typing: in a browser, beside code-server",
    ),
    (
        "work",
        "clone, npm, pip, C and pytest in the guest, beside the host",
    ),
];

#[derive(Args)]
pub struct Bench {
    /// Which one; --list names them
    name: Option<String>,
    /// Name the benchmarks
    #[arg(long)]
    list: bool,
    /// The report as JSON
    #[arg(long)]
    json: bool,
    /// Samples of each quantity, instead of the benchmark's own number
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
}

async fn rows(name: &str, runs: Option<usize>) -> anyhow::Result<(String, Vec<Row>)> {
    match name {
        "start" => start::run(runs.unwrap_or(10)).await,
        "exec" => exec::run(runs.unwrap_or(100)).await,
        "terminal" => terminal::run(runs.unwrap_or(300)).await,
        "memory" => memory::run(runs.unwrap_or(3)).await,
        "disk" => on_the_host(move || disk::run(runs.unwrap_or(3))),
        "points" => on_the_host(move || points::run(runs.unwrap_or(300))),
        "store" => on_the_host(move || store::run(runs.unwrap_or(5))),
        "durability" => durability::run(runs.unwrap_or(1)).await,
        "soak" => soak::run(runs.unwrap_or(30)).await,
        "storage" => storage::run(runs.unwrap_or(3)).await,
        "workbench" => workbench::run(runs.unwrap_or(5)).await,
        "work" => work::run(runs.unwrap_or(1)).await,
        _ => bail!("no benchmark {name:?}: --list names them"),
    }
}

/// What needs no VM, in a thread that no runtime knows of, as those of a disk's server are.
fn on_the_host(
    measure: impl FnOnce() -> anyhow::Result<Vec<Row>> + Send + 'static,
) -> anyhow::Result<(String, Vec<Row>)> {
    let measured = std::thread::spawn(measure).join();
    let rows = measured.map_err(|_| anyhow!("the measurement panicked"))??;
    Ok(("no VM".to_owned(), rows))
}

/// Runs one and prints its report; an error when a promise that counts here is not kept.
pub fn run(bench: &Bench) -> anyhow::Result<()> {
    let Some(name) = bench.name.as_ref().filter(|_| !bench.list) else {
        for (name, text) in BENCHES {
            println!("{name:<10} {text}");
        }
        return Ok(());
    };
    let host = Host::look()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let runs = bench.runs.map(|runs| runs as usize);
    let (accelerator, rows) = runtime.block_on(rows(name, runs))?;
    let report = Report {
        benchmark: name.clone(),
        accelerator,
        cores: host.cores,
        load_before: host.load,
        busy_before: host.busy,
        idle_before: host.idle(),
        rows,
    };
    if bench.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.table());
    }
    if !report.met() {
        bail!("{name}: a promise is not kept");
    }
    Ok(())
}
