//! Development commands: `cargo xtask generate`, and more as they are needed.

#[cfg(test)]
mod arrows;
mod bench;
mod crash;
mod generate;
#[cfg(test)]
mod tidy;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Roost's development commands")]
enum Command {
    /// Writes the Rust side of the protocols anew from their .proto files
    Generate {
        /// Change nothing; fail when something is not current
        #[arg(long)]
        check: bool,
    },
    /// Measures what is promised, on the real thing: `./dev bench` builds that first
    Bench(bench::Bench),
    /// Crashes simulated disks, once for each seed, and says whether anything was lost
    Crash(crash::Crash),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Generate { check } => generate::run(check),
        Command::Bench(bench) => bench::run(&bench),
        Command::Crash(crash) => crash::run(&crash),
    }
}
