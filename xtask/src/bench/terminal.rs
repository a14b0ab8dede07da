//! Echo in a terminal: from the frame that carries a key to the frame that shows it, at a native WebSocket client.
//! With an idle guest, beside a flood and a download, and in a guest that has no CPU or memory left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use guest_protocol::client::{CallWriter, ExecEvent, Session, Terminal, TerminalEvent};
use guest_protocol::frames::{ExecStart, StreamClass};
use roost_tests::api::empty;
use roost_tests::guest::{session, shell};
use roost_tests::{Options, Server};
use tokio::task::JoinHandle;

use super::report::{Bar, Row, Samples};
use super::workbench;
use super::world::{accelerator, first_prompt, timed};

const IDLE_P99_MS: f64 = 20.0;
const TRAFFIC_P99_MS: f64 = 60.0;
const BUSY_P99_MS: f64 = 100.0;
/// Between two keys: faster than anybody types, slow enough that each finds the last one answered.
const PACE: Duration = Duration::from_millis(30);
/// No echo takes longer; else something hangs.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the flood is watched with nothing beside it.
const ALONE: Duration = Duration::from_secs(5);
const WORKSPACE: &str = "terminal";
/// What is downloaded over and over, MiB.
const DOWNLOAD_MIB: u64 = 100;

