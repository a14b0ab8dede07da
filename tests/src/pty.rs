//! A terminal for a program, as a person's own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::Winsize;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// Longest wait for something to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// The person's side.
pub struct Terminal {
    keys: File,
    /// The program's side, so that its settings can be looked at.
    pub slave: OwnedFd,
    output: mpsc::UnboundedReceiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Runs a command in a terminal of 80 columns and 24 rows.
    pub fn run(command: &mut Command) -> anyhow::Result<(Self, Child)> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(
            OsStr::from_bytes(name.to_bytes()),
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&slave, size)?;
        let end = || slave.try_clone().map(Stdio::from);
        let child = command
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?)
            .spawn()
            .context("starting the program")?;
        let keys = File::from(master);
        let mut screen = keys.try_clone()?;
        let (sender, output) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read) = screen.read(&mut buffer) {
                if read == 0 || sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let terminal = Self {
            keys,
            slave,
            output,
            seen: String::new(),
        };
        Ok((terminal, child))
    }

    pub fn press(&mut self, keys: &str) -> anyhow::Result<()> {
        Ok(self.keys.write_all(keys.as_bytes())?)
    }

    /// Waits for a text that has not been waited for yet.
    pub async fn shows(&mut self, text: &str) -> anyhow::Result<()> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some((_, rest)) = self.seen.split_once(text) {
                self.seen = rest.to_owned();
                return Ok(());
            }
            match tokio::time::timeout_at(end, self.output.recv()).await {
                Ok(Some(bytes)) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                _ => bail!("{text:?} did not appear, but {:?}", self.seen),
            }
        }
    }
}
