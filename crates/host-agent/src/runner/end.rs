//! Ends a virtual machine and clears away what it had.

use std::io;
use std::time::Duration;

use model::WorkspaceId;
use monitor_protocol::messages::{Kill, Stop, request};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::failure::chain;
use crate::folders::short;
use crate::runner::context::Context;
use crate::runner::watch::Monitor;
use crate::runner::{disk, record};

/// What a monitor may take beyond the guest's deadline.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// A machine that is killed is gone within milliseconds, unless the host's disk holds it up.
const KILLED_WITHIN: Duration = Duration::from_secs(30);
const MAX_CONSOLE: u64 = 1024 * 1024;

/// Of the namespace and the link of a workspace's machine.
pub fn network_name(workspace: &WorkspaceId) -> String {
    format!("{}{}", crate::network::script::PREFIX, short(workspace))
}

/// Lets the guest shut down, by force after `grace` or as soon as `hurry` is cancelled, and clears away.
pub async fn stop(
    context: &Context,
    workspace: &WorkspaceId,
    grace: Duration,
    hurry: &CancellationToken,
) {
    let monitor = Monitor::new(&context.folders.monitor(workspace));
    let deadline_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
    let ask = monitor
        .client
        .ask(request::Body::Stop(Stop { deadline_ms }));
    tokio::select! {
        asked = timeout(grace + STOP_MARGIN, ask) => match asked {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::info!(%workspace, %error, "no orderly stop"),
            Err(_) => tracing::warn!(%workspace, "the monitor did not stop the machine in time"),
        },
        () = hurry.cancelled() => {}
    }
    kill(context, workspace).await;
    clear(context, workspace).await;
}

/// Ends the machine at once, if it still runs; returns when its monitor has gone too.
pub async fn kill(context: &Context, workspace: &WorkspaceId) {
    let monitor = Monitor::new(&context.folders.monitor(workspace));
    if monitor.folder.monitor().is_none() {
        return;
    }
    let asked = timeout(
        KILLED_WITHIN,
        monitor.client.ask(request::Body::Kill(Kill {})),
    )
    .await;
    if !matches!(asked, Ok(Ok(_))) {
        tracing::warn!(%workspace, "the monitor does not kill its machine; it is killed itself");
        signal(&monitor);
    }
    let gone = async {
        while monitor.folder.monitor().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(KILLED_WITHIN, gone).await.is_err() {
        tracing::error!(%workspace, "a monitor does not end");
        signal(&monitor);
    }
}

/// The machine dies with its monitor.
fn signal(monitor: &Monitor) {
    let process = monitor
        .folder
        .monitor()
        .and_then(|monitor| Pid::from_raw(monitor.process.cast_signed()));
    if let Some(process) = process {
        // It may have ended between the two calls.
        let _ = kill_process(process, Signal::KILL);
    }
}

/// Removes network and control group of a machine that has ended. What cannot be removed is tried again at
/// the next start and at the deletion.
pub async fn clear(context: &Context, workspace: &WorkspaceId) {
    if let Err(error) = try_clear(context, workspace).await {
        tracing::warn!(%workspace, error, "something of an ended machine is left");
    }
}

async fn try_clear(context: &Context, workspace: &WorkspaceId) -> Result<(), String> {
    if let Some(networks) = &context.networks {
        let removed = networks.remove(&network_name(workspace)).await;
        removed.map_err(|error| chain(&error))?;
    }
    if let Some(cgroups) = &context.cgroups {
        let removed = cgroups.remove(&short(workspace)).await;
        removed.map_err(|error| format!("its control group cannot be removed: {error}"))?;
    }
    Ok(())
}

/// Removes everything of a workspace whose machine has ended; its record goes last, so that what is left
/// half-way is found again. The error is for a person.
pub async fn remove(context: &Context, workspace: &WorkspaceId) -> Result<(), String> {
    kill(context, workspace).await;
    try_clear(context, workspace).await?;
    drop(context.at_rest.enter(workspace).await);
    let monitor = context.folders.monitor(workspace);
    let folder = context.folders.workspace(workspace);
    let record = context.folders.record(workspace);
    let disks = context.disks.clone();
    // Whatever still brings saved work to the store has ended, or finds that the record is gone.
    let turn = context.work.turn(workspace).await;
    let removed = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let _turn = turn;
        if let Ok(record) = record::read(&record) {
            let shelf = disks.shelf(&record.spec, false);
            shelf
                .and_then(|shelf| shelf.clear())
                .map_err(io::Error::other)?;
        }
        if let (Ok(Some(_)), Ok(record)) = (disk::born_with(&folder), record::read(&record)) {
            disks.remove(&record.spec).map_err(io::Error::other)?;
        }
        gone(std::fs::remove_dir_all(monitor))?;
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.path() == record {
                continue;
            }
            if entry.file_type()?.is_dir() {
                gone(std::fs::remove_dir_all(entry.path()))?;
            } else {
                gone(std::fs::remove_file(entry.path()))?;
            }
        }
        gone(std::fs::remove_dir_all(folder))
    });
    match removed.await {
        Ok(Ok(())) => {
            context.work.forget(workspace);
            Ok(())
        }
        Ok(Err(error)) => Err(format!("its files cannot be removed: {error}")),
        Err(error) => Err(error.to_string()),
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The last `bytes` of the console of the running or the last start; empty when there was none.
pub fn console(context: &Context, workspace: &WorkspaceId, bytes: u64) -> String {
    let path = Monitor::new(&context.folders.monitor(workspace))
        .folder
        .console();
    tail(&path, bytes.min(MAX_CONSOLE)).unwrap_or_default()
}

fn tail(path: &std::path::Path, bytes: u64) -> io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
