//! The files of one VM's folder, for the monitor that writes them and the host agent that reads them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::spec::MonitorSpec;

/// The folder of one VM.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    /// What the disk's server is told; there is none when nobody serves the disk.
    pub fn disk(&self) -> PathBuf {
        self.0.join("disk.json")
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("monitor.sock")
    }

    pub fn process(&self) -> PathBuf {
        self.0.join("monitor.pid")
    }

    pub fn console(&self) -> PathBuf {
        self.0.join("console.log")
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("monitor.log")
    }

    pub fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    pub fn read_spec(&self) -> io::Result<MonitorSpec> {
        read(&self.spec())
    }

    pub fn write_spec(&self, spec: &MonitorSpec) -> io::Result<()> {
        write(&self.spec(), spec)
    }

    /// How the last run ended; `None` when none has ended since the last start.
    pub fn read_exit(&self) -> io::Result<Option<ExitRecord>> {
        match read(&self.exit()) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write_exit(&self, record: &ExitRecord) -> io::Result<()> {
        write(&self.exit(), record)
    }

    /// The monitor that lives in this folder now, if any: its process exists and is the one that wrote
    /// `monitor.pid`, not another that got the same id later.
    pub fn monitor(&self) -> Option<MonitorProcess> {
        let recorded: MonitorProcess = read(&self.process()).ok()?;
        (MonitorProcess::of(recorded.process).ok()? == recorded).then_some(recorded)
    }

    pub(crate) fn write_process(file: &mut std::fs::File) -> io::Result<()> {
        let text = serde_json::to_vec(&MonitorProcess::of(std::process::id())?)?;
        file.set_len(0)?;
        file.write_all(&text)
    }
}

/// How a run of a VM ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExitRecord {
    /// The guest powered off by itself or was asked to.
    pub orderly: bool,
    /// For a person: why, with the console's last lines when it was not orderly.
    pub cause: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The agent had answered in this run.
    pub was_ready: bool,
}

/// Identifies a process beyond the reuse of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorProcess {
    pub process: u32,
    /// Clock ticks between the host's boot and its start: field 22 of `/proc/PID/stat`, see proc(5).
    pub start_time: u64,
}

impl MonitorProcess {
    fn of(process: u32) -> io::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/stat");
        // The name, field 2, may hold spaces and parentheses: count from its end.
        let (_, fields) = stat.rsplit_once(')').ok_or_else(unreadable)?;
        let mut fields = fields.split_whitespace();
        if fields.next() == Some("Z") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let start_time = fields
            .nth(18)
            .and_then(|field| field.parse().ok())
            .ok_or_else(unreadable)?;
        Ok(Self {
            process,
            start_time,
        })
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Replaces the file in one step: a reader sees the old content or the new.
fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, serde_json::to_vec_pretty(value)?)?;
    std::fs::rename(&unfinished, path)
}
