//! Going on from a version that was: a disk from one of its own, or a new one from another's.

use super::{Disk, World};
use crate::collect::{announce, withdraw};
use crate::error::{Result, StorageError};
use crate::manifest::{DiskName, Manifest, Point, Version};

impl Disk {
    /// Makes the content of the disk's version `to` the newest again. What the disk has now is sent first and kept
    /// as `branch`. The local part is of the past afterwards: it has to be removed before the disk is opened.
    ///
    /// After an error the disk is as it was, but may have the branch already.
    pub fn go_back(self, to: u64, branch: &Point) -> Result<Manifest> {
        let left = self.upload(self.cut()?, Some(branch))?.version;
        let from = Version {
            number: to,
            ..left.clone()
        };
        go_on(&self.world, &from, left.disk, left.number + 1, self.epoch)
    }
}

/// Makes a disk whose first version is the content of `from`, of the same tenant. The same again changes nothing.
pub fn fork(world: &World, from: &Version, name: &DiskName, epoch: u64) -> Result<Manifest> {
    match world.store.newest(&world.keys, name, 0)? {
        None => go_on(world, from, name.clone(), 1, epoch),
        Some(there) if there.version.number == 1 && there.parent.as_ref() == Some(from) => {
            Ok(there)
        }
        Some(_) => Err(StorageError::Invalid(format!(
            "there is a disk {name} already"
        ))),
    }
}

fn go_on(
    world: &World,
    from: &Version,
    disk: DiskName,
    number: u64,
    epoch: u64,
) -> Result<Manifest> {
    let (store, keys, entropy) = (&world.store, &world.keys, &*world.entropy);
    let now_ms = world.clock.now_ms();
    let intent = announce(store, keys, entropy, from, now_ms)?;
    let made = || {
        let (_, parent) = store.manifest(keys, from)?;
        let manifest = Manifest {
            version: Version {
                tenant: keys.tenant().clone(),
                disk,
                number,
            },
            epoch,
            written_ms: now_ms,
            parent: Some(from.clone()),
            line: number,
            // Of no host's log.
            log: None,
            claim: false,
            point: None,
            ..parent
        };
        let sealed = manifest.seal(keys, entropy)?;
        store.commit(keys, &manifest, &sealed)?;
        Ok(manifest)
    };
    let made = made();
    withdraw(store, keys.tenant(), &intent)?;
    made
}
