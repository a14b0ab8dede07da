//! Figures of the machine: load, memory, disk, and the processes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guest_protocol::frames::{self, Metrics, MetricsWatch};
use tokio::time::MissedTickBehavior;

use crate::machine::Machine;
use crate::session::{Answer, Call, Outcome};

pub mod proc;

/// Limits on how often figures are sent.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(3600);
const DEFAULT: Duration = Duration::from_secs(2);

/// The clock, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Sends figures at once and then at each interval.
pub async fn watch(machine: &'static Machine, call: Call, request: MetricsWatch) -> Outcome {
    let interval = match request.interval_ms {
        0 => DEFAULT,
        milliseconds => Duration::from_millis(milliseconds.into()).clamp(SHORTEST, LONGEST),
    };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = proc::Busy::now();
    loop {
        ticks.tick().await;
        let busy = proc::Busy::now();
        let metrics = collect(machine, busy.cores_since(&before));
        before = busy;
        call.answer(Answer::Metrics(metrics)).await?;
    }
}

fn collect(machine: &Machine, cpu: f64) -> Metrics {
    let memory = proc::Memory::now();
    // A file system that does not answer has no figures.
    let (disk_used, disk_total) = rustix::fs::statvfs(&machine.root).map_or((0, 0), |disk| {
        (
            (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
            disk.f_blocks * disk.f_frsize,
        )
    });
    Metrics {
        cpu,
        cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32),
        memory_used: memory.total.saturating_sub(memory.available),
        memory_total: memory.total,
        disk_used,
        disk_total,
        load: proc::load(),
        uptime_ms: proc::uptime().as_millis() as u64,
        processes: proc::pids().count() as u32,
    }
}

/// All processes but those of the kernel.
pub async fn processes(call: Call) -> Outcome {
    // Reading another user's processes takes more than the user's rights, so it is done here.
    let processes = tokio::task::spawn_blocking(|| {
        proc::processes()
            .map(|process| frames::processes::Process {
                pid: process.pid as u32,
                parent: process.parent as u32,
                user: crate::user::name_of(process.uid),
                memory: process.memory,
                cpu_seconds: process.cpu_seconds,
                command: process.command(),
            })
            .collect()
    });
    let processes = processes.await.unwrap_or_default();
    call.answer(Answer::Processes(frames::Processes { processes }))
        .await
}
