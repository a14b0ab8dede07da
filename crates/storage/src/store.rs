//! The store: objects in a folder or in S3, and the few things that are done with them.
//!
//! ```text
//! TENANT/packs/xx/ID                blocks
//! TENANT/indexes/ID                 where the blocks of an image are
//! TENANT/disks/DISK/NUMBER          manifests; NUMBER has 16 hexadecimal digits
//! TENANT/attachments/DISK/ID        files beside a disk
//! TENANT/notes/…                    what collecting needs to know, see [`crate::collect`]
//! probe/ID                          there for a moment, see [`Store::probe`]
//! ```
//!
//! But for notes, nothing is ever overwritten. A manifest is created under the next number, or not at all if somebody
//! else has created it: that one condition is all that is asked of a store beyond reading and writing, and
//! it is what keeps a stale writer out. A store on the network is tried for it before it gets a version.

pub(crate) mod attachments;
mod collecting;

use std::collections::BTreeSet;
use std::future::Future;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::{Arc, OnceLock};

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

pub use self::attachments::Attachment;
pub use self::collecting::Stored;
use crate::error::{Result, StorageError};
use crate::index::{self, Index};
use crate::keys::{ObjectId, Tenant, TenantKeys};
use crate::manifest::{DiskName, Manifest, Version};
use crate::object::{Directory, FOOTER, HEADER, Kind, Opener};
use crate::pack::{Pack, PackContents, PackRef};
use crate::planted::{self, Bug};

/// Of a pack's end this much is asked for at first: the directory of a full pack of a disk fits.
const TAIL: u64 = 20 * 1024;

/// Where the store is tried out.
const PROBE: &str = "probe";

/// An object store. Methods block; they are not for a thread that runs futures.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    runtime: Option<tokio::runtime::Handle>,
    probe: Option<Arc<Probe>>,
}

/// Whether the store was found to refuse to create what exists.
#[derive(Debug)]
struct Probe {
    id: ObjectId,
    passed: OnceLock<()>,
}

impl Store {
    /// A folder on this host. What is put there is durable when the call returns.
    pub fn folder(path: &FilePath) -> Result<Self> {
        let folder = object_store::local::LocalFileSystem::new_with_prefix(path);
        let folder = folder.map_err(|source| StorageError::Store {
            what: format!("be opened in {}", path.display()),
            source,
        })?;
        Ok(Self::new(Arc::new(folder.with_fsync(true))))
    }

