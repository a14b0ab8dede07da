//! The way up as PID 1, from the initramfs to serving the ports. No other program runs on it.
//!
//! ```text
//! modules ─► ports found ─► root disk ─► its root becomes ours ─► the rest of the file systems ─► serving
//! ```

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use guest_protocol::frames::StreamClass;
use rustix::system::RebootCommand;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::link;
use crate::machine::{Machine, Place};
use crate::options::WIP_INTERVAL;
use crate::sys;
use crate::user::User;

mod cgroup;
mod kernel;
mod modules;
mod mounts;
pub mod network;
mod root_disk;
pub mod shutdown;

use shutdown::Ending;

/// The number of the user in every environment.
const USER: u32 = 1000;
/// Where the machine's own git finds the relay; git's own port, which nothing else uses in a workspace.
const GIT_RELAY_PORT: u16 = 9418;

/// Never returns: PID 1 must not.
pub fn run() -> ! {
    let result = boot();
    // Reached only when something that a workspace cannot be without is missing.
    if let Err(reason) = result {
        error!("the workspace cannot start: {reason:#}");
    }
    rustix::fs::sync();
    // With `-no-reboot` this ends the VM, and the host reads the reason on the console.
    let _ = rustix::system::reboot(RebootCommand::Restart);
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn boot() -> anyhow::Result<()> {
    let mut steps = Steps::default();
    mounts::first()?;
    steps.done("kernel file systems");
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        "the guest agent starts"
    );
    modules::load(Path::new("/etc/modules.load"))?;
    steps.done("modules");
    let interactive = link::port::open(&kernel::port("roost.interactive")?)?;
    let bulk = link::port::open(&kernel::port("roost.bulk")?)?;
    steps.done("ports");
    root_disk::mount(Path::new("/dev/vda"), Path::new("/newroot"))?;
    steps.done("root disk");
    mounts::switch_root(Path::new("/newroot")).context("switching to the root disk")?;
    mounts::rest(USER)?;
    kernel::settings();
    sys::raise_open_files();
    network::bring_up_loopback().context("bringing up the loopback interface")?;
    let place = Place {
        user: user()?,
        root: "/".into(),
        owned: true,
        git_relay_port: Some(GIT_RELAY_PORT),
        wip_interval: WIP_INTERVAL,
    };
    steps.done("the rest");
    link::run_on_two_threads(
        place,
        |machine| async move {
            prepare(machine);
            steps.done("processes and priorities");
            info!("ready, milliseconds after the kernel's start: {steps}");
            link::port::serve(machine, interactive, StreamClass::Interactive).await
        },
        |machine| link::port::serve(machine, bulk, StreamClass::Bulk),
    )
}

/// When each step of the way up was done, since the kernel's start: the first thing to look at when starts
/// become slow.
#[derive(Default)]
struct Steps(Vec<(&'static str, i64)>);

impl Steps {
    fn done(&mut self, name: &'static str) {
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        self.0
            .push((name, since.tv_sec * 1000 + since.tv_nsec / 1_000_000));
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, milliseconds)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{name} {milliseconds}")?;
        }
        Ok(())
    }
}

fn user() -> anyhow::Result<User> {
    let passwd = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    User::find(&passwd, &group, USER)
        .with_context(|| format!("the environment has no user with the number {USER}"))
}

/// On the thread for what people feel: it goes before everything of the user's.
fn prepare(machine: &'static Machine) {
    match cgroup::prepare() {
        Ok(procs) => {
            // Set once, here.
            let _ = machine.cgroup.set(procs.into());
        }
        Err(error) => error!(%error, "the user's processes are not limited"),
    }
    sys::set_thread_priority(sys::Priority::First);
    tokio::spawn(end_on_signal(machine));
    machine.threads.detach(mounts::empty_old_temporary_files);
}

/// Ctrl-Alt-Del comes as SIGINT once the kernel is told so.
async fn end_on_signal(machine: &'static Machine) -> std::io::Result<()> {
    // Without it the kernel would restart on the spot.
    let _ = rustix::system::reboot(RebootCommand::CadOff);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut power = signal(SignalKind::from_raw(libc::SIGPWR))?;
    let ending = tokio::select! {
        _ = interrupt.recv() => Ending::Restart,
        _ = terminate.recv() => Ending::PowerOff,
        _ = power.recv() => Ending::PowerOff,
    };
    shutdown::stop(machine, Duration::ZERO, ending).await;
    Ok(())
}
