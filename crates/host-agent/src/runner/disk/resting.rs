//! The disk of a machine that rests, worked on here.

use std::fs::File;
use std::path::Path;

use disk_server::{ServerSpec, lock};
use fleet_api::host::{FailureKind, RunSpec, StartFailure};
use storage::StorageError;
use storage::disk::Disk as Storage;
use storage::manifest::{Point, Version};
use storage::snapshot::Snapshot;
use tokio::runtime::Handle;

use super::{Disk, DiskRecord, broken, disk_failure, file, image_failure, read_record};
use crate::disks::Disks;
use crate::failure::failure;
use crate::images::Images;

/// See the module. Everything here blocks.
#[derive(Clone, Copy)]
pub struct Resting<'a> {
    pub images: &'a Images,
    pub disks: &'a Disks,
    /// Of the workspace.
    pub folder: &'a Path,
    pub run: &'a RunSpec,
}

impl Resting<'_> {
    /// What the disk's server is told, and the images that boot from it.
    pub(super) fn disk(&self, record: &DiskRecord) -> Result<Disk, StartFailure> {
        let images = self
            .images
            .for_workspace(&record.images)
            .map_err(image_failure)?;
        let base = self.images.files(&images).base;
        self.disks.adopt(&base).map_err(disk_failure)?;
        let server = self
            .disks
            .server(self.run, self.folder, &images, &base, record.made)
            .map_err(disk_failure)?;
        Ok(Disk { server, images })
    }

    /// Opens the disk, has something done to it, and closes it.
    pub fn act<T>(
        &self,
        work: impl FnOnce(&Storage) -> storage::Result<T>,
    ) -> Result<T, StartFailure> {
        let (_lock, disk) = self.open(&self.record()?)?;
        let done = work(&disk).map_err(disk_failure)?;
        disk.flush().map_err(disk_failure)?;
        Ok(done)
    }

    /// A version of the disk, or without a number the newest, as the store has it.
    pub fn snapshot(&self, number: Option<u64>) -> Result<Snapshot, StartFailure> {
        let spec = self.disk(&self.record()?)?.server.disk;
        let open = || {
            let world = spec.world(Handle::try_current().ok().as_ref())?;
            let (store, keys) = (&world.store, &world.keys);
            let newest = || {
                let newest = store.newest(keys, &spec.name, 0)?;
                let none = || StorageError::Missing("any version of the disk".to_owned());
                Ok::<_, StorageError>(newest.ok_or_else(none)?.version)
            };
            let version = match number {
                None => newest()?,
                Some(number) => Version {
                    tenant: keys.tenant().clone(),
                    disk: spec.name.clone(),
                    number,
                },
            };
            let (snapshot, unreadable) =
                Snapshot::salvage(store, keys, &version, spec.base(&world)?)?;
            for object in unreadable {
                tracing::error!(object.object, %object.error, "something of a disk cannot be read");
            }
            Ok(snapshot)
        };
        open().map_err(disk_failure)
    }

    /// Makes version `to` the disk's content; what it has now is kept as `branch`. Answers the branch's version.
    pub fn go_back(&self, to: u64, branch: &Point) -> Result<u64, StartFailure> {
        let (_lock, disk) = self.open(&self.record()?)?;
        let made = disk.go_back(to, branch).map_err(disk_failure)?;
        Ok(made.version.number - 1)
    }

    fn record(&self) -> Result<DiskRecord, StartFailure> {
        let none = || {
            let text = "the workspace has no disk yet: start it once";
            failure(FailureKind::Internal, text)
        };
        let record = read_record(self.folder).map_err(|error| broken(&error))?;
        let record = record.ok_or_else(none)?;
        if record.format == 1 {
            let text = "the workspace's disk is of an earlier version of Roost: start it once, which converts it";
            return Err(failure(FailureKind::Internal, text));
        }
        Ok(record)
    }

    fn open(&self, record: &DiskRecord) -> Result<(File, Storage), StartFailure> {
        open(&self.disk(record)?.server)
    }
}

/// Opens a disk that nobody else has open.
fn open(server: &ServerSpec) -> Result<(File, Storage), StartFailure> {
    let spec = &server.disk;
    let lock = lock::take(&spec.folder).map_err(file(&spec.folder));
    let lock = lock.map_err(disk_failure)?;
    let disk = spec.open(Handle::try_current().ok().as_ref());
    Ok((lock, disk.map_err(disk_failure)?))
}
