//! Where disks lie: the store, the keys to it, and what a disk's server is told.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use disk_server::{DoorChoice, ServerSpec};
use fleet_api::host::RunSpec;
use fleet_api::points;
use model::WorkspaceId;
use storage::accounts::Accounts;
use storage::base::{BaseCache, Origin};
use storage::collect::{Usage, usage};
use storage::disk::size_in_blocks;
use storage::import::publish;
use storage::keys::{KeyRing, SystemEntropy, Tenant, TenantKeys};
use storage::manifest::{DiskName, Version};
use storage::spec::{BaseSpec, DiskSpec, StoreSpec};
use storage::store::Store;
use storage::verify::{self, Damage};
use storage::{Result, StorageError};

use crate::images::ImageNames;
use crate::runner::record;
use crate::work::shelf::Shelf;

/// Packs of a base that are made beside each other.
const PUBLISHING: usize = 2;
/// Whose the bases are: everybody's.
const BASES: &str = "bases";
/// Whose a workspace is that a control plane of the first version started.
const NOBODY: &str = "default";

/// See the module.
#[derive(Debug)]
pub struct Disks {
    store: StoreSpec,
    ring: Ring,
    door: DoorChoice,
    /// One at a time takes up a base; the others find it.
    adopting: Mutex<()>,
    accounts: Mutex<HashMap<Tenant, Accounts>>,
}

struct Ring(KeyRing);

impl std::fmt::Debug for Ring {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Ring")
    }
}

impl Disks {
    /// The store of a host whose data lies in `data`. Its keys are made at the first start.
    pub fn open(data: &Path, store: Option<StoreSpec>, door: DoorChoice) -> io::Result<Self> {
        let path = data.join("store");
        Ok(Self {
            store: store.unwrap_or(StoreSpec::Folder { path }),
            ring: Ring(key_ring(&data.join("keys"))?),
            door,
            adopting: Mutex::new(()),
            accounts: Mutex::default(),
        })
    }

    /// What the server of a workspace's disk is told. `folder` is the workspace's, `base` the file of the image that
    /// `images` names; `made`: the disk has been there.
    pub fn server(
        &self,
        run: &RunSpec,
        folder: &Path,
        images: &ImageNames,
        base: &Path,
        made: bool,
    ) -> Result<ServerSpec> {
        let bases = self.keys(BASES)?;
        let version = Version {
            tenant: bases.tenant().clone(),
            disk: base_name(images)?,
            number: 1,
        };
        let disk = DiskSpec {
            folder: folder.join("disk"),
            name: disk_name(&run.workspace)?,
            epoch: run.epoch,
            blocks: size_in_blocks(run.size.disk_gib << 30)?,
            store: self.store.clone(),
            keys: self.keys(tenant_of(run))?,
            base: Some(BaseSpec {
                version,
                path: base.to_owned(),
                keys: bases,
            }),
            moved: false,
            must_exist: made,
        };
        Ok(ServerSpec {
            disk,
            door: self.door,
        })
    }

    /// Takes a base image that is here for the one that disks lie over: reads it once. Blocks.
    pub fn adopt(&self, base: &Path) -> Result<()> {
        let _one = self.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        if BaseCache::exists(base) {
            return Ok(());
        }
        BaseCache::adopt(base)
    }

    /// When what the store has of a workspace's disk was written, milliseconds since 1970; `None` when it has nothing.
    /// Blocks.
    pub fn newest_ms(&self, run: &RunSpec) -> Result<Option<u64>> {
        let (keys, name) = (self.keys(tenant_of(run))?, disk_name(&run.workspace)?);
        let newest = self.store()?.newest(&keys, &name, 0)?;
        Ok(newest.map(|newest| newest.written_ms))
    }