    /// Any that is known to honour conditions.
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self {
            objects,
            runtime: None,
            probe: None,
        }
    }

    /// One on the network; `runtime` drives its connections, and `probe` names the object that it is tried with.
    pub fn remote(
        objects: Arc<dyn ObjectStore>,
        runtime: tokio::runtime::Handle,
        probe: ObjectId,
    ) -> Self {
        Self {
            objects,
            runtime: Some(runtime),
            probe: Some(Arc::new(Probe {
                id: probe,
                passed: OnceLock::new(),
            })),
        }
    }

    fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        match &self.runtime {
            Some(runtime) => runtime.block_on(what),
            None => futures::executor::block_on(what),
        }
    }

    /// Makes sure, once, that the store refuses to create what exists; one that overwrites would let two
    /// hosts write one disk.
    pub fn probe(&self) -> Result<()> {
        let Some(probe) = &self.probe else {
            return Ok(());
        };
        if probe.passed.get().is_none() {
            self.try_conditions(&Path::from(format!("{PROBE}/{}", probe.id)))?;
            probe.passed.get_or_init(|| ());
        }
        Ok(())
    }

    fn try_conditions(&self, path: &Path) -> Result<()> {
        let first = self.put(path, b"first".to_vec());
        let second = first.and_then(|()| self.create(path, b"second".to_vec()));
        let _ = self.wait(self.objects.delete(path));
        let unfit = |what: &str| {
            StorageError::Unfit(format!(
                "the store {what} conditions (If-None-Match: *), without which two hosts could write one \
                 disk: use a store that honours them"
            ))
        };
        match second {
            Ok(Created::Exists(_)) => Ok(()),
            Ok(Created::New) => Err(unfit("ignores")),
            // The status is nowhere but in the text.
            Err(StorageError::Store { source, .. })
                if source.to_string().contains("501 Not Implemented") =>
            {
                Err(unfit("refuses"))
            }
            Err(error) => Err(error),
        }
    }

    fn get(&self, path: &Path) -> Result<Vec<u8>> {
        let bytes = self.wait(async { self.objects.get(path).await?.bytes().await });
        bytes
            .map(Into::into)
            .map_err(|error| unread("read", path, error))
    }

    fn get_range(&self, path: &Path, range: Range<u64>) -> Result<Vec<u8>> {
        let bytes = self.wait(self.objects.get_range(path, range.clone()));
        let bytes: Vec<u8> = bytes.map_err(|error| unread("read", path, error))?.into();
        if bytes.len() as u64 == range.end - range.start {
            Ok(bytes)
        } else {
            Err(StorageError::damaged(
                format!("the object {path}"),
                "it is too short",
            ))
        }
    }

    /// Creates an object; the name is new, so that a second attempt finds what the first one left.
    fn put(&self, path: &Path, bytes: Vec<u8>) -> Result<()> {
        match self.create(path, bytes)? {
            Created::New => Ok(()),
            // S3 refuses also while an attempt is on its way, which may fail yet.
            Created::Exists(refused) => match self.wait(self.objects.head(path)) {
                Ok(_) => Ok(()),
                Err(_) => Err(failed("write", path, refused)),
            },
        }
    }

    fn create(&self, path: &Path, bytes: Vec<u8>) -> Result<Created> {
        let options = PutOptions::from(PutMode::Create);
        match self.wait(self.objects.put_opts(path, bytes.into(), options)) {
            Ok(_) => Ok(Created::New),
            Err(
                refused @ (ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }),
            ) => Ok(Created::Exists(refused)),
            Err(error) => Err(failed("write", path, error)),
        }
    }

    fn overwrite(&self, path: &Path, bytes: Vec<u8>) -> Result<()> {
        self.wait(self.objects.put(path, bytes.into()))
            .map(drop)
            .map_err(|error| failed("write", path, error))
    }

    /// Stores a pack, durably.
    pub fn put_pack(&self, tenant: &Tenant, pack: Pack) -> Result<()> {
        self.put(&pack_path(tenant, &pack.contents.pack.id), pack.bytes)
    }

    /// Where a pack lies, for somebody who has to be told.
    pub fn pack_name(tenant: &Tenant, id: &ObjectId) -> String {
        pack_path(tenant, id).to_string()
    }

    /// The same of an index.
    pub fn index_name(tenant: &Tenant, id: &ObjectId) -> String {
        index_path(tenant, id).to_string()
    }

    /// The same of a version.
    pub fn manifest_name(version: &Version) -> String {
        manifest_path(version).to_string()
    }

    /// A pack as it lies there.
    pub fn pack(&self, tenant: &Tenant, id: &ObjectId) -> Result<Vec<u8>> {
        self.get(&pack_path(tenant, id))
    }

    /// Stores a sealed index, durably.
    pub fn put_index(&self, tenant: &Tenant, id: &ObjectId, bytes: Vec<u8>) -> Result<()> {
        self.put(&index_path(tenant, id), bytes)
    }

    pub fn index(&self, keys: &TenantKeys, id: &ObjectId) -> Result<Index> {
        let path = index_path(keys.tenant(), id);
        again(|| index::open(id, self.get(&path)?, keys))
    }

    /// The index of a version, with the changes of its segments.
    pub fn whole_index(&self, keys: &TenantKeys, manifest: &Manifest) -> Result<Index> {
        let mut index = match &manifest.index {
            Some(id) => self.index(keys, id)?,
            None => Index::empty(manifest.blocks),
        };
        index.map.grow(manifest.blocks);
        for segment in &manifest.segments {
            index.apply(&self.pack_contents(keys, segment)?)?;
        }
        Ok(index)
    }

    /// Reads frames of a pack with one request: the blocks of them all, one after the other.
    pub fn frames(
        &self,
        keys: &TenantKeys,
        pack: &PackRef,
        frames: Range<usize>,
    ) -> Result<Vec<u8>> {
        let opener = Opener::new(Kind::Pack, &pack.id, pack.key, keys)?;
        let start = pack.frame_range(frames.start).start;
        let end = pack.frame_range(frames.end - 1).end;
        let path = pack_path(keys.tenant(), &pack.id);
        again(|| {
            let stored = self.get_range(&path, start..end)?;
            open_frames(&opener, pack, frames.clone(), stored)
        })
    }

    /// Reads what a pack says of itself.
    pub fn pack_contents(&self, keys: &TenantKeys, id: &ObjectId) -> Result<PackContents> {
        again(|| self.read_pack_contents(keys, id))
    }

    fn read_pack_contents(&self, keys: &TenantKeys, id: &ObjectId) -> Result<PackContents> {
        let path = pack_path(keys.tenant(), id);
        let (opener, key, directory) = self.directory(Kind::Pack, keys, &path, id)?;
        PackContents::parse(*id, key, &directory)
            .ok_or_else(|| opener.damaged("its directory makes no sense"))
    }

    /// Reads an object's directory, and which key it is sealed with.
    fn directory(
        &self,
        kind: Kind,
        keys: &TenantKeys,
        path: &Path,
        id: &ObjectId,
    ) -> Result<(Opener, u32, Directory)> {
        let meta = self.wait(self.objects.head(path));
        let length = meta.map_err(|error| unread("look at", path, error))?.size;
        if length < (HEADER + FOOTER) as u64 {
            return Err(StorageError::damaged(
                format!("the object {id}"),
                "it is too short",
            ));
        }
        let start = self.get_range(path, 0..HEADER as u64)?;
        let opener = Opener::from_start(kind, id, &start, keys)?;
        let key = u32::from_le_bytes([start[12], start[13], start[14], start[15]]);
        let tail = |bytes: u64| self.get_range(path, length - bytes.min(length)..length);
        let directory = match opener.directory(length, &mut tail(TAIL)?)? {
            Ok(directory) => directory,
            Err(needed) => opener
                .directory(length, &mut tail(needed as u64)?)?
                .map_err(|_| opener.damaged("it is too short"))?,
        };
        Ok((opener, key, directory))
    }

    /// Numbers of a disk's versions that are there, from `after` on (without it).
    pub fn versions(&self, tenant: &Tenant, disk: &DiskName, after: u64) -> Result<BTreeSet<u64>> {
        let folder = Path::from(format!("{tenant}/disks/{disk}"));
        let offset = manifest_path(&Version {
            tenant: tenant.clone(),
            disk: disk.clone(),
            number: after,
        });
        let listed = self.objects.list_with_offset(Some(&folder), &offset);
        let numbers =
            listed.try_filter_map(|meta| async move { Ok(number_of_version(&meta.location)) });
        self.wait(numbers.try_collect())
            .map_err(|error| failed("list", &folder, error))
    }

    /// Reads one version.
    pub fn manifest(&self, keys: &TenantKeys, version: &Version) -> Result<(ObjectId, Manifest)> {
        again(|| Manifest::open(version, self.get(&manifest_path(version))?, keys))
    }

    /// The newest version of a disk, if it has any.
    pub fn newest(
        &self,
        keys: &TenantKeys,
        disk: &DiskName,
        after: u64,
    ) -> Result<Option<Manifest>> {
        let numbers = self.versions(keys.tenant(), disk, after)?;
        let Some(number) = numbers.last() else {
            return Ok(None);
        };
        let version = Version {
            tenant: keys.tenant().clone(),
            disk: disk.clone(),
            number: *number,
        };
        Ok(Some(self.manifest(keys, &version)?.1))
    }

    /// Makes `manifest` the newest version of its disk. Durable when it returns. Whoever holds a newer
    /// epoch keeps everybody else out; an attempt whose outcome is not known can be made again with the
    /// same `sealed` object.
    pub fn commit(
        &self,
        keys: &TenantKeys,
        manifest: &Manifest,
        sealed: &(ObjectId, Vec<u8>),
    ) -> Result<()> {
        self.probe()?;
        let path = manifest_path(&manifest.version);
        match self.create(&path, sealed.1.clone())? {
            Created::New => Ok(()),
            Created::Exists(refused) => {
                let (id, found) = match self.manifest(keys, &manifest.version) {
                    // Somebody's attempt is on its way, and may fail yet.
                    Err(StorageError::Missing(_)) => return Err(failed("write", &path, refused)),
                    found => found?,
                };
                if id == sealed.0 || planted::is(Bug::IgnoreFence) {
                    return Ok(());
                }
                Err(StorageError::Fenced {
                    disk: manifest.version.disk.to_string(),
                    epoch: manifest.epoch,
                    newer: found.epoch,
                })
            }
        }
    }

    /// Deletes a version. One that is not there is no error.
    pub fn delete_version(&self, version: &Version) -> Result<()> {
        self.delete(&manifest_path(version))
    }

    fn delete(&self, path: &Path) -> Result<()> {
        match self.wait(self.objects.delete(path)) {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", path, error)),
        }
    }
}

