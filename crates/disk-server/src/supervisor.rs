//! The monitor's side: starts a disk's server, keeps its door, and puts a successor in its place when it dies.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};
use storage::disk::Figures;
use storage::door::fuse::{self, Connection};
use storage::manifest::Point;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::protocol::{Ask, Asked, Said, Trouble, Troubles};
use crate::spec::{DoorChoice, ServerSpec};

/// A server opens its disk within milliseconds; one that has to fetch an index from a slow store may need longer.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between attempts to put a successor in place.
const RETRY: Duration = Duration::from_millis(500);
/// A server whose monitor is done with it flushes and ends.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// What a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    Disk,
    /// The memory of a machine that wakes.
    Memory,
}

/// What a VMM opens.
#[derive(Debug)]
pub enum Door {
    /// Read and written without the page cache.
    File(File),
    /// Of the network block device; a descriptor of the socket's name, so that a VMM that may not look into its
    /// folder can connect to it, as often as it has to.
    Nbd(OwnedFd),
}

/// What is known of a disk and its server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Process id of the server; 0 while there is none.
    pub process: u32,
    /// Successors so far.
    pub takeovers: u32,
    pub troubles: Troubles,
    pub figures: Figures,
    /// When the figures came.
    pub figures_at: Option<Instant>,
    /// Newest version in the store.
    pub version: u64,
    /// Of an image: all of it is on this host.
    pub whole: bool,
}

impl Status {
    /// For how long the oldest flushed byte has been on this host alone; zero when there is none. It grows while the
    /// server is too busy to say so.
    pub fn unsent_age(&self) -> Duration {
        let age = Duration::from_millis(self.figures.age_ms);
        match self.figures_at {
            Some(at) if !age.is_zero() => age + at.elapsed(),
            _ => age,
        }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the disk's server cannot be started")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the disk's server ended before the disk was open; the monitor's log may say why")]
    Ended,
    #[error("the disk did not open within {} s", READY_WITHIN.as_secs())]
    Slow,
}

/// A disk that is being served, until [`Supervisor::end`]. Clones are of the same.
#[derive(Clone)]
pub struct Supervisor {
    asks: mpsc::Sender<Request>,
    status: watch::Receiver<Status>,
    ending: CancellationToken,
}

struct Request {
    ask: Ask,
    begun: oneshot::Sender<()>,
    answer: oneshot::Sender<Result<u64, String>>,
}

/// A point in time that is on its way.
pub struct Pointing {
    begun: oneshot::Receiver<()>,
    answered: oneshot::Receiver<Result<u64, String>>,
}

impl Pointing {
    /// Returns when the moment has passed: what is written from now on is not in it. An error tells the same of one
    /// that comes to nothing.
    pub async fn begun(&mut self) -> Result<(), String> {
        (&mut self.begun).await.map_err(|_| gone())
    }

    /// Returns the version that has it, when it is in the store.
    pub async fn stored(self) -> Result<u64, String> {
        self.answered.await.map_err(|_| gone())?
    }
}

fn gone() -> String {
    "the disk's server has ended".to_owned()
}

impl Supervisor {
    /// Starts the server of `spec`, a file of [`ServerSpec`]'s or [`crate::MemorySpec`]'s, and opens its door. `folder` is
    /// for the socket, if there has to be one, which is given to the user `owner`. `program` is run as
    /// `PROGRAM disk-server --spec SPEC`, or `memory-server`.
    pub async fn start(
        program: &Path,
        serves: Serves,
        spec: &Path,
        folder: &Path,
        owner: Option<u32>,
    ) -> Result<(Self, Door), StartError> {
        let (kept, mount) = match serves {
            Serves::Disk => Kept::make(ServerSpec::read(spec)?.door, &folder.join("disk.sock"))?,
            Serves::Memory => Kept::channel(fuse::connect(fuse::Use::Image)?)?,
        };
        let home = Home {
            program: program.to_owned(),
            serves,
            spec: spec.to_owned(),
            kept,
        };
        let life = Life::start(&home).await?;
        let door = match (mount, &home.kept) {
            (Some(mount), _) => {
                // It waits for the server, which might die right now.
                let opened = tokio::task::spawn_blocking(move || mount.open());
                let opened = timeout(READY_WITHIN, opened)
                    .await
                    .map_err(|_| StartError::Slow)?;
                Door::File(opened.map_err(io::Error::from)??)
            }
            (None, Kept::Channel(_)) => unreachable!("a channel has a mount"),
            (None, Kept::Listener { path, .. }) => Door::Nbd(socket(path, owner)?),
        };
        let (asks, asked) = mpsc::channel(16);
        let (publish, status) = watch::channel(Status {
            process: life.process(),
            ..Status::default()
        });
        let ending = CancellationToken::new();
        tokio::spawn(supervise(home, life, asked, publish, ending.clone()));
        let supervisor = Self {
            asks,
            status,
            ending,
        };
        Ok((supervisor, door))
    }

    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Takes a point in time, now. Returns the version that has it, when it is in the store.
    pub async fn point(&self, point: Point) -> Result<u64, String> {
        self.ask(Ask::Point { point }).await
    }

