//! An image that never changes as a file of the kernel's, for whoever maps it: a page that cannot be read now is
//! waited for, however long it takes. An error would kill the VMM, whose memory it is.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Device, PAUSE, fuse};
use crate::block::{BLOCK, BlockNumber};
use crate::disk::Below;
use crate::error::{Result, StorageError};

/// Who is told why somebody waits (`Some`), and when nobody does any more (`None`).
pub type Report = dyn Fn(Option<&StorageError>) + Send + Sync;

/// An image behind a door.
pub struct ImageDevice {
    image: Arc<dyn Below>,
    /// What of it is shown.
    bytes: u64,
    report: Box<Report>,
    /// Requests that wait.
    parked: Mutex<HashSet<u64>>,
}

impl ImageDevice {
    /// Shows the first `bytes` of an image, whole blocks.
    pub fn new(image: Arc<dyn Below>, bytes: u64, report: Box<Report>) -> Self {
        Self {
            image,
            bytes,
            report,
            parked: Mutex::default(),
        }
    }

    fn parked(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until it can be read, and answers then. Those that wait hold no thread that others need.
    fn park(self: &Arc<Self>, channel: &Arc<File>, unique: u64, offset: u64, length: usize) {
        self.parked().insert(unique);
        let (device, channel) = (self.clone(), channel.clone());
        std::thread::spawn(move || {
            let mut data = vec![0; length];
            loop {
                std::thread::sleep(PAUSE);
                let read = device.read(offset, &mut data);
                if !device.parked().contains(&unique) {
                    return;
                }
                match read {
                    Ok(()) => break,
                    Err(error) => (device.report)(Some(&error)),
                }
            }
            let is_last = {
                let mut parked = device.parked();
                parked.remove(&unique);
                parked.is_empty()
            };
            if is_last {
                (device.report)(None);
            }
            // Nobody there any more is as good.
            let _ = fuse::reply(&channel, unique, 0, &data);
        });
    }
}

impl Device for ImageDevice {
    fn size(&self) -> u64 {
        self.bytes
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let first = (offset / BLOCK as u64) as BlockNumber;
        if offset.is_multiple_of(BLOCK as u64) && buffer.len().is_multiple_of(BLOCK) {
            return self.image.read(first, buffer);
        }
        let head = (offset % BLOCK as u64) as usize;
        let mut whole = vec![0; (head + buffer.len()).next_multiple_of(BLOCK)];
        self.image.read(first, &mut whole)?;
        buffer.copy_from_slice(&whole[head..head + buffer.len()]);
        Ok(())
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> Result<()> {
        Err(never())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn zero(&self, _offset: u64, _length: u64) -> Result<()> {
        Err(never())
    }

    fn is_for(&self) -> fuse::Use {
        fuse::Use::Image
    }

    fn gives_up(&self, unique: u64) -> bool {
        self.parked().remove(&unique)
    }
}

fn never() -> StorageError {
    StorageError::Invalid("an image never changes".to_owned())
}

/// Answers requests until the file is closed everywhere. Several threads call it on one connection.
pub fn serve(channel: &Arc<File>, device: &Arc<ImageDevice>) -> io::Result<()> {
    let read = |unique, offset, data: &mut [u8]| match device.read(offset, data) {
        Err(error) => {
            (device.report)(Some(&error));
            device.park(channel, unique, offset, data.len());
            None
        }
        read => Some(read),
    };
    fuse::converse(channel, device.as_ref(), &read)
}