/// What became of an attempt to create.
enum Created {
    New,
    Exists(ObjectError),
}

/// Of an object that is to be there.
fn unread(what: &str, path: &Path, source: ObjectError) -> StorageError {
    match source {
        ObjectError::NotFound { .. } => StorageError::Missing(path.to_string()),
        source => failed(what, path, source),
    }
}

fn failed(what: &str, path: &Path, source: ObjectError) -> StorageError {
    StorageError::Store {
        what: format!("{what} {path}"),
        source,
    }
}

fn pack_path(tenant: &Tenant, id: &ObjectId) -> Path {
    Path::from(format!("{tenant}/packs/{:02x}/{id}", id.0[0]))
}

fn index_path(tenant: &Tenant, id: &ObjectId) -> Path {
    Path::from(format!("{tenant}/indexes/{id}"))
}

fn note_path(tenant: &Tenant, name: &str) -> Path {
    Path::from(format!("{tenant}/notes/{name}"))
}

/// What [`manifest_path`] ends with.
fn number_of_version(path: &Path) -> Option<u64> {
    u64::from_str_radix(path.filename()?, 16).ok()
}

fn manifest_path(version: &Version) -> Path {
    let Version {
        tenant,
        disk,
        number,
    } = version;
    Path::from(format!("{tenant}/disks/{disk}/{number:016x}"))
}

