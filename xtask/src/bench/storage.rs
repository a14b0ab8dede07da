//! The disk of a workspace beside a raw file with the same cache mode, in the same guest.

use std::path::Path;

use anyhow::{Context, ensure};
use guest_protocol::client::Session;
use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::guest::session;
use roost_tests::{Options, Server};
use serde_json::Value;

use super::bare::{Disk, Template};
use super::memory::private_mib;
use super::report::{Bar, Row, Samples};
use super::work::{bring, in_guest, on_host, output_in_guest};
use super::world::{accelerator, timed};

/// Of the disks, GiB.
const DISK_GIB: u64 = 16;
/// Share of what the raw file does.
const RANDOM: f64 = 0.9;
const SEQUENTIAL: f64 = 0.6;
/// Of what the raw file takes.
const SYNC: f64 = 1.5;
const TREE: f64 = 1.11;

/// What fio does, and what of its report counts.
struct Job {
    name: &'static str,
    arguments: &'static str,
    unit: &'static str,
    figure: fn(&Value) -> Option<f64>,
    bar: Bar,
}

const JOBS: &[Job] = &[
    Job {
        name: "4 KiB random read",
        arguments: "--rw=randread --bs=4k --iodepth=16",
        unit: "IOPS",
        figure: |job| job["read"]["iops"].as_f64(),
        bar: Bar::RatioAtLeast(RANDOM),
    },
    Job {
        name: "4 KiB random write",
        arguments: "--rw=randwrite --bs=4k --iodepth=16",
        unit: "IOPS",
        figure: |job| job["write"]["iops"].as_f64(),
        bar: Bar::RatioAtLeast(RANDOM),
    },
    Job {
        name: "sequential read",
        arguments: "--rw=read --bs=1M --iodepth=4",
        unit: "MiB/s",
        figure: |job| Some(job["read"]["bw"].as_f64()? / 1024.0),
        bar: Bar::RatioAtLeast(SEQUENTIAL),
    },
    Job {
        name: "sequential write",
        arguments: "--rw=write --bs=1M --iodepth=4",
        unit: "MiB/s",
        figure: |job| Some(job["write"]["bw"].as_f64()? / 1024.0),
        bar: Bar::RatioAtLeast(SEQUENTIAL),
    },
    Job {
        name: "4 KiB write and fdatasync, p99 of the sync",
        arguments: "--rw=randwrite --bs=4k --iodepth=1 --fdatasync=1",
        unit: "ms",
        figure: |job| Some(job["sync"]["lat_ns"]["percentile"]["99.000000"].as_f64()? / 1e6),
        bar: Bar::RatioAtMost(SYNC),
    },
];

/// Makes a tree of 20,000 files and packs it.
const TREE_OF_FILES: &str = "mkdir tree && cd tree && for folder in $(seq 200); do mkdir $folder; \
    for file in $(seq 100); do echo $folder $file >$folder/$file; done; done && \
    git init -q . && git add . && git -c user.name=x -c user.email=x@x commit -qm x && cd .. && \
    tar cf tree.tar tree && rm -rf tree";

pub async fn run(runs: usize) -> anyhow::Result<(String, Vec<Row>)> {
    let server = Server::start(Options::default()).await?;
    server.running(&empty("storage")).await?;
    let bare = Template::of(&server)?.start(Disk::Raw(DISK_GIB)).await?;
    let ours = session(server.api(), "storage", StreamClass::Bulk).await?;
    let prepared = tempfile::tempdir()?;
    prepare(prepared.path()).await?;
    for guest in [&ours, &bare.session] {
        bring(guest, prepared.path()).await?;
        in_guest(guest, &fio("--rw=write --bs=1M --name=fill --end_fsync=1")).await?;
    }
    let mut rows = Vec::new();
    for job in JOBS {
        let (mut there, mut floor) = (Samples::default(), Samples::default());
        for _ in 0..runs {
            floor.0.push(figure(&bare.session, job).await?);
            there.0.push(figure(&ours, job).await?);
        }
        rows.push(Row::compared(
            job.name,
            job.unit,
            &there,
            Some(("raw file", &floor)),
            job.bar,
        ));
    }
    for (name, before, line) in [
        (
            "unpacking 20,000 files and syncing them",
            "rm -rf tree && sync",
            "tar xf tree.tar && sync",
        ),
        (
            "git status of them, nothing cached",
            "sync && echo 3 | sudo tee /proc/sys/vm/drop_caches >/dev/null",
            "cd tree && git status --short",
        ),
    ] {
        let (mut there, mut floor) = (Samples::default(), Samples::default());
        for _ in 0..runs {
            for (guest, samples) in [(&bare.session, &mut floor), (&ours, &mut there)] {
                in_guest(guest, before).await?;
                samples.0.push(timed(in_guest(guest, line)).await?.1 / 1e3);
            }
        }
        let bar = Bar::RatioAtMost(TREE);
        rows.push(Row::compared(
            name,
            "s",
            &there,
            Some(("raw file", &floor)),
            bar,
        ));
    }
    rows.push(memory(&server)?);
    let accelerator = accelerator(server.api()).await?;
    bare.end().await?;
    server.close().await?;
    Ok((accelerator, rows))
}

/// fio of the host with its libraries, which are the guest's distribution's, and the packed tree.
async fn prepare(folder: &Path) -> anyhow::Result<()> {
    on_host(
        folder,
        "mkdir fio && cp \"$(command -v fio)\" fio/fio && \
         ldd fio/fio | awk '/=> \\//{print $3} /^\\t\\/lib64/{print $1}' | xargs -I{} cp -L {} fio/ && \
         mv fio/ld-linux-x86-64.so.2 fio/ld.so",
    )
    .await
    .context("fio has to be installed")?;
    on_host(folder, TREE_OF_FILES).await
}

/// A command line of fio's in the guest.
fn fio(arguments: &str) -> String {
    format!(
        "fio/ld.so --library-path fio fio/fio --filename=file --size=512M --direct=1 --ioengine=libaio \
         --output-format=json {arguments}"
    )
}

async fn figure(guest: &Session, job: &Job) -> anyhow::Result<f64> {
    let timed = format!("{} --name=job --runtime=10 --time_based", job.arguments);
    let output = output_in_guest(guest, &fio(&timed)).await?;
    let report: Value = serde_json::from_slice(&output)?;
    let found = (job.figure)(&report["jobs"][0]);
    found.with_context(|| format!("fio's report lacks a figure of {}", job.name))
}

/// Private memory of the disk's server, after all this.
fn memory(server: &Server) -> anyhow::Result<Row> {
    let mut samples = Samples::default();
    for process in server.disk_servers() {
        samples.0.push(private_mib(process)?);
    }
    ensure!(!samples.0.is_empty(), "the disk has a server");
    let most = Bar::MedianAtMost(32.0);
    Ok(Row::new(
        "private memory of the disk's server",
        "MiB",
        &samples,
        most,
    ))
}