/// Two endless loops for each CPU, and a program that keeps touching all memory that it can get; the kernel may kill
/// it, so that it is started anew.
const BUSY: &str = r#"
for _ in $(seq $(($(nproc) * 2))); do (while :; do :; done) & done
while :; do python3 -c '
free = next(line for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
memory = bytearray(int(free.split()[1]) * 1024 * 95 // 100)
first = True
while True:
    for place in range(0, len(memory), 4096): memory[place] = 1
    if first: print("full", flush=True)
    first = False
'; done"#;

pub async fn run(keys: usize) -> anyhow::Result<(String, Vec<Row>)> {
    let server = Server::start(Options::default()).await?;
    server.running(&empty(WORKSPACE)).await?;
    let api = server.api();
    let tab = session(api, WORKSPACE, StreamClass::Interactive).await?;
    let mut echo = Echo::open(&tab).await?;

    let mut pings = Samples::default();
    for _ in 0..keys {
        pings
            .0
            .push(timed(async { Ok(tab.ping().await?) }).await?.1);
    }
    let idle = echo.samples(keys).await?;

    let bulk = session(api, WORKSPACE, StreamClass::Bulk).await?;
    let flood = Traffic::start(flood(&tab).await?);
    tokio::time::sleep(ALONE).await;
    let alone = Samples(vec![flood.rate()?]);
    let download = Traffic::start(download(bulk).await?);
    let traffic = echo.samples(keys).await?;
    let (flood, download) = (flood.stop()?, download.stop()?);
    // The flood's terminal is gone with its attachment only when told to.
    shell(&tab, "pkill -x yes").await?;

    let busy_guest = busy(&tab).await?;
    let busy = echo.samples(keys).await?;
    busy_guest.abort();

    let mut rows = vec![
        Row::compared(
            "echo, idle guest",
            "ms",
            &idle,
            Some(("the agent's answer to a ping", &pings)),
            Bar::P99AtMost(IDLE_P99_MS),
        ),
        Row::new(
            "echo, beside `yes` and a download",
            "ms",
            &traffic,
            Bar::P99AtMost(TRAFFIC_P99_MS),
        ),
        Row::new("  `yes` alone, as it came", "MiB/s", &alone, Bar::None),
        Row::new("  `yes` beside the download", "MiB/s", &flood, Bar::None),
        Row::new("  download, as it came", "MiB/s", &download, Bar::None),
        Row::new(
            "echo, guest without CPU and memory",
            "ms",
            &busy,
            Bar::P99AtMost(BUSY_P99_MS),
        ),
    ];
    let accelerator = accelerator(api).await?;
    server.close().await?;
    rows.extend(workbench::terminal_echo(keys).await?);
    Ok((accelerator, rows))
}

/// A terminal in which a program reads and says nothing: what comes back is the echo alone.
struct Echo {
    terminal: Terminal,
    input: CallWriter,
}

impl Echo {
    async fn open(session: &Session) -> anyhow::Result<Self> {
        let mut terminal = first_prompt(session).await?;
        let mut input = terminal.input();
        input
            .write("exec sh -c 'echo rea''dy; exec cat >/dev/null'\r")
            .await?;
        let mut seen = Vec::new();
        while !seen.windows(7).any(|window| window == b"ready\r\n") {
            if let TerminalEvent::Output { bytes, .. } = next(&mut terminal).await? {
                seen.extend_from_slice(&bytes);
            }
        }
        Ok(Self { terminal, input })
    }

    async fn samples(&mut self, keys: usize) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        for key in 0..keys {
            tokio::time::sleep(PACE).await;
            let letter = b'a' + (key % 26) as u8;
            samples.0.push(timed(self.one(letter)).await?.1);
            if key % 60 == 59 {
                // A line of its own before the terminal's line buffer is full.
                timed(self.one(b'\r')).await?;
            }
        }
        Ok(samples)
    }

    async fn one(&mut self, key: u8) -> anyhow::Result<()> {
        self.input.write(vec![key]).await?;
        let shown = if key == b'\r' { b'\n' } else { key };
        loop {
            if let TerminalEvent::Output { bytes, .. } = next(&mut self.terminal).await?
                && bytes.contains(&shown)
            {
                return Ok(());
            }
        }
    }
}

async fn next(terminal: &mut Terminal) -> anyhow::Result<TerminalEvent> {
    let next = tokio::time::timeout(DEADLINE, terminal.next()).await;
    next.context("the terminal says nothing")??
        .context("the terminal was closed")
}

/// Bytes that come in by the side.
struct Traffic {
    bytes: Arc<AtomicU64>,
    began: Instant,
    task: JoinHandle<()>,
}

impl Traffic {
    fn start((bytes, task): (Arc<AtomicU64>, JoinHandle<()>)) -> Self {
        bytes.store(0, Ordering::Relaxed);
        let began = Instant::now();
        Self { bytes, began, task }
    }

    /// MiB/s so far.
    fn rate(&self) -> anyhow::Result<f64> {
        let mib = self.bytes.load(Ordering::Relaxed) as f64 / f64::from(1 << 20);
        ensure!(mib > 0.0, "there was no traffic");
        Ok(mib / self.began.elapsed().as_secs_f64())
    }

    /// Ends it and returns how fast it came, MiB/s.
    fn stop(self) -> anyhow::Result<Samples> {
        ensure!(!self.task.is_finished(), "the traffic ended by itself");
        self.task.abort();
        Ok(Samples(vec![self.rate()?]))
    }
}

/// `yes` in another terminal of the same tab.
async fn flood(tab: &Session) -> anyhow::Result<(Arc<AtomicU64>, JoinHandle<()>)> {
    let mut terminal = first_prompt(tab).await?;
    let mut input = terminal.input();
    input.write("yes\r").await?;
    let bytes = Arc::new(AtomicU64::new(0));
    let counter = bytes.clone();
    let task = tokio::spawn(async move {
        let _input = input;
        while let Ok(Some(event)) = terminal.next().await {
            let came = match event {
                TerminalEvent::Output { bytes, .. } => bytes.len(),
                TerminalEvent::Repaint(state) => state.repaint.len(),
                TerminalEvent::Exited(_) => return,
            };
            counter.fetch_add(came as u64, Ordering::Relaxed);
        }
    });
    Ok((bytes, task))
}

/// A large file, again and again.
async fn download(bulk: Session) -> anyhow::Result<(Arc<AtomicU64>, JoinHandle<()>)> {
    let make = format!("head -c {DOWNLOAD_MIB}M /dev/urandom >download && pwd");
    let made = shell(&bulk, &make).await?;
    ensure!(made.success(), "the guest made no file: {made:?}");
    let path = format!("{}/download", String::from_utf8(made.stdout)?.trim());
    let bytes = Arc::new(AtomicU64::new(0));
    let counter = bytes.clone();
    let task = tokio::spawn(async move {
        while let Ok(mut file) = bulk.read_file(&path, 0, 0).await {
            while let Ok(Some(part)) = file.next().await {
                counter.fetch_add(part.len() as u64, Ordering::Relaxed);
            }
        }
    });
    Ok((bytes, task))
}

/// Returns when all memory is taken.
async fn busy(tab: &Session) -> anyhow::Result<JoinHandle<()>> {
    let command = ["bash", "-c", BUSY].map(String::from).to_vec();
    let start = ExecStart {
        command,
        ..ExecStart::default()
    };
    let mut exec = tab.exec(start).await?;
    let full = async {
        loop {
            let event = exec.next().await?.context("the load ended by itself")?;
            if matches!(event, ExecEvent::Stdout { .. }) {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(300), full)
        .await
        .context("the guest's memory is not full in time")??;
    Ok(tokio::spawn(async move {
        while let Ok(Some(_)) = exec.next().await {}
    }))
}
