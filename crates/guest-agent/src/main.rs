//! The guest agent: PID 1 inside the microVM, and everything the editor needs from that machine.
//!
//! It deliberately does not know who is connected, what a workspace is to the platform, or the network
//! outside: the host configures it, opens streams to it, and carries what git says.
//!
//! ```text
//! init ─► machine, link(interactive), link(bulk)         init: only as PID 1 of a VM
//! link ─► StreamOpen ─► session ─► files, search, terminals, exec, ports, figures, git, setup
//!                    └► ports::connect (raw TCP)         git::relay ─► streams to the host
//! ```
//!
//! - `init`: modules, mounts, network, priorities, shutdown; no other program runs on the way up
//! - `machine`: what all parts share: user, folders, environment, threads
//! - `processes`: starting the user's programs and reaping whatever ends
//! - `link`: the two byte streams to the host and the streams within them
//! - `session`: frames, calls, credit, roles; `session/dispatch.rs` names what serves each request
//! - the parts themselves; each is a folder
//!
//! Two threads do asynchronous work: one for what people feel, which has the higher priority, one for bulk.
//! Work on files is done by threads that have the user's rights on files and no more (`threads`).
//!
//! Tested by running the binary as a plain process behind Unix sockets (`tests/`), and in a real VM by
//! `tests/vm.rs`.

mod exec;
mod figures;
mod files;
mod git;
mod init;
mod link;
mod machine;
mod options;
mod ports;
mod processes;
mod search;
mod session;
mod setup;
mod sys;
mod terminals;
mod threads;
mod user;

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    if std::process::id() == 1 {
        init::run();
    }
    let options = options::Options::parse(std::env::args_os().skip(1))?;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let machine = machine::Machine::for_tests(&options).context("preparing the folders")?;
    link::socket::run(machine, &options)
}