    /// The same in two steps.
    pub async fn begin_point(&self, point: Point) -> Result<Pointing, String> {
        self.begin(Ask::Point { point }).await
    }

    pub async fn grow(&self, blocks: u32) -> Result<(), String> {
        self.ask(Ask::Grow { blocks }).await.map(drop)
    }

    /// Returns when the store has everything that was written before.
    pub async fn settle(&self) -> Result<u64, String> {
        self.ask(Ask::Settle).await
    }

    /// Gives up a version that was kept under a name.
    pub async fn forget(&self, version: u64) -> Result<u64, String> {
        self.ask(Ask::Forget { version }).await
    }

    async fn ask(&self, ask: Ask) -> Result<u64, String> {
        self.begin(ask).await?.stored().await
    }

    async fn begin(&self, ask: Ask) -> Result<Pointing, String> {
        let (begun, begins) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let request = Request { ask, begun, answer };
        self.asks.send(request).await.map_err(|_| gone())?;
        Ok(Pointing {
            begun: begins,
            answered,
        })
    }

    /// Lets the server flush and end, and gives the door up: whoever still waits for an answer gets an error.
    pub fn let_go(&self) {
        self.ending.cancel();
    }

    /// The same; returns when the server has gone.
    pub async fn end(&self) {
        self.let_go();
        let mut status = self.status();
        while status.changed().await.is_ok() {}
    }
}

/// What is kept for successors.
enum Kept {
    Channel(File),
    Listener {
        listener: UnixListener,
        path: PathBuf,
    },
}

impl Kept {
    fn make(choice: DoorChoice, socket: &Path) -> io::Result<(Self, Option<Connection>)> {
        if choice != DoorChoice::Nbd {
            match fuse::connect(fuse::Use::Disk) {
                Ok(connection) => return Self::channel(connection),
                Err(error) if choice == DoorChoice::Fuse => return Err(error),
                Err(error) => tracing::info!(%error, "no file of the kernel's: a socket it is"),
            }
        }
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        let path = socket.to_owned();
        Ok((Self::Listener { listener, path }, None))
    }

    fn channel(connection: Connection) -> io::Result<(Self, Option<Connection>)> {
        let channel = connection.channel.try_clone()?;
        Ok((Self::Channel(channel), Some(connection)))
    }

    fn descriptor(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Channel(channel) => Ok(channel.try_clone()?.into()),
            Self::Listener { listener, .. } => Ok(listener.try_clone()?.into()),
        }
    }
}

