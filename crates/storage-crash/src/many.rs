//! Many runs, on every processor.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::faults::{Fault, Step};
use crate::run::{Guest, run};

/// What came out of many runs.
#[derive(Debug, Default)]
pub struct Summary {
    pub runs: u64,
    pub operations: u64,
    pub kills: u64,
    pub power_cuts: u64,
    pub moves: u64,
    pub steps_back: u64,
    pub forks: u64,
    /// Steps, with what happened instead of them, and how often.
    pub steps: BTreeMap<(Step, Option<Fault>), u64>,
    /// What was found, lowest seed first; no more than a few.
    pub found: Vec<String>,
}

/// Found so many, the rest is not run.
const ENOUGH: usize = 4;

/// Runs every seed; `progress` is told how many are done.
pub fn many(seeds: Range<u64>, guest: Guest, progress: impl Fn(u64) + Sync) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let done = AtomicU64::new(0);
    let worker = || {
        let mut summary = Summary::default();
        let mut found = Vec::new();
        while found.len() < ENOUGH {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match run(seed, guest) {
                Ok(report) => {
                    summary.runs += 1;
                    summary.operations += report.operations;
                    summary.kills += report.kills;
                    summary.power_cuts += report.power_cuts;
                    summary.moves += report.moves;
                    summary.steps_back += report.steps_back;
                    summary.forks += report.forks;
                    for (step, count) in report.steps {
                        *summary.steps.entry(step).or_default() += count;
                    }
                }
                Err(what) => found.push((seed, what)),
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        (summary, found)
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut all = Summary::default();
    let mut found = Vec::new();
    for (summary, some) in outcomes {
        all.runs += summary.runs;
        all.operations += summary.operations;
        all.kills += summary.kills;
        all.power_cuts += summary.power_cuts;
        all.moves += summary.moves;
        all.steps_back += summary.steps_back;
        all.forks += summary.forks;
        for (step, count) in summary.steps {
            *all.steps.entry(step).or_default() += count;
        }
        found.extend(some);
    }
    found.sort();
    all.found = found
        .into_iter()
        .map(|(_, what)| what)
        .take(ENOUGH)
        .collect();
    all
}
