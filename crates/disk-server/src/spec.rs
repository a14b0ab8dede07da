//! What a server is told in its file. It has keys in it, so nobody else may read it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use storage::spec::DiskSpec;

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
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Replaces the file in one step.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let unfinished = path.with_extension("unfinished");
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&unfinished, path)
    }
}
