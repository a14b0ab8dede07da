//! The doors through which a VMM opens a disk: a file that the kernel asks us about, or a network block
//! device on a Unix socket where there can be no such file. Both do the same.
//!
//! - [`fuse`]: one regular file, mounted over another; a successor can take over in the midst of requests.
//! - [`nbd`]: the NBD protocol.

pub mod fuse;
pub mod nbd;

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
    /// Something could not be done, and is tried again (`Some`), or it was done at last (`None`).
    fn report(&self, trouble: Option<&StorageError>);
}

/// A disk behind a door, and who is told when it has trouble.
pub struct DiskDevice<R> {
    pub disk: std::sync::Arc<Disk>,
    pub report: R,
}

impl<R: Fn(Option<&StorageError>) + Send + Sync> Device for DiskDevice<R> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.disk.read(offset, buffer)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.disk.write(offset, data)
    }

    fn flush(&self) -> Result<()> {
        self.disk.flush()
    }

    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        self.disk.zero(offset, length)
    }

    fn report(&self, trouble: Option<&StorageError>) {
        (self.report)(trouble);
    }
}

/// Reads; a store that is away for a moment is waited for.
fn patient_read(device: &dyn Device, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let started = Instant::now();
    patiently(
        device,
        || device.read(offset, buffer),
        |error| matches!(error, StorageError::Store { .. }) && started.elapsed() < STORE_AWAY,
    )
}

/// Flushes. A VMM that was told once that a flush failed takes every later one for failed too, so it is not
/// told: it waits, and somebody who can help is told.
fn patient_flush(device: &dyn Device) -> Result<()> {
    patiently(device, || device.flush(), StorageError::is_transient)
}

fn patiently(
    device: &dyn Device,
    mut attempt: impl FnMut() -> Result<()>,
    again: impl Fn(&StorageError) -> bool,
) -> Result<()> {
    let mut troubled = false;
    loop {
        match attempt() {
            Ok(()) => {
                if troubled {
                    device.report(None);
                }
                return Ok(());
            }
            Err(error) if again(&error) => {
                device.report(Some(&error));
                troubled = true;
                std::thread::sleep(PAUSE);
            }
            Err(error) => {
                device.report(Some(&error));
                return Err(error);
            }
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
