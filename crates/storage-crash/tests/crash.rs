//! Some thousands of runs, and a proof that they find what they are for.

use std::collections::BTreeSet;

use storage::planted::{self, Bug};
use storage_crash::faults::{Fault, TABLE};
use storage_crash::many::many;
use storage_crash::run::{Guest, run};

#[test]
fn no_acknowledged_byte_is_lost() {
    let plain = many(0..5000, Guest::Plain, |_| {});
    let branching = many(0..1000, Guest::Branching, |_| {});
    for summary in [&plain, &branching] {
        assert!(summary.found.is_empty(), "{}", summary.found.join("\n\n"));
    }
    // What never came proves nothing.
    assert!(branching.steps_back > 100 && branching.forks > 100);
    let came: BTreeSet<_> = plain.steps.keys().chain(branching.steps.keys()).collect();
    let hard = |fault: Fault| matches!(fault, Fault::Kill | Fault::PowerCut);
    let missing: Vec<_> = TABLE
        .iter()
        .flat_map(|(step, faults)| faults.iter().map(move |fault| (*step, *fault)))
        .filter(|(step, fault)| !came.contains(&(*step, Some(*fault))))
        .filter(|(_, fault)| !hard(*fault))
        .collect();
    assert!(missing.is_empty(), "these never came: {missing:?}");
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        planted::plant(Some(bug));
        let found = (0..1500).find(|seed| run(*seed, Guest::Branching).is_err());
        planted::plant(None);
        println!("{bug:?} is found by seed {found:?}");
        let seed = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        assert_eq!(
            run(seed, Guest::Branching).err(),
            None,
            "it is found without {bug:?} too"
        );
    }
}
