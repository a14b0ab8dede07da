//! `cargo xtask crash`: as many crashes of simulated disks as are wanted.

use std::ops::Range;

use storage_crash::many::many;
use storage_crash::run::Guest;

#[derive(clap::Args)]
pub struct Crash {
    /// Seeds, FIRST..END
    #[arg(long, default_value = "0..5000", value_parser = range)]
    seeds: Range<u64>,
    /// Disks also go back, and others are forked from them
    #[arg(long)]
    branching: bool,
    /// Print every step with what went wrong there, and how often
    #[arg(long)]
    steps: bool,
}

fn range(text: &str) -> anyhow::Result<Range<u64>> {
    let Some((first, end)) = text.split_once("..") else {
        anyhow::bail!("write FIRST..END");
    };
    Ok(first.parse()?..end.parse()?)
}

pub fn run(crash: &Crash) -> anyhow::Result<()> {
    let count = crash.seeds.end.saturating_sub(crash.seeds.start);
    let guest = if crash.branching {
        Guest::Branching
    } else {
        Guest::Plain
    };
    let summary = many(crash.seeds.clone(), guest, |done| {
        if done.is_multiple_of(1000) {
            eprintln!("{done} of {count}");
        }
    });
    if crash.steps {
        for ((step, fault), times) in &summary.steps {
            let (what, kind) = step;
            let fault = fault.map_or("done".to_owned(), |fault| format!("{fault:?}"));
            println!("{what:>9} {kind:<10} {fault:<15} {times:>12}");
        }
    }
    println!(
        "seeds {:?}: {} runs, {} operations, {} kills, {} power cuts, {} moves to another host, \
         {} steps back, {} forks",
        crash.seeds,
        summary.runs,
        summary.operations,
        summary.kills,
        summary.power_cuts,
        summary.moves,
        summary.steps_back,
        summary.forks
    );
    anyhow::ensure!(summary.found.is_empty(), "{}", summary.found.join("\n\n"));
    println!("0 acknowledged bytes lost");
    Ok(())
}
