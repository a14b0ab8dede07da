//! A virtio-serial port as a series of byte streams, one for each time the host's side is there.
//!
//! A port has no connections, only a host side that is present or not: while it is not, reads return
//! nothing at once and the port is always ready, so that waiting for it needs a clock. It is opened
//! non-blocking in any case: a blocking write would spin in the kernel.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use guest_protocol::frames::StreamClass;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::machine::Machine;

/// How often an absent host is looked for.
const ABSENT: Duration = Duration::from_millis(5);

/// Opens a port's device. The kernel allows one opening at a time.
pub fn open(device: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(device)
}

/// Serves a port for ever.
pub async fn serve(
    machine: &'static Machine,
    port: File,
    class: StreamClass,
) -> anyhow::Result<()> {
    loop {
        while is_absent(&port)? {
            tokio::time::sleep(ABSENT).await;
        }
        let connection = Connection::new(&port)?;
        let retired = connection.retired.clone();
        super::serve(machine, connection, class).await;
        // What is left of the old link must not write into the next one.
        retired.store(true, Ordering::Relaxed);
    }
}

fn is_absent(port: &File) -> io::Result<bool> {
    let mut ports = [PollFd::new(port, PollFlags::IN)];
    rustix::event::poll(&mut ports, Some(&Timespec::default()))?;
    Ok(ports[0].revents().contains(PollFlags::HUP))
}

/// The port for as long as the host's side stays.
struct Connection {
    // A registration of its own each time: that the host left is remembered in it for good.
    file: AsyncFd<File>,
    retired: Arc<AtomicBool>,
}

impl Connection {
    fn new(port: &File) -> io::Result<Self> {
        Ok(Self {
            file: crate::sys::watch_file(port.try_clone()?)?,
            retired: Arc::default(),
        })
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.file.poll_read_ready(context))?;
            if self.is_retired() {
                return Poll::Ready(Ok(()));
            }
            let left = ready.ready().is_read_closed();
            match ready.try_io(|file| file.get_ref().read(buffer.initialize_unfilled())) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                // The host left and is back already: what it says now is another connection's.
                Err(_would_block) if left => return Poll::Ready(Ok(())),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.file.poll_write_ready(context))?;
            let left = ready.ready().is_write_closed();
            if self.is_retired() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            match ready.try_io(|file| file.get_ref().write(bytes)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) if left => {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
