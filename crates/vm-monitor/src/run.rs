//! The monitor's process: its lock, its log, its runtime.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use microvm::driver::BootError;

use crate::ALLOW_PROCESS_DRIVER;
use crate::bounded_file::BoundedFile;
use crate::folder::Folder;
use crate::monitor;

/// Bytes of the monitor's own log that are kept.
const LOG_KEPT: u64 = 256 * 1024;

/// Why a monitor did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("another monitor runs in {0}")]
    Taken(PathBuf),
    #[error("the monitor's spec {path} cannot be read")]
    Spec { path: PathBuf, source: io::Error },
    #[error(
        "the driver `process` isolates nothing and is for tests: it needs {ALLOW_PROCESS_DRIVER}=1"
    )]
    ProcessDriverRefused,
    #[error("the VM's disk cannot be served")]
    Disk(#[from] disk_server::supervisor::StartError),
    #[error("the VM cannot be booted")]
    Boot(#[from] BootError),
    #[error("the monitor's folder cannot be used")]
    Folder(#[from] io::Error),
}

/// Runs the monitor of the VM in `dir` until the VM has ended: the whole of a process.
pub fn run(dir: &Path) -> Result<(), RunError> {
    let started = Instant::now();
    let folder = Folder::new(dir);
    let _lock = lock(&folder)?;
    log_to(&folder)?;
    let spec = match folder.read_spec() {
        Ok(spec) => spec,
        Err(source) => {
            let error = RunError::Spec {
                path: folder.spec(),
                source,
            };
            return monitor::did_not_start(&folder, &error);
        }
    };
    let allow_process_driver =
        std::env::var_os(ALLOW_PROCESS_DRIVER).is_some_and(|value| value == "1");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(monitor::run(folder, spec, allow_process_driver, started))
}

/// Takes the folder for this process. It is free again when the file is dropped, however that comes.
fn lock(folder: &Folder) -> Result<File, RunError> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.process())?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(RunError::Taken(folder.path().to_owned())),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Folder::write_process(&mut file)?;
    Ok(file)
}

fn log_to(folder: &Folder) -> io::Result<()> {
    let log = BoundedFile::open(&folder.log(), LOG_KEPT)?;
    let level = std::env::var("RUST_LOG").ok();
    let level = level
        .as_deref()
        .and_then(|level| level.parse().ok())
        .unwrap_or(tracing::Level::INFO);
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(Mutex::new(log))
        .init();
    Ok(())
}
