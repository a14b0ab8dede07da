//! The way down: work in progress saved, terminals hung up, everything told to end, then killed, the disk written out, the machine off.

use std::time::Duration;

use rustix::mount::{MountFlags, mount_remount};
use rustix::process::{Pid, Signal};
use rustix::system::RebootCommand;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::figures::proc;
use crate::git::wip::save_before_stop;
use crate::machine::Machine;

/// For programs to end by themselves, unless the host says otherwise.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);
const LONGEST_GRACE: Duration = Duration::from_secs(120);
/// For killed programs to be gone.
const AFTER_KILL: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    PowerOff,
    Restart,
}

/// Stops everything. In process mode that is what the agent started, and then the agent.
pub async fn stop(machine: &'static Machine, grace: Duration, ending: Ending) {
    let grace = if grace.is_zero() {
        DEFAULT_GRACE
    } else {
        grace.min(LONGEST_GRACE)
    };
    info!(?grace, ?ending, "stopping");
    let begun = Instant::now();
    // Programs get what is left.
    save_before_stop(machine, grace * 3 / 4).await;
    let grace = grace.saturating_sub(begun.elapsed());
    machine.terminals.hang_up_all();
    tell_all(Signal::TERM);
    // A stopped program hears of it only when it goes on.
    tell_all(Signal::CONT);
    if !all_gone(machine, grace).await {
        tell_all(Signal::KILL);
        if !all_gone(machine, AFTER_KILL).await {
            warn!("some processes could not be killed");
        }
    }
    if !machine.owned {
        std::process::exit(0);
    }
    rustix::fs::sync();
    if let Err(error) = mount_remount("/", MountFlags::RDONLY, c"") {
        warn!(%error, "the root disk stays writable; it was written out");
        rustix::fs::sync();
    }
    info!("the machine ends");
    let command = match ending {
        Ending::PowerOff => RebootCommand::PowerOff,
        Ending::Restart => RebootCommand::Restart,
    };
    if let Err(error) = rustix::system::reboot(command) {
        warn!(%error, "the machine does not end");
    }
}

fn tell_all(signal: Signal) {
    for process in proc::descendants() {
        if let Some(pid) = Pid::from_raw(process.pid) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Waits until nothing is left that descends from this process.
async fn all_gone(machine: &Machine, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        machine.processes.reap();
        if proc::descendants().is_empty() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}
