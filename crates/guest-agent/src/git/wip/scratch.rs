//! A folder of the user's for what git needs on the way.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::machine::Machine;
use crate::session::{CallError, During};

/// Gone when it is dropped.
pub struct Scratch {
    machine: &'static Machine,
    folder: PathBuf,
}

impl Scratch {
    pub async fn new(machine: &'static Machine) -> Result<Self, CallError> {
        let name = u128::from_ne_bytes(guest_protocol::link::random_nonce());
        let folder = machine
            .root
            .join("tmp")
            .join(format!("roost-wip-{name:032x}"));
        let scratch = Self {
            machine,
            folder: folder.clone(),
        };
        machine
            .threads
            .run(move || {
                let made = DirBuilder::new().mode(0o700).create(&folder);
                made.during(|| format!("making {}", folder.display()))
            })
            .await?;
        Ok(scratch)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn index(&self) -> PathBuf {
        self.path("index")
    }

    /// Copies an index, unless it is not there yet.
    pub async fn copy_index(&self, index: &Path) -> Result<(), CallError> {
        let (from, to) = (index.to_owned(), self.index());
        self.machine
            .threads
            .run(move || {
                let copied = copy(&from, &to);
                copied.during(|| format!("copying {}", from.display()))
            })
            .await
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let folder = std::mem::take(&mut self.folder);
        // What stays in spite of it goes with the next boot.
        self.machine
            .threads
            .detach(move || drop(fs::remove_dir_all(folder)));
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::copy(from, to) {
        Ok(_) => {
            // Git takes a file that is younger than its index for one that may have changed.
            let at = fs::metadata(from)?.modified()?;
            File::options().write(true).open(to)?.set_modified(at)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
