//! The process: opens the disk, answers on its door, and looks after it until its monitor is gone.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use storage::disk::Disk;
use storage::disk::keeper::{Keeper, Policy};
use storage::door::{DiskDevice, fuse, nbd};
use storage::manifest::Point;
use storage::{Result, StorageError};

use crate::lock;
use crate::protocol::{Ask, Asked, Said};
use crate::spec::ServerSpec;
use crate::telling::{Monitor, chain};

/// Threads that answer the kernel.
const DOOR_THREADS: usize = 4;
/// Between looks at what is to be done. What was flushed is to be in the store within 5 s.
const PERIOD: Duration = Duration::from_millis(500);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// A VMM whose monitor has died dies too, and lets go of its disk.
const VMM_GONE_WITHIN: Duration = Duration::from_secs(5);
/// Attempts at a cut that a failed sync makes void.
const CUTS: usize = 5;
/// Of `/proc/PID/oom_score_adj`: VMs are what the kernel is to take.
const OUT_OF_MEMORY_SCORE: &str = "-900";

/// Why a server did not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("the disk's spec cannot be read")]
    Spec(#[source] io::Error),
    #[error("the disk cannot be opened")]
    Open(#[from] StorageError),
    #[error("the disk server cannot use what it was given")]
    Io(#[from] io::Error),
}

/// Serves the disk of `spec` until standard input ends: the whole of a process. Standard input is the control
/// socket, standard output the door.
pub fn run(spec: &Path) -> std::result::Result<(), ServerError> {
    as_server(|control, door, monitor| serve(spec, control, door, monitor))
}

/// What every server's process does first, and at its end.
pub fn as_server(
    serve: impl FnOnce(UnixStream, OwnedFd, &Arc<Monitor>) -> std::result::Result<(), ServerError>,
) -> std::result::Result<(), ServerError> {
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(io::stderr);
    log.init();
    // An ordinary user may not lower it.
    let _ = std::fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE);
    let control = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let door = rustix::stdio::stdout().try_clone_to_owned()?;
    let monitor = Arc::new(Monitor::new(control.try_clone()?));
    match serve(control, door, &monitor) {
        Ok(()) => Ok(()),
        Err(error) => {
            monitor.say(&Said::Failed {
                reason: chain(&error),
            });
            Err(error)
        }
    }
}

fn serve(
    spec: &Path,
    control: UnixStream,
    door: OwnedFd,
    monitor: &Arc<Monitor>,
) -> std::result::Result<(), ServerError> {
    let spec = ServerSpec::read(spec).map_err(ServerError::Spec)?;
    // A server before this one may still be at its last flush.
    let _lock = lock::take(&spec.disk.folder)?;
    let runtime = spec.disk.store.is_remote().then(runtime).transpose()?;
    let handle = runtime.as_ref().map(tokio::runtime::Runtime::handle);
    let disk = Arc::new(spec.disk.open(handle)?);
    let door = Door::open(door, &disk, monitor)?;
    monitor.say(&Said::Ready);
    let (jobs, asked) = channel();
    let keeper = {
        let (disk, monitor) = (disk.clone(), monitor.clone());
        std::thread::spawn(move || keep(&disk, &asked, &monitor, Policy::default()))
    };
    listen(control, &disk, &jobs, monitor);
    drop(jobs);
    // Nobody waits for it any more but the disk itself.
    let gone = Instant::now() + VMM_GONE_WITHIN;
    while !door.is_done() && Instant::now() < gone {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = keeper.join();
    disk.flush()?;
    Ok(())
}

pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Takes what is asked until the monitor is gone.
fn listen(control: UnixStream, disk: &Disk, jobs: &Sender<Job>, monitor: &Monitor) {
    for line in BufReader::new(control).lines() {
        let Ok(line) = line else { return };
        let asked: Asked = match serde_json::from_str(&line) {
            Ok(asked) => asked,
            Err(error) => {
                tracing::error!(%error, "the monitor asked what makes no sense");
                continue;
            }
        };
        let id = asked.id;
        let job = match asked.what {
            // At once, so that it is the moment that was asked for.
            Ask::Point { point } => disk.cut().map(|cut| {
                monitor.say(&Said::Begun { id });
                Work::Send {
                    cut,
                    point: Some(point),
                }
            }),
            Ask::Settle => disk.cut().map(|cut| Work::Send { cut, point: None }),
            Ask::Forget { version } => Ok(Work::Forget { version }),
            Ask::Grow { blocks } => {
                let grown = disk.grow(blocks).and_then(|()| disk.flush());
                monitor.done(id, grown.map(|()| disk.manifest().version.number));
                continue;
            }
        };
        match job {
            Ok(what) => {
                let _ = jobs.send(Job { id, what });
            }
            Err(error) => monitor.done(id, Err(error)),
        }
    }
}

/// Something that waits for its turn.
struct Job {
    id: u64,
    what: Work,
}

enum Work {
    /// Everything before the cut.
    Send {
        cut: u64,
        point: Option<Point>,
    },
    Forget {
        version: u64,
    },
}

/// Sends, writes checkpoints and cleans, until nobody can ask any more. What somebody waits for goes first: beside a
/// guest that never stops writing, there is always something else to do.
fn keep(disk: &Disk, asked: &Receiver<Job>, monitor: &Monitor, policy: Policy) {
    let mut keeper = Keeper::new(policy);
    let mut wait = PERIOD;
    loop {
        match asked.recv_timeout(wait) {
            Ok(job) => {
                let done = match &job.what {
                    Work::Send { cut, point } => send(disk, *cut, point.as_ref()),
                    Work::Forget { version } => forget(disk, *version),
                };
                monitor.keeping(done.as_ref().err());
                monitor.done(job.id, done);
            }
            Err(RecvTimeoutError::Timeout) => match keeper.turn(disk) {
                Ok(done) => {
                    wait = done.map_or(PERIOD, |_| Duration::ZERO);
                    monitor.keeping(None);
                }
                // The next turn takes another.
                Err(StorageError::CutAgain) => wait = PERIOD,
                Err(error) => {
                    wait = RETRY;
                    monitor.keeping(Some(&error));
                }
            },
            Err(RecvTimeoutError::Disconnected) => return,
        }
        monitor.figures(disk);
    }
}

fn forget(disk: &Disk, version: u64) -> Result<u64> {
    disk.forget(version)?;
    Ok(disk.manifest().version.number)
}

/// Sends what was before a cut. One that a failed sync made void is taken again: what it stood for is in the new one.
fn send(disk: &Disk, mut cut: u64, point: Option<&Point>) -> Result<u64> {
    for _ in 0..CUTS {
        match disk.upload(cut, point) {
            Err(StorageError::CutAgain) => cut = disk.cut()?,
            other => return other.map(|manifest| manifest.version.number),
        }
    }
    Err(StorageError::CutAgain)
}

/// What answers the VMM.
enum Door {
    Fuse(Vec<JoinHandle<()>>),
    Nbd,
}

impl Door {
    fn open(door: OwnedFd, disk: &Arc<Disk>, monitor: &Arc<Monitor>) -> io::Result<Self> {
        if rustix::net::sockopt::socket_type(&door).is_ok() {
            let listener = UnixListener::from(door);
            let (disk, monitor) = (disk.clone(), monitor.clone());
            std::thread::spawn(move || accept(&listener, &disk, &monitor));
            return Ok(Self::Nbd);
        }
        let channel = Arc::new(File::from(door));
        let threads = answer(&channel, || {
            let (channel, device) = (channel.clone(), device(disk, monitor));
            move || fuse::serve(&channel, &device)
        });
        Ok(Self::Fuse(threads))
    }

    /// The VMM has let go of the disk.
    fn is_done(&self) -> bool {
        match self {
            Self::Fuse(threads) => threads.iter().all(JoinHandle::is_finished),
            Self::Nbd => true,
        }
    }
}

/// Starts the threads that answer the kernel, each of which does what `server` gives.
pub fn answer<S: FnOnce() -> io::Result<()> + Send + 'static>(
    channel: &File,
    server: impl Fn() -> S,
) -> Vec<JoinHandle<()>> {
    // What the one before has not answered; nothing, when there was none.
    match fuse::resend(channel) {
        Ok(()) => {}
        Err(error) => tracing::info!(%error, "nothing is asked again"),
    }
    let start = |_| {
        let serve = server();
        std::thread::spawn(move || {
            if let Err(error) = serve() {
                // A VM that nobody answers hangs; with its server gone it gets a successor.
                tracing::error!(%error, "the door fails");
                std::process::exit(1);
            }
        })
    };
    (0..DOOR_THREADS).map(start).collect()
}

fn device(
    disk: &Arc<Disk>,
    monitor: &Arc<Monitor>,
) -> DiskDevice<impl Fn(Option<&StorageError>) + Send + Sync + use<>> {
    let monitor = monitor.clone();
    let report = move |error: Option<&StorageError>| monitor.door(error);
    DiskDevice::new(disk.clone(), report)
}

fn accept(listener: &UnixListener, disk: &Arc<Disk>, monitor: &Arc<Monitor>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let device = device(disk, monitor);
        std::thread::spawn(move || {
            if let Err(error) = nbd::serve(&stream, &device) {
                tracing::warn!(%error, "a client of the disk was lost");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use storage::keys::{KeyRing, SystemEntropy, Tenant};
    use storage::manifest::{DiskName, Manifest, PointKind};
    use storage::store::Store;
    use storage::{OpenDisk, World};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn disk(folder: &Path) -> Disk {
        let path = |name: &str| {
            let path = folder.join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let tenant = Tenant::new("t").unwrap();
        let keys = KeyRing::generate(&SystemEntropy).tenant(&tenant).unwrap();
        let store = Store::folder(&path("store")).unwrap();
        let name = DiskName::new("disk").unwrap();
        let opener = OpenDisk {
            world: World::new(store, keys),
            name: name.clone(),
            folder: path("disk"),
            epoch: 1,
            base: None,
        };
        let unborn = Manifest::unborn(tenant, name, 1024, None);
        opener.create(unborn).unwrap()
    }

    #[test]
    fn a_point_does_not_wait_until_there_is_nothing_else_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path());
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let monitor = Monitor::new(theirs);
        // There always is a checkpoint to write.
        let policy = Policy {
            tail_bytes: 0,
            ..Policy::default()
        };
        let (jobs, asked) = channel();
        let taken = std::thread::scope(|scope| {
            let (disk, monitor) = (&disk, &monitor);
            scope.spawn(move || keep(disk, &asked, monitor, policy));
            disk.write(0, &[1; 4096]).unwrap();
            let mut said = BufReader::new(ours)
                .lines()
                .map_while(std::result::Result::ok)
                .map(|line| serde_json::from_str(&line).unwrap());
            // By now it is at its other work.
            let at_work = said.any(|said| matches!(said, Said::Figures { .. }));
            let point = Point::new(&SystemEntropy, "now", PointKind::Manual, 0);
            let what = Work::Send {
                cut: disk.cut().unwrap(),
                point: Some(point),
            };
            let _ = jobs.send(Job { id: 7, what });
            let is_done = |said| {
                matches!(
                    said,
                    Said::Done {
                        id: 7,
                        failure: None,
                        ..
                    }
                )
            };
            let taken = at_work && said.any(is_done);
            drop(jobs);
            taken
        });
        assert!(taken);
    }
}
