//! The process that serves the memory of a machine that woke or was forked: pages of an image, as they are touched,
//! and all of it to this host within a minute, so that what is damaged is found then and not hours later.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use storage::base::BaseCache;
use storage::block::BLOCK;
use storage::door::image::{self, ImageDevice};
use storage::memory::device_state;
use storage::{Result, StorageError};

use crate::protocol::Said;
use crate::server::{ServerError, answer, as_server, runtime};
use crate::spec::MemorySpec;
use crate::telling::Monitor;

/// What a machine needs first when it wakes is not to wait for the rest.
const FILLS_AFTER: Duration = Duration::from_secs(2);
/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Serves the memory of `spec` until standard input ends: the whole of a process. Standard input is the control
/// socket, standard output the door.
pub fn run(spec: &Path) -> std::result::Result<(), ServerError> {
    as_server(|control, door, monitor| serve(spec, control, door, monitor))
}

fn serve(
    spec: &Path,
    mut control: UnixStream,
    door: OwnedFd,
    monitor: &Arc<Monitor>,
) -> std::result::Result<(), ServerError> {
    let spec = MemorySpec::read(spec).map_err(ServerError::Spec)?;
    let runtime = spec.store.is_remote().then(runtime).transpose()?;
    let store = spec
        .store
        .open(runtime.as_ref().map(tokio::runtime::Runtime::handle))?;
    let (_, manifest) = store.manifest(&spec.image.keys, &spec.image.version)?;
    let Some(memory) = manifest.memory else {
        let text = format!("{} is no memory of a machine", spec.image.version);
        return Err(StorageError::Invalid(text).into());
    };
    let image = Arc::new(spec.image.open(&store)?);
    if !spec.devices.exists() {
        let state = device_state(image.as_ref(), &memory)?;
        std::fs::write(&spec.devices, state)?;
    }
    let report = {
        let monitor = monitor.clone();
        Box::new(move |error: Option<&StorageError>| monitor.door(error))
    };
    let bytes = u64::from(memory.blocks) * BLOCK as u64;
    let device = Arc::new(ImageDevice::new(image.clone(), bytes, report));
    let channel = Arc::new(File::from(door));
    answer(&channel, || {
        let (channel, device) = (channel.clone(), device.clone());
        move || image::serve(&channel, &device)
    });
    stay();
    monitor.say(&Said::Ready);
    let goes_on = Arc::new(AtomicBool::new(true));
    let filler = {
        let (monitor, goes_on) = (monitor.clone(), goes_on.clone());
        std::thread::spawn(move || fill(&image, &monitor, &goes_on))
    };
    // Nothing is ever asked.
    let _ = io::copy(&mut control, &mut io::sink());
    goes_on.store(false, Ordering::Relaxed);
    let _ = filler.join();
    Ok(())
}

/// Whoever serves memory must not wait for its own. Where it may not be locked, things are as they were.
fn stay() {
    let all = rustix::mm::MlockAllFlags::CURRENT | rustix::mm::MlockAllFlags::ONFAULT;
    if let Err(error) = rustix::mm::mlockall(all) {
        tracing::info!(%error, "memory is not locked");
    }
}

/// Brings all of the image here.
fn fill(image: &BaseCache, monitor: &Monitor, goes_on: &AtomicBool) {
    let mut wait = FILLS_AFTER;
    loop {
        let until = std::time::Instant::now() + wait;
        while std::time::Instant::now() < until {
            if !goes_on.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let filled: Result<bool> = image.fill(&|| goes_on.load(Ordering::Relaxed));
        match filled {
            Ok(whole) => {
                if whole {
                    monitor.say(&Said::Whole);
                }
                return;
            }
            Err(error) => {
                tracing::error!(%error, "a part of the memory is not here");
                monitor.keeping(Some(&error));
                wait = RETRY;
            }
        }
    }
}
