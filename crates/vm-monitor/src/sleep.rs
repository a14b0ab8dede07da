//! The machine at one moment: its memory, the state of its devices and its disk, in the store. It goes on after that
//! moment, or stands still until it is ended.
//!
//! While it goes on, what has changed is stored before, as often as that leaves less to do, so that it stands still for
//! what has changed in the last moments alone. After any failure it goes on.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use disk_server::Supervisor;
use microvm::driver::Vm;
use microvm::memory::Scan;
use storage::manifest::Version;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};

use crate::capture::{Ask, CaptureSpec, Said};

/// Times that changes are stored while the machine runs; it may change pages faster than they are stored.
const PASSES: usize = 4;
/// So few pages are copied in a moment.
const FEW: u64 = 2048;

/// What was captured.
#[derive(Clone, Debug, PartialEq)]
pub struct Captured {
    pub memory: Version,
    /// Number of the disk's version.
    pub disk: u64,
    /// How long the machine stood still; `None`: it still does.
    pub paused: Option<Duration>,
}

/// What a capture works on.
pub struct Machine<'a> {
    pub vm: &'a Arc<dyn Vm>,
    pub disk: &'a Supervisor,
    /// Run as `PROGRAM memory-writer --spec FILE`.
    pub program: &'a Path,
    /// For its files.
    pub folder: &'a Path,
}

/// What becomes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    GoesOn,
    StaysStill,
}

impl Machine<'_> {
    /// Captures it. `scan`: which pages the version before does not have. `progress` is told how many pages of how many
    /// are stored.
    pub async fn capture(
        &self,
        spec: &CaptureSpec,
        scan: Scan,
        then: Then,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Captured, String> {
        let mut writer = Writer::start(self, spec).await.map_err(text)?;
        let mut scan = scan;
        if then == Then::GoesOn {
            for _ in 0..PASSES {
                let stored = writer.store(scan, progress).await?;
                scan = Scan::Since;
                if stored <= FEW {
                    break;
                }
            }
        }
        // Little is left to be sent when it stands still.
        self.disk.settle().await?;
        let began = Instant::now();
        self.vm.pause().await.map_err(text)?;
        let captured = self
            .while_still(&mut writer, spec, scan, then, began, progress)
            .await;
        if captured.is_err() {
            // It may go on already.
            let _ = self.vm.resume().await;
        }
        captured
    }

    async fn while_still(
        &self,
        writer: &mut Writer,
        spec: &CaptureSpec,
        scan: Scan,
        then: Then,
        began: Instant,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Captured, String> {
        let devices = self.folder.join("devices");
        let state = async {
            let state = self.vm.device_state().await.map_err(text)?;
            tokio::fs::write(&devices, state).await.map_err(text)
        };
        let cut = async {
            let mut pointing = self.disk.begin_point(spec.point.clone()).await?;
            pointing.begun().await?;
            Ok::<_, String>(pointing)
        };
        let mut paused = None;
        let pointing = match then {
            Then::GoesOn => {
                let ((), pointing, ()) = tokio::try_join!(state, cut, writer.take(scan))?;
                self.vm.resume().await.map_err(text)?;
                paused = Some(began.elapsed());
                pointing
            }
            Then::StaysStill => {
                let stored = async { writer.store(scan, progress).await };
                tokio::try_join!(state, cut, stored)?.1
            }
        };
        let disk = pointing.stored().await?;
        let memory = writer.commit(disk, devices).await?;
        Ok(Captured {
            memory,
            disk,
            paused,
        })
    }
}

fn text(error: impl std::error::Error + Send + Sync + 'static) -> String {
    disk_server::chain(&error)
}

/// The process that writes.
struct Writer {
    /// Ends with this.
    _child: Child,
    said: Lines<BufReader<OwnedReadHalf>>,
    control: OwnedWriteHalf,
}

impl Writer {
    async fn start(machine: &Machine<'_>, spec: &CaptureSpec) -> io::Result<Self> {
        let path = machine.folder.join("capture.json");
        disk_server::spec::write(spec, &path)?;
        let memory = machine.vm.memory().await.map_err(io::Error::other)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        memory.pass_on(&ours)?;
        ours.set_nonblocking(true)?;
        let child = Command::new(machine.program)
            .arg("memory-writer")
            .arg("--spec")
            .arg(&path)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let (said, control) = UnixStream::from_std(ours)?.into_split();
        let mut writer = Self {
            _child: child,
            said: BufReader::new(said).lines(),
            control,
        };
        match writer.next().await {
            Ok(Said::Ready) => Ok(writer),
            Ok(other) => Err(io::Error::other(format!("{other:?}"))),
            Err(reason) => Err(io::Error::other(reason)),
        }
    }

    async fn next(&mut self) -> Result<Said, String> {
        let line = self.said.next_line().await.map_err(text)?;
        let line = line.ok_or("the process that stores the memory has ended")?;
        match serde_json::from_str(&line).map_err(text)? {
            Said::Failed { reason } => Err(reason),
            said => Ok(said),
        }
    }

    async fn ask(&mut self, ask: &Ask) -> Result<(), String> {
        let mut line = serde_json::to_vec(ask).map_err(text)?;
        line.push(b'\n');
        self.control.write_all(&line).await.map_err(text)
    }

    async fn store(
        &mut self,
        scan: Scan,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<u64, String> {
        self.ask(&Ask::Store { scan }).await?;
        loop {
            match self.next().await? {
                Said::Progress { done, of } => progress(done, of),
                Said::Stored { pages } => return Ok(pages),
                other => return Err(format!("unexpected: {other:?}")),
            }
        }
    }

    async fn take(&mut self, scan: Scan) -> Result<(), String> {
        self.ask(&Ask::Take { scan }).await?;
        match self.next().await? {
            Said::Taken { .. } => Ok(()),
            other => Err(format!("unexpected: {other:?}")),
        }
    }

    async fn commit(&mut self, disk: u64, devices: PathBuf) -> Result<Version, String> {
        self.ask(&Ask::Commit { disk, devices }).await?;
        match self.next().await? {
            Said::Committed { version } => Ok(version),
            other => Err(format!("unexpected: {other:?}")),
        }
    }
}
