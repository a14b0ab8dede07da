//! The doors through which a VMM opens a disk: a file that the kernel asks us about, or a network block
//! device on a Unix socket where there can be no such file. Both do the same.
//!
//! - [`fuse`]: one regular file in no folder; a successor can take over in the midst of requests.
//! - [`image`]: an image that never changes, through the first.
//! - [`nbd`]: the NBD protocol.

pub mod fuse;
pub mod image;
pub mod nbd;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::error::{Result, StorageError};

/// A reader waits for a store that is away this long before it is told.
const STORE_AWAY: Duration = Duration::from_secs(20);
/// Between attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// What a door opens to. Offsets and lengths are bytes.
pub trait Device: Send + Sync {
    fn size(&self) -> u64;
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
    fn write(&self, offset: u64, data: &[u8]) -> Result<()>;
    fn flush(&self) -> Result<()>;
    fn zero(&self, offset: u64, length: u64) -> Result<()>;

    fn is_for(&self) -> fuse::Use {
        fuse::Use::Disk
    }

    /// Whoever waits for this answer would rather not. True: he gets no other one than that.
    fn gives_up(&self, _unique: u64) -> bool {
        false
    }
}

/// A disk behind a door, and who is told when it has trouble (`Some`), and when it has none any more (`None`).
pub struct DiskDevice<R> {
    disk: Arc<Disk>,
    report: R,
    /// Bits of what failed and has not been done since.
    troubled: AtomicU8,
}

const READING: u8 = 1;
const WRITING: u8 = 2;
const FLUSHING: u8 = 4;

impl<R: Fn(Option<&StorageError>) + Send + Sync> DiskDevice<R> {
    pub fn new(disk: Arc<Disk>, report: R) -> Self {
        Self {
            disk,
            report,
            troubled: AtomicU8::new(0),
        }
    }

    fn noted(&self, what: u8, outcome: Result<()>) -> Result<()> {
        match &outcome {
            Err(error) => {
                self.troubled.fetch_or(what, Ordering::Relaxed);
                (self.report)(Some(error));
            }
            Ok(()) if self.troubled.load(Ordering::Relaxed) == 0 => {}
            Ok(()) => {
                if self.troubled.fetch_and(!what, Ordering::Relaxed) == what {
                    (self.report)(None);
                }
            }
        }
        outcome
    }
}

impl<R: Fn(Option<&StorageError>) + Send + Sync> Device for DiskDevice<R> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.noted(READING, self.disk.read(offset, buffer))
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let written = self.noted(WRITING, self.disk.write(offset, data));
        let pace = self.disk.pace(data.len());
        if !pace.is_zero() {
            std::thread::sleep(pace);
        }
        written
    }

    fn flush(&self) -> Result<()> {
        self.noted(FLUSHING, self.disk.flush())
    }

    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        self.noted(WRITING, self.disk.zero(offset, length))
    }
}

/// Reads; a store that is away for a moment is waited for.
fn patient_read(device: &dyn Device, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let started = Instant::now();
    patiently(
        || device.read(offset, buffer),
        |error| matches!(error, StorageError::Store { .. }) && started.elapsed() < STORE_AWAY,
    )
}

/// Flushes. A VMM that was told once that a flush failed takes every later one for failed too, so it is not
/// told: it waits, and whoever can help learns it from the device.
fn patient_flush(device: &dyn Device) -> Result<()> {
    patiently(|| device.flush(), StorageError::is_transient)
}

fn patiently(
    mut attempt: impl FnMut() -> Result<()>,
    again: impl Fn(&StorageError) -> bool,
) -> Result<()> {
    loop {
        match attempt() {
            Err(error) if again(&error) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
}

/// The error number that a door answers with.
fn errno(error: &StorageError) -> i32 {
    let code = match error {
        StorageError::File { source, .. } => source.raw_os_error(),
        StorageError::Invalid(_) => Some(rustix::io::Errno::INVAL.raw_os_error()),
        _ => None,
    };
    code.unwrap_or(rustix::io::Errno::IO.raw_os_error())
}