/// Opens frames of a pack that were read in one piece.
fn open_frames(
    opener: &Opener,
    pack: &PackRef,
    frames: Range<usize>,
    mut stored: Vec<u8>,
) -> Result<Vec<u8>> {
    let blocks: usize = frames
        .clone()
        .map(|frame| pack.frame_slots(frame).len())
        .sum();
    let mut raw = vec![0; blocks * crate::block::BLOCK];
    let (mut stored_at, mut raw_at) = (0, 0);
    for number in frames {
        let frame = pack.frames[number];
        let stored_end = stored_at + frame.stored as usize;
        let raw_end = raw_at + pack.frame_slots(number).len() * crate::block::BLOCK;
        opener.frame(
            number as u32,
            frame.compressed,
            &mut stored[stored_at..stored_end],
            &mut raw[raw_at..raw_end],
        )?;
        (stored_at, raw_at) = (stored_end, raw_end);
    }
    Ok(raw)
}

/// What is read may be wrong once, on its way, and right the next time.
fn again<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    const TIMES: usize = 4;
    let mut outcome = attempt();
    for _ in 1..TIMES {
        match &outcome {
            Err(error @ (StorageError::Damaged { .. } | StorageError::NoKey(_))) => {
                tracing::warn!(%error, "read again");
                outcome = attempt();
            }
            _ => break,
        }
    }
    outcome
}
