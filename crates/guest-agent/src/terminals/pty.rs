//! A pair of pseudo-terminal ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::{InputModes, OptionalActions, Winsize};
use terminal_screen::Size;
use tokio::io::unix::AsyncFd;

use crate::user::User;

/// The group that owns terminals on every Debian.
const TTY_GROUP: u32 = 5;

/// The agent's end.
#[derive(Debug)]
pub struct Master {
    file: AsyncFd<File>,
}

/// Opens a pair. The program's end is given to `owner`.
pub fn open(size: Size, owner: Option<&User>) -> io::Result<(Master, OwnedFd)> {
    let master =
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(std::ffi::OsStr::from_bytes(name.to_bytes()))?;
    if let Some(user) = owner {
        let group = Gid::from_raw(TTY_GROUP);
        rustix::fs::fchown(&slave, Some(Uid::from_raw(user.uid)), Some(group))?;
        rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o620))?;
    }
    let mut attributes = rustix::termios::tcgetattr(&slave)?;
    // So that erasing in a line that is typed erases whole characters.
    attributes.input_modes |= InputModes::IUTF8;
    rustix::termios::tcsetattr(&slave, OptionalActions::Now, &attributes)?;
    let flags = rustix::fs::fcntl_getfl(&master)?;
    rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
    let master = Master {
        file: crate::sys::watch_file(File::from(master))?,
    };
    master.resize(size)?;
    Ok((master, slave.into()))
}

impl Master {
    pub fn resize(&self, size: Size) -> io::Result<()> {
        let size = Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(rustix::termios::tcsetwinsize(self.file.get_ref(), size)?)
    }

    /// The process group in the foreground.
    pub fn foreground(&self) -> Option<i32> {
        crate::sys::foreground_group(self.file.get_ref().as_fd())
    }

    /// Waits for output and reads it. Nothing, or an error, means that no program has the other end open.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.file.readable().await?;
            if let Ok(result) = ready.try_io(|file| file.get_ref().read(buffer)) {
                return result;
            }
        }
    }

    /// Reads what is there.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.get_ref().read(buffer)
    }

    /// Writes all, as the programs take it.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.file.writable().await?;
            if let Ok(result) = ready.try_io(|file| file.get_ref().write(bytes)) {
                bytes = &bytes[result?..];
            }
        }
        Ok(())
    }

    /// Writes what fits at once.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.file.get_ref().write(bytes)
    }
}
