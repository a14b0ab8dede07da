//! What collecting asks of the store: everything that lies there, and notes.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use object_store::path::Path;

use super::{PROBE, Store, again, failed, index_path, note_path, number_of_version, pack_path};
use crate::error::{Result, StorageError};
use crate::index;
use crate::keys::{Entropy, ObjectId, Tenant, TenantKeys};
use crate::manifest::DiskName;
use crate::object::{HEADER, Kind, ObjectWriter, open_whole};
use crate::pack::PackRef;

/// Something that lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub id: ObjectId,
    pub bytes: u64,
    /// Milliseconds since 1970, by the store's clock.
    pub modified_ms: u64,
}

impl Store {
    fn list(&self, folder: String) -> Result<Vec<object_store::ObjectMeta>> {
        let folder = Path::from(folder);
        self.wait(self.objects.list(Some(&folder)).try_collect())
            .map_err(|error| failed("list", &folder, error))
    }

    pub(super) fn list_stored(&self, folder: String) -> Result<Vec<Stored>> {
        let stored = self.list(folder)?.into_iter().filter_map(|meta| {
            let name = meta.location.filename()?.to_owned();
            Some(Stored {
                id: ObjectId::try_from(name).ok()?,
                bytes: meta.size,
                modified_ms: u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0),
            })
        });
        Ok(stored.collect())
    }

    /// Everybody who has something here.
    pub fn list_tenants(&self) -> Result<BTreeSet<Tenant>> {
        let root = Path::default();
        let listed = self
            .wait(self.objects.list_with_delimiter(None))
            .map_err(|error| failed("list", &root, error))?;
        let folders = listed.common_prefixes;
        // What is no tenant's is the probe.
        let tenants = folders.iter().filter_map(|folder| {
            let name = folder.filename()?;
            (name != PROBE).then(|| Tenant::new(name).ok())?
        });
        Ok(tenants.collect())
    }

    pub fn list_packs(&self, tenant: &Tenant) -> Result<Vec<Stored>> {
        self.list_stored(format!("{tenant}/packs"))
    }

    pub fn list_indexes(&self, tenant: &Tenant) -> Result<Vec<Stored>> {
        self.list_stored(format!("{tenant}/indexes"))
    }

    /// Disks that have a version.
    pub fn list_disks(&self, tenant: &Tenant) -> Result<BTreeSet<DiskName>> {
        let manifests = self.list(format!("{tenant}/disks"))?;
        let disks = manifests.iter().filter_map(|meta| {
            let disk = meta.location.parts().nth(2)?;
            DiskName::new(disk.as_ref()).ok()
        });
        Ok(disks.collect())
    }

    /// The versions of every disk, with one request for all of them.
    pub fn list_versions(&self, tenant: &Tenant) -> Result<BTreeMap<DiskName, BTreeSet<u64>>> {
        let mut disks: BTreeMap<DiskName, BTreeSet<u64>> = BTreeMap::new();
        for meta in self.list(format!("{tenant}/disks"))? {
            let disk = meta.location.parts().nth(2);
            let disk = disk.and_then(|disk| DiskName::new(disk.as_ref()).ok());
            if let (Some(disk), Some(number)) = (disk, number_of_version(&meta.location)) {
                disks.entry(disk).or_default().insert(number);
            }
        }
        Ok(disks)
    }

    /// Bytes of what is kept beside each disk.
    pub fn attached(&self, tenant: &Tenant) -> Result<BTreeMap<DiskName, u64>> {
        let mut disks: BTreeMap<DiskName, u64> = BTreeMap::new();
        for meta in self.list(format!("{tenant}/attachments"))? {
            let disk = meta.location.parts().nth(2);
            if let Some(disk) = disk.and_then(|disk| DiskName::new(disk.as_ref()).ok()) {
                *disks.entry(disk).or_default() += meta.size;
            }
        }
        Ok(disks)
    }

    pub fn delete_pack(&self, tenant: &Tenant, id: &ObjectId) -> Result<()> {
        self.delete(&pack_path(tenant, id))
    }

    pub fn delete_index(&self, tenant: &Tenant, id: &ObjectId) -> Result<()> {
        self.delete(&index_path(tenant, id))
    }

    /// Which packs an index refers to: what it says of blocks is not read.
    pub fn packs_of_index(&self, keys: &TenantKeys, id: &ObjectId) -> Result<Vec<ObjectId>> {
        let path = index_path(keys.tenant(), id);
        again(|| {
            let (opener, _, directory) = self.directory(Kind::Index, keys, &path, id)?;
            let frames = index::table_frames(&directory)
                .ok_or_else(|| opener.damaged("its directory makes no sense"))?;
            let mut table = Vec::new();
            for number in frames {
                let frame = directory.frames[number];
                let range = frame.offset..frame.offset + u64::from(frame.frame.stored);
                let mut stored = self.get_range(&path, range)?;
                let start = table.len();
                table.resize(start + frame.raw as usize, 0);
                let compressed = frame.frame.compressed;
                opener.frame(number as u32, compressed, &mut stored, &mut table[start..])?;
            }
            let mut rest = &table[..];
            let mut packs = Vec::new();
            while !rest.is_empty() {
                let pack = PackRef::read_from(&mut rest)
                    .ok_or_else(|| opener.damaged("its table makes no sense"))?;
                if !pack.is_nothing() {
                    packs.push(pack.id);
                }
            }
            Ok(packs)
        })
    }

    /// Names of notes below a name.
    pub fn list_notes(&self, tenant: &Tenant, below: &str) -> Result<Vec<String>> {
        let found = self.list(format!("{tenant}/notes/{below}"))?;
        let names = found.iter().filter_map(|meta| {
            let name = meta.location.filename()?;
            Some(format!("{below}/{name}"))
        });
        Ok(names.collect())
    }

    /// The content of a note.
    pub fn note(&self, keys: &TenantKeys, name: &str) -> Result<Vec<u8>> {
        let path = note_path(keys.tenant(), name);
        again(|| {
            let bytes = self.get(&path)?;
            let id = bytes
                .get(HEADER - 16..HEADER)
                .and_then(|id| id.first_chunk());
            let id = id.ok_or_else(|| {
                StorageError::damaged(format!("the note {name}"), "it is too short")
            })?;
            open_whole(Kind::Note, &ObjectId(*id), bytes, keys).map(|(body, _)| body)
        })
    }

    fn sealed_note(keys: &TenantKeys, entropy: &dyn Entropy, body: &[u8]) -> Result<Vec<u8>> {
        let mut object = ObjectWriter::new(Kind::Note, entropy.object_id(), keys)?;
        object.frame(body);
        Ok(object.finish(&[]))
    }

    /// Leaves a note under a new name.
    pub fn put_note(
        &self,
        keys: &TenantKeys,
        entropy: &dyn Entropy,
        name: &str,
        body: &[u8],
    ) -> Result<()> {
        let sealed = Self::sealed_note(keys, entropy, body)?;
        self.put(&note_path(keys.tenant(), name), sealed)
    }

    /// Leaves a note in the place of the one that has the name.
    pub fn replace_note(
        &self,
        keys: &TenantKeys,
        entropy: &dyn Entropy,
        name: &str,
        body: &[u8],
    ) -> Result<()> {
        let sealed = Self::sealed_note(keys, entropy, body)?;
        self.overwrite(&note_path(keys.tenant(), name), sealed)
    }

    pub fn delete_note(&self, tenant: &Tenant, name: &str) -> Result<()> {
        self.delete(&note_path(tenant, name))
    }
}
