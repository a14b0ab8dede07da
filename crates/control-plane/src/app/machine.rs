//! What is asked of a workspace's machine itself: its console, and what it uses.

use control_api::workspaces::{Figures, FolderSize, LargestFolders};
use fleet_api::host;

use super::App;
use super::identity::Caller;
use crate::fault::{Fault, Outcome};

impl App {
    /// What a running workspace uses now; takes about half a second.
    pub async fn figures(&self, caller: &Caller, name_or_id: &str) -> Outcome<Figures> {
        let row = self.own(caller, name_or_id).await?;
        let figures = self
            .host_of(&row)?
            .figures(&row.id)
            .await
            .map_err(Fault::from)?;
        Ok(Figures {
            cpu: figures.cpu,
            cpus: figures.cpus,
            memory_used: figures.memory_used,
            memory_total: figures.memory_total,
            disk_used: figures.disk_used,
            disk_total: figures.disk_total,
        })
    }

    /// What takes the room on a running workspace's disk.
    pub async fn largest_folders(
        &self,
        caller: &Caller,
        name_or_id: &str,
    ) -> Outcome<LargestFolders> {
        let row = self.own(caller, name_or_id).await?;
        let folders = self.host_of(&row)?.largest_folders(&row.id).await?;
        let present = |folder: host::FolderSize| FolderSize {
            path: folder.path,
            bytes: folder.bytes,
        };
        Ok(LargestFolders {
            folders: folders.into_iter().map(present).collect(),
        })
    }

    /// The end of the console of the running or the last start.
    pub async fn console(
        &self,
        caller: &Caller,
        name_or_id: &str,
        bytes: Option<u64>,
    ) -> Outcome<String> {
        const USUAL: u64 = 64 * 1024;
        const MOST: u64 = 1024 * 1024;
        let row = self.own(caller, name_or_id).await?;
        if row.host.is_none() {
            return Ok(String::new());
        }
        let bytes = bytes.unwrap_or(USUAL).min(MOST);
        self.host_of(&row)?
            .console(&row.id, bytes)
            .await
            .map_err(Fault::from)
    }
}
