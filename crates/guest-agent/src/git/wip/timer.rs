//! Saves what has changed, at intervals and one repository after the other.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::saving::Asked;
use super::{find_all, save_one};
use crate::machine::Machine;

/// For one repository, on a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(120);
/// Between attempts that fail, in the end.
const LONGEST: Duration = Duration::from_secs(3600);

/// What is known of a repository since the last time.
#[derive(Default)]
struct Known {
    fingerprint: Option<u64>,
    failures: u32,
    not_before: Option<Instant>,
}

/// Runs until the machine stops.
pub async fn run(machine: &'static Machine) {
    let mut stopping = machine.wip.stopping.subscribe();
    tokio::select! {
        _ = stopping.wait_for(|stopping| *stopping) => {}
        () = go(machine) => {}
    }
}

async fn go(machine: &'static Machine) {
    let mut known: HashMap<PathBuf, Known> = HashMap::new();
    loop {
        tokio::time::sleep(machine.wip_interval).await;
        let Ok(found) = find_all(machine).await else {
            continue;
        };
        known.retain(|path, _| found.contains(path));
        for path in found {
            let known = known.entry(path.clone()).or_default();
            if known.not_before.is_some_and(|at| Instant::now() < at) {
                continue;
            }
            let asked = Asked {
                reason: "timer".into(),
                unless: known.fingerprint,
                ..Asked::default()
            };
            match save_one(machine, &path, asked, true, DEADLINE).await {
                Ok(done) => {
                    *known = Known {
                        fingerprint: done.fingerprint().or(known.fingerprint),
                        ..Known::default()
                    };
                }
                Err(error) => {
                    debug!(path = %path.display(), %error, "work in progress is not saved");
                    known.failures += 1;
                    let wait = machine.wip_interval * 2u32.saturating_pow(known.failures.min(16));
                    known.not_before = Some(Instant::now() + wait.min(LONGEST));
                }
            }
        }
    }
}
