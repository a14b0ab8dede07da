//! What one organisation's disks take of this host and of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use fleet_api::host::HostError;
use fleet_api::usage::{Base, HostUsage, Share};
use model::{OrganizationId, WorkspaceId};
use storage::Result;

use crate::config::Driver;
use crate::disks::{Disks, workspace_of};
use crate::failure::chain;
use crate::points::service::{blocking, failed};
use crate::runner::{Context, disk, record};

/// Bytes of `st_blocks`.
const SECTOR: u64 = 512;

pub async fn usage(
    context: Arc<Context>,
    owner: &OrganizationId,
) -> std::result::Result<HostUsage, HostError> {
    if let Driver::Process { .. } = context.config.driver {
        return Ok(HostUsage::default());
    }
    let owner = owner.clone();
    let found = blocking(move || look(&context, &owner)).await?;
    found.map_err(|error| failed(chain(&error)))
}

fn look(context: &Context, owner: &OrganizationId) -> Result<HostUsage> {
    let mut usage = context.disks.shares(owner.as_str())?;
    usage.store = match context.disks.is_remote() {
        true => context.disks.place(),
        false => format!("{} on {}", context.disks.place(), context.config.id),
    };
    let mut bases: BTreeMap<String, BTreeSet<WorkspaceId>> = BTreeMap::new();
    // What cannot be read is on its way out, or is told by whoever needs it.
    let entries = fs::read_dir(context.folders.workspaces());
    for entry in entries.into_iter().flatten().flatten() {
        let folder = entry.path();
        let Ok(record) = record::read(&folder.join("host.json")) else {
            continue;
        };
        if record.spec.organization.as_ref() != Some(owner) {
            continue;
        }
        let workspace = record.spec.workspace;
        if let Ok(Some(images)) = disk::born_with(&folder) {
            bases
                .entry(images.base)
                .or_default()
                .insert(workspace.clone());
        }
        usage.local.insert(workspace, occupied(&folder));
    }
    let bases = bases.into_iter().map(|(name, workspaces)| Base {
        bytes: fs::metadata(context.folders.images().join(&name))
            .map_or(0, |found| found.blocks() * SECTOR),
        name,
        workspaces,
    });
    usage.bases = bases.collect();
    Ok(usage)
}

/// Bytes of a folder on the host's disk: of files with holes, what is between them.
fn occupied(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => occupied(&entry.path()),
        Ok(found) => found.blocks() * SECTOR,
        Err(_) => 0,
    });
    bytes.sum()
}

impl Disks {
    /// What a tenant has in the store. Blocks.
    fn shares(&self, tenant: &str) -> Result<HostUsage> {
        let keys = self.keys(tenant)?;
        let mut accounts = self.accounts();
        let account = accounts.entry(keys.tenant().clone()).or_default();
        let found = account.look(&self.store()?, &keys)?;
        let shares = found.shares.into_iter().map(|share| Share {
            disks: share.disks.iter().map(workspace_of).collect(),
            bytes: share.bytes,
        });
        Ok(HostUsage {
            shares: shares.collect(),
            unneeded: found.unneeded,
            ..HostUsage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_take_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("disk");
        fs::create_dir(&below).unwrap();
        let file = fs::File::create(below.join("log")).unwrap();
        file.set_len(1 << 30).unwrap();
        fs::write(folder.path().join("host.json"), [1; 8192]).unwrap();
        let bytes = occupied(folder.path());
        assert!((8192..1 << 20).contains(&bytes), "{bytes}");
        assert_eq!(occupied(Path::new("/nowhere")), 0);
    }
}
