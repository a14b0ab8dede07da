//! What a backup asks of a host, whether the host agent runs or not.

use std::io;
use std::path::Path;
use std::time::Duration;

use disk_server::DoorChoice;
use fleet_api::host::RunSpec;
use monitor_protocol::client::MonitorClient;
use monitor_protocol::messages::{Settle, request};
use storage::spec::StoreSpec;
use storage::verify::Damage;
use vm_monitor::folder::Folder;

use crate::disks::Disks;
use crate::folders::Folders;
use crate::runner::record;

/// So long a running workspace may take to send what it has.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// How much of a workspace's disk the store has.
#[derive(Debug)]
pub struct Stored {
    pub workspace: String,
    /// When its newest version was written, milliseconds since 1970; `None`: it has none.
    pub newest_ms: Option<u64>,
    /// It runs, and sent just now what it had flushed.
    pub settled: bool,
}

/// Has every running workspace of the host whose data lies in `data` send what it has, and tells how much the store has
/// of each.
pub async fn settle(data: &Path, store: Option<StoreSpec>) -> io::Result<Vec<Stored>> {
    let folders = Folders::new(data.into());
    let mut workspaces = Vec::new();
    for spec in specs(&folders)? {
        let monitor = Folder::new(folders.monitor(&spec.workspace));
        let client = MonitorClient::new(monitor.socket());
        let asked = client.ask_disk(request::Body::Settle(Settle {}));
        // Nobody answers for one that is stopped: it sent what it had when it stopped.
        let settled = matches!(tokio::time::timeout(SETTLED_WITHIN, asked).await, Ok(Ok(_)));
        workspaces.push((spec, settled));
    }
    let disks = Disks::open(data, store, DoorChoice::Auto)?;
    let look = move || -> storage::Result<Vec<Stored>> {
        let stored = workspaces.into_iter().map(|(spec, settled)| {
            Ok(Stored {
                newest_ms: disks.newest_ms(&spec)?,
                workspace: spec.name.to_string(),
                settled,
            })
        });
        stored.collect()
    };
    let stored = tokio::task::spawn_blocking(look).await;
    stored.map_err(io::Error::other)?.map_err(io::Error::other)
}

fn specs(folders: &Folders) -> io::Result<Vec<RunSpec>> {
    let entries = match std::fs::read_dir(folders.workspaces()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut specs = Vec::new();
    for entry in entries {
        match record::read(&entry?.path().join("host.json")) {
            Ok(record) => specs.push(record.spec),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(specs)
}

/// Says in every workspace's record that no machine of it can be running: this is another host, or another time.
pub fn at_rest(data: &Path) -> io::Result<()> {
    let folders = Folders::new(data.into());
    for spec in specs(&folders)? {
        let path = folders.record(&spec.workspace);
        let mut record = record::read(&path)?;
        record.boot.clear();
        record::write(&path, &record)?;
    }
    Ok(())
}

/// Reads all of the store in `data` that is needed. Blocks.
pub fn verify(
    data: &Path,
    store: Option<StoreSpec>,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<Vec<Damage>> {
    let disks = Disks::open(data, store, DoorChoice::Auto)?;
    disks.verify(progress).map_err(io::Error::other)
}
