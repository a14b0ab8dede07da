//! Some thousands of runs, and a proof that they find what they are for.

use storage::planted::{self, Bug};
use storage_crash::run::run;

/// Runs of a usual test; `STORAGE_CRASH_SEEDS=FIRST..END` makes others.
fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("STORAGE_CRASH_SEEDS") else {
        return 0..500;
    };
    let (first, end) = text.split_once("..").expect("FIRST..END");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// Runs all seeds on all processors; what was found, lowest seed first.
fn run_all(seeds: std::ops::Range<u64>) -> Vec<String> {
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let worker = || {
        let mut found = Vec::new();
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= seeds.end || found.len() > 3 {
                return found;
            }
            if let Err(what) = run(seed) {
                found.push((seed, what));
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut found: Vec<(u64, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no run panics"))
            .collect()
    });
    found.sort();
    found.into_iter().map(|(_, what)| what).collect()
}

#[test]
fn no_acknowledged_byte_is_lost() {
    let found = run_all(seeds());
    assert!(
        found.is_empty(),
        "{}",
        found[..found.len().min(3)].join("\n\n")
    );
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        planted::plant(Some(bug));
        let found = (0..2000).find_map(|seed| run(seed).err());
        planted::plant(None);
        assert!(found.is_some(), "{bug:?} was not found");
    }
}
