//! A file stored as the first version of a disk.

use std::path::Path;

use fleet_api::host::HostError;
use storage::StorageError;
use storage::base::Origin;
use storage::import::{Source, import};
use storage::keys::SystemEntropy;
use storage::manifest::Version;
use tokio::runtime::Handle;

use super::{DiskRecord, FORMAT, Resting, disk_failure, image_failure, write_record};
use crate::failure::chain;
use crate::points::service::failed;

/// Packs that are made beside each other.
const THREADS: usize = 2;

impl Resting<'_> {
    /// Stores a qcow2 file, or the plain bytes of a disk, over the base image that new disks get. Answers the disk's
    /// size in bytes. Blocks, and for long.
    pub fn import(
        &self,
        file: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, HostError> {
        let images = self.images.current().map_err(image_failure);
        let record = DiskRecord {
            format: FORMAT,
            images: images.map_err(|failure| failed(failure.message))?,
            made: true,
        };
        let spec = self
            .disk(&record)
            .map_err(|failure| failed(failure.message))?;
        let spec = spec.server.disk;
        let source = Source::open(file).map_err(unusable)?;
        let bytes = source.bytes().map_err(unusable)?;
        let mut stored = || {
            let world = spec.world(Handle::try_current().ok().as_ref())?;
            world.store.probe()?;
            let (Some(below), Some(base)) = (spec.base(&world)?, &spec.base) else {
                return Err(StorageError::Missing("the base image".to_owned()));
            };
            let least = u64::from(below.blocks()) * storage::block::BLOCK as u64;
            if bytes < least {
                let text = format!(
                    "the disk in it has {bytes} bytes, and a workspace's has at least {least}: enlarge it with \
                     qemu-img resize"
                );
                return Err(StorageError::Invalid(text));
            }
            let version = Version {
                tenant: world.keys.tenant().clone(),
                disk: spec.name.clone(),
                number: 1,
            };
            let origin = Origin::new(&world.store, &world.keys, version);
            let over = Some((base.version.clone(), &*below));
            import(&source, &origin, over, &SystemEntropy, THREADS, progress)
        };
        stored().map_err(unusable)?;
        let noted = write_record(self.folder, &record);
        noted.map_err(|error| failed(format!("the import cannot be noted: {error}")))?;
        Ok(bytes)
    }
}

/// Whose fault it is.
fn unusable(error: StorageError) -> HostError {
    match error {
        StorageError::Invalid(message) => HostError::Unusable { message },
        StorageError::Damaged { .. } => HostError::Unusable {
            message: format!("the file is not a whole disk: {}", chain(&error)),
        },
        error => failed(disk_failure(error).message),
    }
}
