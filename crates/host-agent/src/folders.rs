//! Where everything of a host lies.
//!
//! ```text
//! DATA/workspaces/ID/host.json      what is wanted and how far it is, see runner::record
//!                    disk.json      the images its disk was born with, see runner::disk
//!                    disk/          what this host has of the disk, see storage
//!     imports/ID/                   a disk that no workspace has begun with yet, see upkeep::import
//!     run/SHORT/                    its monitor's folder, see vm-monitor
//!     run/relay-SHORT.sock          git of its guest
//!     keys/storage.json  store/     see disks
//!     images/  vmm/                 see images, microvm
//! ```

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use fleet_api::points::is_import;
use model::WorkspaceId;
use ring::digest::{SHA256, digest};

/// Longest path of a Unix socket, and the longest name of one below the data folder.
const MAX_SOCKET_PATH: usize = 107;
const LONGEST_SOCKET: &str = "/run/abcdefghi/interactive.sock";

/// The folders of one host.
#[derive(Clone, Debug)]
pub struct Folders {
    data: PathBuf,
}

impl Folders {
    pub fn new(data: PathBuf) -> Self {
        Self { data }
    }

    /// Longest path that the data folder may have.
    pub fn longest_data() -> usize {
        MAX_SOCKET_PATH - LONGEST_SOCKET.len()
    }

    /// Makes what is missing. Nobody but this user looks into them.
    pub fn make(&self) -> io::Result<()> {
        for folder in [&self.data, &self.workspaces(), &self.run()] {
            fs::create_dir_all(folder)?;
        }
        fs::create_dir_all(self.imports())?;
        for folder in [self.workspaces(), self.imports(), self.run()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    pub fn workspaces(&self) -> PathBuf {
        self.data.join("workspaces")
    }

    pub fn imports(&self) -> PathBuf {
        self.data.join("imports")
    }

    pub fn import(&self, import: &WorkspaceId) -> PathBuf {
        self.imports().join(import.as_str())
    }

    /// Of what a new disk begins with.
    pub fn origin(&self, origin: &WorkspaceId) -> PathBuf {
        if is_import(origin) {
            self.import(origin)
        } else {
            self.workspace(origin)
        }
    }

    fn run(&self) -> PathBuf {
        self.data.join("run")
    }

    pub fn workspace(&self, workspace: &WorkspaceId) -> PathBuf {
        self.workspaces().join(workspace.as_str())
    }

    pub fn record(&self, workspace: &WorkspaceId) -> PathBuf {
        self.workspace(workspace).join("host.json")
    }

    pub fn monitor(&self, workspace: &WorkspaceId) -> PathBuf {
        self.run().join(short(workspace))
    }

    pub fn relay(&self, workspace: &WorkspaceId) -> PathBuf {
        self.run().join(format!("relay-{}.sock", short(workspace)))
    }
}

/// Whether the id can be a folder's name.
pub fn is_plain(workspace: &WorkspaceId) -> bool {
    let text = workspace.as_str();
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Nine letters and digits for a workspace, for names that must be short: 45 bits of a digest.
pub fn short(workspace: &WorkspaceId) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest = digest(&SHA256, workspace.as_str().as_bytes());
    let bits = u64::from_be_bytes(
        digest.as_ref()[..8]
            .try_into()
            .expect("a digest has 32 bytes"),
    );
    (0..9)
        .map(|place| LETTERS[(bits >> (59 - 5 * place)) as usize & 31] as char)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_short_and_differ() {
        let ids: Vec<_> = (0..1000)
            .map(|number| WorkspaceId::new(format!("id-{number}")))
            .collect();
        let names: std::collections::BTreeSet<_> = ids.iter().map(short).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 9));
    }

    #[test]
    fn an_id_that_is_no_folder_name_is_noticed() {
        for bad in ["", "..", "a/b", "a b", &"x".repeat(65)] {
            assert!(!is_plain(&WorkspaceId::new(bad)), "{bad}");
        }
        assert!(is_plain(&WorkspaceId::new(
            "0193a7a0-0000-7000-8000-000000000001"
        )));
    }
}
