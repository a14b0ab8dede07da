//! Process mode: the links come as connections to Unix sockets. A new connection replaces the one before,
//! as a new connection of the monitor does on a virtio-serial port.

use std::path::Path;

use guest_protocol::frames::StreamClass;
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

use crate::machine::{Machine, Place};
use crate::options::Options;
use crate::sys;

/// Serves until the process is killed.
pub fn run(place: Place, options: &Options) -> anyhow::Result<()> {
    sys::adopt_orphans();
    let interactive = listener(&options.listen_interactive)?;
    let bulk = listener(&options.listen_bulk)?;
    super::run_on_two_threads(
        place,
        |machine| accept(machine, interactive, StreamClass::Interactive),
        |machine| accept(machine, bulk, StreamClass::Bulk),
    )
}

fn listener(path: &Path) -> std::io::Result<std::os::unix::net::UnixListener> {
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn accept(
    machine: &'static Machine,
    listener: std::os::unix::net::UnixListener,
    class: StreamClass,
) -> anyhow::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let mut current: Option<AbortHandle> = None;
    loop {
        let (connection, _) = listener.accept().await?;
        if let Some(previous) = current.take() {
            previous.abort();
        }
        current = Some(tokio::spawn(super::serve(machine, connection, class)).abort_handle());
    }
}