fn socket(path: &Path, owner: Option<u32>) -> io::Result<OwnedFd> {
    std::os::unix::fs::chown(path, owner, None)?;
    Ok(rustix::fs::openat(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// What every server of a disk is started with.
struct Home {
    program: PathBuf,
    serves: Serves,
    spec: PathBuf,
    kept: Kept,
}

/// One server.
struct Life {
    child: Child,
    said: Lines<BufReader<OwnedReadHalf>>,
    control: OwnedWriteHalf,
    waiting: HashMap<u64, Waiting>,
    asked: u64,
}

/// Who waits for what was asked.
struct Waiting {
    begun: Option<oneshot::Sender<()>>,
    answer: oneshot::Sender<Result<u64, String>>,
}

/// Why a server's life is over.
enum Over {
    /// Nobody wants it any more, and it has ended.
    Done,
    Died,
}

impl Life {
    async fn start(home: &Home) -> Result<Self, StartError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(&home.program)
            .arg(match home.serves {
                Serves::Disk => "disk-server",
                Serves::Memory => "memory-server",
            })
            .arg("--spec")
            .arg(&home.spec)
            .stdin(OwnedFd::from(theirs))
            .stdout(home.kept.descriptor()?)
            .stderr(Stdio::inherit())
            // Memory that many threads have freed is to go back.
            .env("MALLOC_ARENA_MAX", "2")
            // Packs and what is fetched come and go: their memory goes too.
            .env("MALLOC_MMAP_THRESHOLD_", "262144")
            .env("MALLOC_TRIM_THRESHOLD_", "524288")
            .spawn()?;
        let (said, control) = UnixStream::from_std(ours)?.into_split();
        let mut life = Self {
            child,
            said: BufReader::new(said).lines(),
            control,
            waiting: HashMap::new(),
            asked: 0,
        };
        match timeout(READY_WITHIN, life.ready()).await {
            Ok(Ok(())) => Ok(life),
            Ok(Err(error)) => {
                life.reap().await;
                Err(error)
            }
            Err(_) => {
                life.reap().await;
                Err(StartError::Slow)
            }
        }
    }

    async fn ready(&mut self) -> Result<(), StartError> {
        loop {
            match self.next().await {
                Some(Said::Ready) => return Ok(()),
                Some(Said::Failed { reason }) => return Err(StartError::Refused(reason)),
                Some(_) => {}
                None => return Err(StartError::Ended),
            }
        }
    }

    /// What the server says next; `None` when it has ended.
    async fn next(&mut self) -> Option<Said> {
        loop {
            let line = self.said.next_line().await.ok()??;
            match serde_json::from_str(&line) {
                Ok(said) => return Some(said),
                Err(error) => tracing::error!(%error, "the disk's server says what makes no sense"),
            }
        }
    }

    fn process(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Makes sure that it is gone for good.
    async fn reap(&mut self) {
        // It may have ended already.
        let _ = self.child.start_kill();
        if let Err(error) = self.child.wait().await {
            tracing::error!(%error, "the disk's server cannot be waited for");
        }
    }

    async fn serve(
        &mut self,
        asked: &mut mpsc::Receiver<Request>,
        publish: &watch::Sender<Status>,
        ending: &CancellationToken,
    ) -> Over {
        loop {
            tokio::select! {
                () = ending.cancelled() => return self.end().await,
                said = self.next() => match said {
                    Some(said) => self.heard(said, publish),
                    None => return Over::Died,
                },
                Some(request) = asked.recv() => self.ask(request).await,
            }
        }
    }

    fn heard(&mut self, said: Said, publish: &watch::Sender<Status>) {
        match said {
            Said::Figures { figures, version } => publish.send_modify(|status| {
                status.figures = figures;
                status.figures_at = Some(Instant::now());
                status.version = version;
            }),
            Said::Whole => publish.send_modify(|status| status.whole = true),
            Said::Trouble { trouble } => publish.send_modify(|status| status.troubles = trouble),
            Said::Done {
                id,
                version,
                failure,
            } => {
                if let Some(waiting) = self.waiting.remove(&id) {
                    let _ = waiting.answer.send(failure.map_or(Ok(version), Err));
                }
            }
            Said::Begun { id } => {
                let waiting = self.waiting.get_mut(&id);
                if let Some(begun) = waiting.and_then(|waiting| waiting.begun.take()) {
                    let _ = begun.send(());
                }
            }
            Said::Ready | Said::Failed { .. } => {}
        }
    }

    async fn ask(&mut self, request: Request) {
        self.asked += 1;
        let asked = Asked {
            id: self.asked,
            what: request.ask,
        };
        let mut line = serde_json::to_vec(&asked).expect("it has no keys but texts");
        line.push(b'\n');
        let waiting = Waiting {
            begun: Some(request.begun),
            answer: request.answer,
        };
        self.waiting.insert(self.asked, waiting);
        // Its end is about to be noticed.
        let _ = self.control.write_all(&line).await;
    }

    async fn end(&mut self) -> Over {
        let _ = self.control.shutdown().await;
        if timeout(ENDS_WITHIN, self.child.wait()).await.is_err() {
            tracing::warn!("the disk's server does not end and is killed");
        }
        self.reap().await;
        Over::Done
    }
}

async fn supervise(
    home: Home,
    mut life: Life,
    mut asked: mpsc::Receiver<Request>,
    publish: watch::Sender<Status>,
    ending: CancellationToken,
) {
    loop {
        match life.serve(&mut asked, &publish, &ending).await {
            Over::Done => return,
            // Only now may another one serve: two would both write.
            Over::Died => life.reap().await,
        }
        tracing::warn!("the disk's server has died");
        publish.send_modify(|status| {
            status.process = 0;
            status.takeovers += 1;
        });
        // Whoever waits learns it.
        drop(life);
        life = tokio::select! {
            life = successor(&home, &publish) => life,
            () = ending.cancelled() => return,
        };
        publish.send_modify(|status| {
            status.process = life.process();
            status.troubles = Troubles::default();
        });
    }
}

/// Tries until there is one.
async fn successor(home: &Home, publish: &watch::Sender<Status>) -> Life {
    loop {
        match Life::start(home).await {
            Ok(life) => return life,
            Err(error) => {
                let reason = format!("the disk's server died, and none takes its place: {error}");
                tracing::error!(reason);
                let door = Some(Trouble {
                    reason,
                    full: false,
                });
                publish.send_modify(|status| status.troubles.door = door);
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}
