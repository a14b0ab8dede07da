//! What the benchmarks share: the machine they run on, the clock, and the first prompt.

use std::time::{Duration, Instant};

use anyhow::Context;
use control_api::server::HostStatus;
use guest_protocol::client::{Session, Terminal, TerminalEvent};
use guest_protocol::frames::{TerminalCreate, TerminalSize};
use roost_tests::api::Api;

/// How long the machine is looked at before a run.
const LOOK: Duration = Duration::from_secs(3);
/// Share of the cores in use up to which a machine is idle.
const IDLE: f64 = 0.10;

/// The machine just before a run.
pub struct Host {
    pub cores: usize,
    pub load: f64,
    pub busy: f64,
}

impl Host {
    /// Looks for three seconds. The load average alone would count the build that came before.
    pub fn look() -> anyhow::Result<Self> {
        let load = std::fs::read_to_string("/proc/loadavg")?;
        let load = load.split(' ').next().unwrap_or_default().parse()?;
        let (busy, all) = cpu_time()?;
        std::thread::sleep(LOOK);
        let (busy_after, all_after) = cpu_time()?;
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            load,
            busy: (busy_after - busy) as f64 / (all_after - all).max(1) as f64,
        })
    }

    pub fn idle(&self) -> bool {
        self.busy <= IDLE
    }
}

/// Ticks of all cores: in use, and all of them.
fn cpu_time() -> anyhow::Result<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat has a first line")?;
    // user nice system idle iowait irq softirq steal; what follows is counted in user already.
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let all: u64 = ticks.iter().sum();
    Ok((all - ticks[3] - ticks[4], all))
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// `kvm` or `tcg`, as the server says.
pub async fn accelerator(api: &Api) -> anyhow::Result<String> {
    Ok(api.get::<HostStatus>("/host").await?.accelerator)
}

/// Makes a terminal and waits for the first byte that its shell prints.
pub async fn first_prompt(session: &Session) -> anyhow::Result<Terminal> {
    let size = Some(TerminalSize {
        columns: 80,
        rows: 24,
    });
    let create = TerminalCreate {
        size,
        ..TerminalCreate::default()
    };
    let mut terminal = session.terminal_create(create).await?;
    // Fast shells have printed before the answer: the first byte is in the state that came with it.
    while terminal.state().offset == 0 {
        match terminal.next().await?.context("the terminal was closed")? {
            TerminalEvent::Output { bytes, .. } if bytes.is_empty() => {}
            TerminalEvent::Exited(exited) => {
                anyhow::bail!("the shell ended with {}", exited.code)
            }
            _ => break,
        }
    }
    Ok(terminal)
}

/// Runs the work and says how long it took, in milliseconds.
pub async fn timed<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, f64)> {
    let began = Instant::now();
    let done = work.await?;
    Ok((done, milliseconds(began.elapsed())))
}
