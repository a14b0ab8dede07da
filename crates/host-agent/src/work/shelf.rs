//! The bundles of one workspace in the store. Everything here blocks.

use std::collections::BTreeSet;

use fleet_api::work::{SavedWork, WorkName};
use storage::keys::{ObjectId, SystemEntropy, TenantKeys};
use storage::manifest::DiskName;
use storage::store::{Attachment, Store};
use storage::{Result, StorageError};

use super::Memory;
use super::choice::{self, Description, Kept};

/// Version of the description that this code writes.
const FORMAT: u32 = 1;

/// Where they lie.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// Absent: the store has not been made yet, so nothing is in it.
    pub store: Option<Store>,
    pub keys: TenantKeys,
    pub disk: DiskName,
}

impl Shelf {
    /// Looks at what is there, and gives what cannot be read, in words.
    pub fn look(&self, memory: &mut Memory) -> Result<Vec<String>> {
        let listed: BTreeSet<ObjectId> = match &self.store {
            Some(store) => store.list_attachments(self.keys.tenant(), &self.disk)?,
            None => Vec::new(),
        }
        .into_iter()
        .collect();
        memory.kept.retain(|id, _| listed.contains(id));
        let mut unreadable = Vec::new();
        for id in listed {
            if memory.kept.contains_key(&id) {
                continue;
            }
            match self.open(&id).and_then(|found| describe(&found)) {
                Ok(kept) => drop(memory.kept.insert(id, kept)),
                // Another placement has removed it since.
                Err(StorageError::Missing(_)) => {}
                Err(error @ (StorageError::Damaged { .. } | StorageError::NoKey(_))) => {
                    unreadable.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(unreadable)
    }

    /// Keeps a bundle, and lets go of those that it supersedes.
    pub fn put(&self, memory: &mut Memory, work: SavedWork, bundle: &[u8]) -> Result<()> {
        let Some(store) = &self.store else {
            return Err(StorageError::Missing("the store".into()));
        };
        let description = Description {
            format: FORMAT,
            work,
        };
        let text = serde_json::to_vec(&description).expect("it has no keys but texts");
        let entropy = &SystemEntropy;
        let id = store.put_attachment(&self.keys, entropy, &self.disk, &text, bundle)?;
        let bytes = bundle.len() as u64;
        let work = description.work;
        memory.kept.insert(id, Kept { work, bytes });
        let kept = memory.kept.iter().map(|(id, kept)| (*id, kept));
        for id in choice::superseded(kept) {
            store.delete_attachment(self.keys.tenant(), &self.disk, &id)?;
            memory.kept.remove(&id);
        }
        Ok(())
    }

    /// The bundle of that name, if it is among what was looked at.
    pub fn find(&self, memory: &Memory, name: &WorkName) -> Result<Option<Attachment>> {
        let found = memory.kept.iter().find(|(_, kept)| kept.work.name == *name);
        found.map(|(id, _)| self.open(id)).transpose()
    }

    /// Removes all of them.
    pub fn clear(&self) -> Result<()> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        for id in store.list_attachments(self.keys.tenant(), &self.disk)? {
            store.delete_attachment(self.keys.tenant(), &self.disk, &id)?;
        }
        Ok(())
    }

    fn open(&self, id: &ObjectId) -> Result<Attachment> {
        let Some(store) = &self.store else {
            return Err(StorageError::Missing(id.to_string()));
        };
        store.attachment(&self.keys, &self.disk, id)
    }
}

fn describe(found: &Attachment) -> Result<Kept> {
    let description: Description = serde_json::from_slice(found.description()).map_err(|_| {
        StorageError::damaged("a bundle of saved work", "it says nothing of itself")
    })?;
    Ok(Kept {
        work: description.work,
        bytes: found.bytes(),
    })
}
