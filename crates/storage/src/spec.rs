//! A disk by its description: everything that a process needs to open it. Written to files that only root
//! may read, as it has keys in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::{BackoffConfig, RetryConfig};
use serde::{Deserialize, Serialize};

use crate::base::{BaseCache, Origin};
use crate::disk::{Below, Disk, OpenDisk, World};
use crate::error::{During, Result, StorageError};
use crate::keys::{Entropy, SystemEntropy, TenantKeys};
use crate::manifest::{DiskName, Manifest, Version};
use crate::store::Store;

/// A store that has not done a request in so long is away.
const STORE_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a connection to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For so long a request is tried again below us. Longer patience is with the callers, who tell somebody.
const RETRY_TIMEOUT: Duration = Duration::from_secs(3);

/// A disk on this host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiskSpec {
    /// Where the host keeps its part of it.
    pub folder: PathBuf,
    pub name: DiskName,
    /// Of the placement; larger than that of every earlier one.
    pub epoch: u64,
    /// Blocks of a disk that is made; one that exists grows to it.
    pub blocks: u32,
    pub store: StoreSpec,
    pub keys: TenantKeys,
    pub base: Option<BaseSpec>,
    /// Another host may have had it since: what is here is looked at only once the store agrees.
    #[serde(default)]
    pub moved: bool,
    /// There has been such a disk: that it is nowhere is an error, and no reason to make an empty one.
    #[serde(default)]
    pub must_exist: bool,
}

/// The image below a disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BaseSpec {
    pub version: Version,
    /// The host's cache of it.
    pub path: PathBuf,
    pub keys: TenantKeys,
}

impl BaseSpec {
    /// Opens the host's cache of it, which is made if there is none.
    pub fn open(&self, store: &Store) -> Result<BaseCache> {
        let origin = Origin::new(store, &self.keys, self.version.clone());
        if !BaseCache::exists(&self.path) {
            let (_, manifest) = origin.store.manifest(&origin.keys, &origin.version)?;
            BaseCache::create(&self.path, manifest.blocks)?;
        }
        BaseCache::open(&self.path, Some(origin))
    }
}

/// Where objects lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum StoreSpec {
    Folder { path: PathBuf },
    S3(S3Spec),
}

/// A bucket of Amazon's S3 or of anything that speaks like it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Spec {
    pub bucket: String,
    pub region: String,
    /// URL of a server that is not Amazon's.
    #[serde(default)]
    pub endpoint: Option<String>,
    #[serde(default)]
    pub access_key_id: String,
    #[serde(default)]
    pub secret_access_key: String,
}

impl std::fmt::Debug for S3Spec {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "S3Spec({} in {})", self.bucket, self.region)
    }
}

impl StoreSpec {
    /// Opens the store. S3 needs a runtime that drives its connections.
    pub fn open(&self, runtime: Option<&tokio::runtime::Handle>) -> Result<Store> {
        match self {
            Self::Folder { path } => {
                std::fs::create_dir_all(path).during(|| path.display().to_string())?;
                Store::folder(path)
            }
            Self::S3(spec) => {
                let Some(runtime) = runtime else {
                    return Err(StorageError::Invalid(
                        "a store on the network needs a runtime".to_owned(),
                    ));
                };
                // Without one the client panics; a process that has one keeps it.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let timeouts = object_store::ClientOptions::new()
                    .with_timeout(STORE_TIMEOUT)
                    .with_connect_timeout(CONNECT_TIMEOUT)
                    .with_allow_http(true);
                let retry = RetryConfig {
                    backoff: BackoffConfig {
                        max_backoff: Duration::from_secs(1),
                        ..BackoffConfig::default()
                    },
                    retry_timeout: RETRY_TIMEOUT,
                    ..RetryConfig::default()
                };
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(&spec.bucket)
                    .with_region(&spec.region)
                    .with_access_key_id(&spec.access_key_id)
                    .with_secret_access_key(&spec.secret_access_key)
                    .with_client_options(timeouts)
                    .with_retry(retry);
                if let Some(endpoint) = &spec.endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                let opened = builder.build().map_err(|source| StorageError::Store {
                    what: format!("be opened: bucket {}", spec.bucket),
                    source,
                })?;
                let probe = SystemEntropy.object_id();
                Ok(Store::remote(Arc::new(opened), runtime.clone(), probe))
            }
        }
    }

    /// Whether it is somewhere else, and takes a runtime to reach.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::S3(_))
    }
}

impl DiskSpec {
    /// What the disk stands on.
    pub fn world(&self, runtime: Option<&tokio::runtime::Handle>) -> Result<World> {
        Ok(World::new(self.store.open(runtime)?, self.keys.clone()))
    }

    /// The image below it, from this host's cache.
    pub fn base(&self, world: &World) -> Result<Option<Arc<dyn Below>>> {
        let Some(base) = &self.base else {
            return Ok(None);
        };
        Ok(Some(Arc::new(base.open(&world.store)?)))
    }

    /// Opens the disk as this host has it, or as the store has it, or makes a new one: whichever is first.
    pub fn open(&self, runtime: Option<&tokio::runtime::Handle>) -> Result<Disk> {
        let folder = self.folder.display().to_string();
        std::fs::create_dir_all(&self.folder).during(|| folder)?;
        let world = self.world(runtime)?;
        let base = self.base(&world)?;
        let opener = || OpenDisk {
            world: world.clone(),
            name: self.name.clone(),
            folder: self.folder.clone(),
            epoch: self.epoch,
            base: base.clone(),
        };
        let opened = opener().open()?;
        let disk = match opened {
            Some(disk) if self.moved => match disk.claim() {
                // It went on elsewhere: what is here is of the past.
                Err(StorageError::Invalid(_)) => self.make(&world, opener())?,
                claimed => claimed.map(|()| disk)?,
            },
            Some(disk) => disk,
            None => self.make(&world, opener())?,
        };
        disk.grow(self.blocks)?;
        Ok(disk)
    }

    fn make(&self, world: &World, opener: OpenDisk) -> Result<Disk> {
        world.store.probe()?;
        let newest = world.store.newest(&world.keys, &self.name, 0)?;
        if newest.is_none() && self.must_exist {
            return Err(StorageError::Missing(format!(
                "disk {}, and it is not in {} either",
                self.name,
                self.folder.display()
            )));
        }
        let manifest = newest.unwrap_or_else(|| {
            let tenant = self.keys.tenant().clone();
            let base = self.base.as_ref().map(|base| base.version.clone());
            Manifest::unborn(tenant, self.name.clone(), self.blocks, base)
        });
        opener.create(manifest)
    }
}
