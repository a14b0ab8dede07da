//! A disk in a folder, with a store in another.
#![allow(dead_code, reason = "every test file uses its part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::base::{BaseCache, Origin};
use storage::disk::Below;
use storage::import::publish;
use storage::keys::{KeyRing, SystemEntropy, Tenant, TenantKeys};
use storage::manifest::{DiskName, Manifest, Version};
use storage::store::Store;
use storage::{Disk, OpenDisk, Result, World};

/// One host with one store; everything is gone with it.
pub struct Host {
    pub folder: tempfile::TempDir,
    pub ring: KeyRing,
    pub keys: TenantKeys,
}

impl Host {
    pub fn new() -> Self {
        Self::with(KeyRing::generate(&SystemEntropy))
    }

    pub fn with(ring: KeyRing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["disk", "store"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let keys = ring.tenant(&Tenant::new("tenant").unwrap()).unwrap();
        Self { folder, ring, keys }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn world(&self) -> World {
        World::new(
            Store::folder(&self.path("store")).unwrap(),
            self.keys.clone(),
        )
    }

    /// Where an image below disks is stored: with another tenant.
    pub fn origin(&self) -> Origin {
        let tenant = Tenant::new("bases").unwrap();
        Origin {
            store: self.world().store,
            keys: self.ring.tenant(&tenant).unwrap(),
            version: Version {
                tenant,
                disk: DiskName::new("debian").unwrap(),
                number: 1,
            },
        }
    }

    /// Stores an image of some blocks of `version`, which is here too.
    pub fn publish_base(&self, blocks: u32, version: u32) -> PathBuf {
        let raw = self.path("raw");
        let content: Vec<u8> = (0..blocks)
            .flat_map(|number| block(number, version))
            .collect();
        std::fs::write(&raw, content).unwrap();
        publish(&raw, &self.origin(), &SystemEntropy, 2).unwrap();
        BaseCache::adopt(&raw).unwrap();
        raw
    }

    /// The stored image as this host has it at `path`.
    pub fn base(&self, path: &Path) -> Arc<dyn Below> {
        Arc::new(BaseCache::open(path, Some(self.origin())).unwrap())
    }

    fn opener(&self, folder: &Path, epoch: u64, base: Option<Arc<dyn Below>>) -> OpenDisk {
        OpenDisk {
            world: self.world(),
            name: DiskName::new("disk").unwrap(),
            folder: folder.to_owned(),
            epoch,
            base,
        }
    }

    /// A new disk.
    pub fn create(&self, blocks: u32, base: Option<Arc<dyn Below>>) -> Disk {
        self.make(blocks, None, base)
    }

    /// A new disk over the stored image, which is here at `path`.
    pub fn create_over(&self, blocks: u32, path: &Path) -> Disk {
        self.make(blocks, Some(self.origin().version), Some(self.base(path)))
    }

    fn make(&self, blocks: u32, version: Option<Version>, base: Option<Arc<dyn Below>>) -> Disk {
        let name = DiskName::new("disk").unwrap();
        let manifest = Manifest::unborn(self.keys.tenant().clone(), name, blocks, version);
        self.opener(&self.path("disk"), 1, base)
            .create(manifest)
            .unwrap()
    }

    /// Every file of the store.
    pub fn files_of_store(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.path("store")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files.sort();
        files
    }

    /// The disk as this host has it.
    pub fn open(&self, epoch: u64, base: Option<Arc<dyn Below>>) -> Result<Disk> {
        let opened = self.opener(&self.path("disk"), epoch, base).open()?;
        Ok(opened.expect("the folder has a disk"))
    }

    /// The disk on another host, which has nothing of it.
    pub fn move_to(&self, name: &str, epoch: u64, base: Option<Arc<dyn Below>>) -> Result<Disk> {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        let world = self.world();
        let disk = DiskName::new("disk").unwrap();
        let newest = world
            .store
            .newest(&self.keys, &disk, 0)?
            .expect("a version");
        self.opener(&folder, epoch, base).create(newest)
    }
}

/// Something to see through an empty disk.
pub struct Pattern(pub u32);

impl Below for Pattern {
    fn blocks(&self) -> u32 {
        self.0
    }

    fn read(&self, first: u32, buffer: &mut [u8]) -> Result<()> {
        for (block, content) in (first..).zip(buffer.chunks_mut(4096)) {
            content.fill(if block < self.0 { block as u8 | 1 } else { 0 });
        }
        Ok(())
    }

    fn zeros(&self, first: u32, most: u32) -> Result<u32> {
        Ok(if first < self.0 { 0 } else { most })
    }
}

/// A block that says which one it is, and in which version; half of it does not compress.
pub fn block(number: u32, version: u32) -> Vec<u8> {
    let mut state = u64::from(number) << 32 | u64::from(version) | 1 << 63;
    let mut content = vec![number as u8; 2048];
    for _ in 0..256 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content
}

/// Python with what tests need, which ./dev installs.
pub fn python() -> std::process::Command {
    std::process::Command::new(std::env::var_os("ROOST_PYTHON").unwrap_or("python3".into()))
}

/// What a block of the disk holds.
pub fn read(disk: &Disk, number: u32) -> Vec<u8> {
    let mut content = vec![0; 4096];
    disk.read(u64::from(number) * 4096, &mut content).unwrap();
    content
}
