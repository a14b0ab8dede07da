//! Files that become disks: taken in beside the workspaces, and stored as the first version of a disk that a new
//! workspace begins with, as it would with a point. What no workspace has begun with within a day goes again.
//!
//! ```text
//! DATA/imports/ID/import.json   whose it is to be
//!                 upload        the file, until it is stored
//!                 disk.json     the images that go with it, see runner::disk
//! ```

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleet_api::host::{HostError, RunSpec};
use fleet_api::points::{IMPORTED, Origin};
use fleet_api::upkeep::{Import, Steps};
use model::{OrganizationId, Size, WorkspaceId, WorkspaceName};
use serde::{Deserialize, Serialize};
use storage::keys::{Entropy, SystemEntropy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::steps;
use crate::admission::disk_room;
use crate::capacity::disk_free;
use crate::config::Driver;
use crate::disks::Disks;
use crate::failure::chain;
use crate::points::service::{blocking, failed};
use crate::runner::disk::Resting;
use crate::runner::{Context, record};

/// So long a disk waits for a workspace.
const WAITS: Duration = Duration::from_secs(24 * 3600);
/// The host's disk is looked at again after so many bytes.
const LOOKED_EVERY: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Imported {
    owner: OrganizationId,
}

/// Takes in a file and begins to store it.
pub async fn import(
    context: Arc<Context>,
    import: Import,
) -> Result<Steps<(Origin, u64)>, HostError> {
    if let Driver::Process { .. } = context.config.driver {
        return Err(failed(
            "a workspace without a virtual machine has no disk of its own",
        ));
    }
    let id = WorkspaceId::new(format!("{IMPORTED}{}", SystemEntropy.object_id()));
    let owner = import.owner.clone();
    let folder = context.folders.import(&id);
    fs::create_dir_all(&folder).map_err(|error| broken(&error))?;
    let taken = take_in(&context, import, &folder).await;
    if let Err(error) = taken {
        give_up(&context.disks, &folder, &id);
        return Err(error);
    }
    Ok(steps(move |progress| {
        let run = spec(&id, &owner);
        let resting = Resting {
            images: &context.images,
            disks: &context.disks,
            folder: &folder,
            run: &run,
        };
        let file = folder.join("upload");
        match resting.import(&file, progress) {
            Ok(size) => {
                // The sweep takes what is left.
                let _ = fs::remove_file(&file);
                let origin = Origin {
                    workspace: id,
                    number: 1,
                };
                Ok((origin, size))
            }
            Err(error) => {
                give_up(&context.disks, &folder, &id);
                Err(error)
            }
        }
    }))
}

/// Writes the file here, for as long as there is room.
async fn take_in(context: &Context, mut import: Import, folder: &Path) -> Result<(), HostError> {
    let imported = Imported {
        owner: import.owner,
    };
    record::write(&folder.join("import.json"), &imported).map_err(|error| broken(&error))?;
    let room = |more: u64| {
        let promised = context.ledger.promised(&context.config.room);
        disk_room(
            disk_free(folder) >> 20,
            more >> 20,
            promised,
            &context.config.room,
        )
        .map_err(|error| HostError::NoRoom {
            message: error.to_string(),
        })
    };
    room(import.bytes.unwrap_or(0))?;
    let file = tokio::fs::File::create(folder.join("upload")).await;
    let mut file = file.map_err(|error| broken(&error))?;
    let mut piece = vec![0; 1 << 20];
    let (mut all, mut looked) = (0u64, 0);
    loop {
        let read = import.content.read(&mut piece).await;
        let read = read.map_err(|error| HostError::Unusable {
            message: format!("the file did not come to its end ({error}): send it again"),
        })?;
        if read == 0 {
            break;
        }
        let written = file.write_all(&piece[..read]).await;
        written.map_err(|error| broken(&error))?;
        all += read as u64;
        if all - looked >= LOOKED_EVERY {
            looked = all;
            room(0)?;
        }
    }
    file.flush().await.map_err(|error| broken(&error))
}

fn broken(error: &io::Error) -> HostError {
    failed(format!("the file cannot be kept on the host: {error}"))
}

/// What the disk's server would be told of it.
fn spec(id: &WorkspaceId, owner: &OrganizationId) -> RunSpec {
    RunSpec {
        workspace: id.clone(),
        name: WorkspaceName::suggest(id.as_str()),
        organization: Some(owner.clone()),
        epoch: 1,
        size: Size::default(),
        repository: None,
        origin: None,
        git_identity: None,
        environment: Default::default(),
    }
}

/// Removes an import: a workspace has begun with it, or nobody will. Blocks.
pub fn forget(disks: &Disks, folder: &Path, id: &WorkspaceId) -> io::Result<()> {
    let imported: Imported = match fs::read(folder.join("import.json")) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    disks
        .remove(&spec(id, &imported.owner))
        .map_err(io::Error::other)?;
    fs::remove_dir_all(folder)
}

fn give_up(disks: &Disks, folder: &Path, id: &WorkspaceId) {
    if let Err(error) = forget(disks, folder, id) {
        tracing::warn!(%id, %error, "an import that came to nothing is left until it is swept");
    }
}

/// Removes what no workspace has begun with.
pub async fn sweep(context: &Arc<Context>) {
    let context = context.clone();
    let swept = blocking(move || {
        let entries = match fs::read_dir(context.folders.imports()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            let name = entry.file_name().to_string_lossy().into_owned();
            if age > WAITS {
                forget(&context.disks, &entry.path(), &WorkspaceId::new(name))?;
            }
        }
        Ok::<_, io::Error>(())
    });
    match swept.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = chain(&error), "old imports are left"),
        Err(error) => tracing::warn!(%error, "old imports are left"),
    }
}
