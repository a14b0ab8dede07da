//! Starts a monitor so that it outlives the process that starts it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use disk_server::ServerSpec;

use crate::folder::Folder;
use crate::spec::MonitorSpec;
use crate::sys;

/// Variables that a monitor takes over; everything else of the host agent's environment stays there.
const INHERITED: &[&str] = &[
    "PATH",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "TMPDIR",
    crate::ALLOW_PROCESS_DRIVER,
];

/// Writes `spec`, and that of the disk if somebody has to serve it, into `dir` and starts `roost_binary vm-monitor --dir dir`, in a session of its own, as
/// nobody's child. Returns when the monitor's program runs; follow it over its socket, which appears
/// within milliseconds ([`monitor_protocol::client`]), and by [`Folder`].
///
/// Blocks for some milliseconds.
pub fn spawn(
    roost_binary: &Path,
    dir: &Path,
    spec: &MonitorSpec,
    disk: Option<&ServerSpec>,
) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let folder = Folder::new(dir);
    if let Some(monitor) = folder.monitor() {
        let text = format!(
            "a monitor already runs in {}: process {}",
            dir.display(),
            monitor.process
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    // What was left by the run before must not be taken for this one's.
    for old in [folder.exit(), folder.socket()] {
        gone(&old)?;
    }
    folder.write_spec(spec)?;
    match disk {
        Some(disk) => disk.write(&folder.disk())?,
        None => gone(&folder.disk())?,
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.log())?;
    let mut command = Command::new(roost_binary);
    command
        .arg("vm-monitor")
        .arg("--dir")
        .arg(dir)
        .current_dir(dir)
        .env_clear()
        .envs(
            INHERITED
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    sys::detach(&mut command);
    // The process in between ends at once; reaping it leaves nothing of the monitor to us.
    command.spawn()?.wait()?;
    Ok(())
}

fn gone(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