    /// Reads everything that is needed of the store and compares it with what was written. `progress` is told how many
    /// bytes of how many of a tenant are done. Blocks, and for long.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<Damage>> {
        let store = self.store()?;
        let mut damage = Vec::new();
        for tenant in store.list_tenants()? {
            let keys = self.ring.0.tenant(&tenant)?;
            damage.extend(verify::tenant(&store, &keys, &mut *progress)?.damage);
        }
        Ok(damage)
    }

    /// Removes a workspace's disk from the store, but for what is collected later. Blocks.
    pub fn remove(&self, run: &RunSpec) -> Result<()> {
        let store = self.store()?;
        let version = |number| -> Result<Version> {
            Ok(Version {
                tenant: Tenant::new(tenant_of(run))?,
                disk: disk_name(&run.workspace)?,
                number,
            })
        };
        let Version { tenant, disk, .. } = version(0)?;
        // Newest last: a removal that is cut off leaves what a start would take.
        for number in store.versions(&tenant, &disk, 0)? {
            store.delete_version(&version(number)?)?;
        }
        Ok(())
    }

    /// Stores the base image of a set, for other hosts; where the store is this host's own there are none. Blocks, the
    /// first time for long.
    pub fn publish(&self, images: &ImageNames, base: &Path) -> Result<()> {
        if !self.store.is_remote() {
            return Ok(());
        }
        let (store, keys, disk) = (self.store()?, self.keys(BASES)?, base_name(images)?);
        if store.newest(&keys, &disk, 0)?.is_some() {
            return Ok(());
        }
        let version = Version {
            tenant: keys.tenant().clone(),
            disk,
            number: 1,
        };
        let origin = Origin::new(&store, &keys, version);
        match publish(base, &origin, &SystemEntropy, PUBLISHING) {
            // Another host was faster.
            Err(StorageError::Fenced { .. }) => Ok(()),
            published => published.map(drop),
        }
    }

    /// Whether the store answers and is one that disks can be trusted to. Blocks.
    pub fn check(&self) -> Result<()> {
        self.store()?.probe()
    }

    /// Where the store is, for a person.
    pub fn place(&self) -> String {
        match &self.store {
            StoreSpec::Folder { path } => format!("the folder {}", path.display()),
            StoreSpec::S3(s3) => match &s3.endpoint {
                Some(endpoint) => format!("the bucket {} at {endpoint}", s3.bucket),
                None => format!("the bucket {} in {}", s3.bucket, s3.region),
            },
        }
    }

    /// It survives the loss of this host.
    pub fn is_remote(&self) -> bool {
        self.store.is_remote()
    }

    /// What is kept of a workspace's disk. Blocks.
    pub fn usage(&self, run: &RunSpec) -> Result<Usage> {
        let keys = self.keys(tenant_of(run))?;
        usage(&self.store()?, &keys, &disk_name(&run.workspace)?)
    }

    /// The version that a new disk begins with, of the same organisation's.
    pub fn version(&self, run: &RunSpec, origin: &points::Origin) -> Result<Version> {
        Ok(Version {
            tenant: Tenant::new(tenant_of(run))?,
            disk: disk_name(&origin.workspace)?,
            number: origin.number,
        })
    }

    /// Where bundles of a workspace's saved work lie; `to_put`: also when there is no store yet. Blocks for a moment.
    pub fn shelf(&self, run: &RunSpec, to_put: bool) -> Result<Shelf> {
        self.shelf_of(&run.workspace, tenant_of(run), to_put)
    }

    /// The same of a workspace of which nothing else is here.
    pub fn shelf_of(&self, workspace: &WorkspaceId, tenant: &str, to_put: bool) -> Result<Shelf> {
        let made = match &self.store {
            StoreSpec::Folder { path } => path.exists(),
            StoreSpec::S3(_) => true,
        };
        let store = (made || to_put).then(|| self.store()).transpose()?;
        Ok(Shelf {
            store,
            keys: self.keys(tenant)?,
            disk: disk_name(workspace)?,
        })
    }

    /// Reads everything that the store has of a workspace's disk and its points, or of one version; `None`: it is not
    /// there. Blocks, and for long.
    pub fn check_disk(
        &self,
        run: &RunSpec,
        number: Option<u64>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<verify::Report>> {
        let (store, keys) = (self.store()?, self.keys(tenant_of(run))?);
        let disk = disk_name(&run.workspace)?;
        let Some(number) = number else {
            let report = verify::disk(&store, &keys, &disk, progress)?;
            return Ok(Some(report).filter(|report| !report.versions.is_empty()));
        };
        let version = Version {
            tenant: keys.tenant().clone(),
            disk,
            number,
        };
        match verify::version(&store, &keys, &version, progress) {
            Err(StorageError::Missing(_)) => Ok(None),
            checked => checked.map(Some),
        }
    }

    /// Who has how much, as it was found last.
    pub(crate) fn accounts(&self) -> MutexGuard<'_, HashMap<Tenant, Accounts>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tenant_keys(&self, tenant: &Tenant) -> Result<TenantKeys> {
        self.ring.0.tenant(tenant)
    }

    pub(crate) fn store(&self) -> Result<Store> {
        self.store
            .open(tokio::runtime::Handle::try_current().ok().as_ref())
    }

    pub(crate) fn keys(&self, tenant: &str) -> Result<TenantKeys> {
        self.ring.0.tenant(&Tenant::new(tenant)?)
    }
}

fn tenant_of(run: &RunSpec) -> &str {
    run.organization
        .as_ref()
        .map_or(NOBODY, |organization| organization.as_str())
}

fn disk_name(workspace: &WorkspaceId) -> Result<DiskName> {
    DiskName::new(workspace.as_str().to_ascii_lowercase())
}

/// The other way round.
pub fn workspace_of(disk: &DiskName) -> WorkspaceId {
    WorkspaceId::new(disk.to_string())
}

/// `base-HASH.ext4` is the disk `base-HASH`.
fn base_name(images: &ImageNames) -> Result<DiskName> {
    DiskName::new(images.base.trim_end_matches(".ext4"))
}

fn key_ring(folder: &Path) -> io::Result<KeyRing> {
    let path = folder.join("storage.json");
    match fs::read(&path) {
        Ok(text) => return serde_json::from_slice(&text).map_err(|error| damaged(&path, &error)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let ring = KeyRing::generate(&SystemEntropy);
    // What is sealed with a key that is lost is lost.
    record::write(&path, &ring)?;
    Ok(ring)
}

fn damaged(path: &Path, error: &serde_json::Error) -> io::Error {
    let text = format!(
        "{} is damaged ({error}): bring it back from a backup, or nothing in the store can be read",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}
