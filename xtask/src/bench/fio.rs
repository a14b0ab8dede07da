//! What fio is asked to do to a disk, in a guest or on the host, and what of its report counts.

use anyhow::Context;
use serde_json::Value;

use super::report::Bar;

/// Share of what the raw file does.
const RANDOM: f64 = 0.9;
const SEQUENTIAL: f64 = 0.6;
/// Of what the raw file takes.
const SYNC: f64 = 1.5;

/// One job.
pub struct Job {
    pub name: &'static str,
    arguments: &'static str,
    pub unit: &'static str,
    figure: fn(&Value) -> Option<f64>,
    pub bar: Bar,
}

pub const JOBS: &[Job] = &[
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

/// Writes the whole file once.
pub fn fill(file: &str) -> String {
    arguments(file, "--rw=write --bs=1M --name=fill --end_fsync=1")
}

/// Three jobs beside each other for so many seconds: blocks written and read in no order, each verified soon after it was
/// written; large writes with a sync now and then; and small reads.
pub fn mixed(seconds: usize) -> String {
    format!(
        "--output-format=json --direct=1 --ioengine=libaio --time_based --runtime={seconds} --size=256M --iodepth=4 \
         --name=verified --rw=randrw --bs=16k --verify=crc32c --verify_backlog=1024 --verify_fatal=1 \
         --name=large --rw=write --bs=1M --fsync=64 --iodepth=1 \
         --name=reads --rw=randread --bs=4k"
    )
}

fn arguments(file: &str, more: &str) -> String {
    format!(
        "--filename={file} --size=512M --direct=1 --ioengine=libaio --output-format=json {more}"
    )
}

impl Job {
    /// For fio's command line.
    pub fn arguments(&self, file: &str) -> String {
        let job = format!("{} --name=job --runtime=10 --time_based", self.arguments);
        arguments(file, &job)
    }

    /// What counts of the report that fio printed.
    pub fn figure(&self, report: &[u8]) -> anyhow::Result<f64> {
        let report: Value = serde_json::from_slice(report)?;
        let found = (self.figure)(&report["jobs"][0]);
        found.with_context(|| format!("fio's report lacks a figure of {}", self.name))
    }
}
