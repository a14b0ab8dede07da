//! What a server is told in its file. It has keys in it, so nobody else may read it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use storage::spec::{BaseSpec, DiskSpec, StoreSpec};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerSpec {
    pub disk: DiskSpec,
    #[serde(default)]
    pub door: DoorChoice,
}

/// How the VMM gets to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DoorChoice {
    /// A file of the kernel's where there can be one, otherwise a socket.
    #[default]
    Auto,
    Fuse,
    Nbd,
}

impl ServerSpec {
    pub fn read(path: &Path) -> io::Result<Self> {
        read(path)
    }

    /// Replaces the file in one step.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write(self, path)
    }
}

/// What the server of a machine's memory is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemorySpec {
    pub image: BaseSpec,
    pub store: StoreSpec,
    /// Where it puts what the devices were in, before it says that it is ready.
    pub devices: PathBuf,
}

impl MemorySpec {
    pub fn read(path: &Path) -> io::Result<Self> {
        read(path)
    }

    /// Replaces the file in one step.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write(self, path)
    }
}

/// Reads what [`write`] wrote.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Writes a file that nobody else may read, in the place of the one before, in one step.
pub fn write<T: Serialize>(spec: &T, path: &Path) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(&serde_json::to_vec_pretty(spec)?)?;
    std::fs::rename(&unfinished, path)
}
