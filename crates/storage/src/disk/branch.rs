//! Going on from a version that was: a disk from one of its own, or a new one from another's.

use super::{Disk, World};
use crate::collect::{announce, withdraw};
use crate::error::{During, Result, StorageError};
use crate::manifest::{DiskName, Manifest, Point, Version};
use crate::planted::{self, Bug};

impl Disk {
    /// Makes the content of the disk's version `to`, which has a name, the newest again. What the disk has now is sent
    /// first and kept as `branch`. This host's part of it is of the past afterwards, and removed: the disk is opened
    /// from the store.
    ///
    /// After an error, or an end at any step, it is not known whether it went back: opening it tells, from what is
    /// here or else from the store, as always. It may have the branch although it did not.
    pub fn go_back(self, to: u64, branch: &Point) -> Result<Manifest> {
        let (world, disk) = (&self.world, self.name());
        let from = Version {
            tenant: world.keys.tenant().clone(),
            disk: disk.clone(),
            number: to,
        };
        world.store.manifest(&world.keys, &from)?;
        while let Err(error) = self.upload(self.cut()?, Some(branch)) {
            if !matches!(error, StorageError::CutAgain) {
                return Err(error);
            }
        }
        // It may be a later one than the one that has the name.
        let left = self.manifest().version.number;
        // Before the step that counts: whoever opens the disk after it must not find what was left. All of that is in
        // the store by now.
        if !planted::is(Bug::KeepLeft) {
            let files = &world.files;
            let map = self.folder.join("map");
            let removed = files
                .remove(&map)
                .and_then(|()| files.sync_folder(&self.folder));
            removed.during(|| map.display().to_string())?;
        }
        go_on(world, &from, disk, left + 1, self.epoch)
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
    // It ends by itself, a while later.
    if let Err(error) = withdraw(store, keys.tenant(), &intent) {
        tracing::warn!(%error, "what was announced is not withdrawn");
    }
    made
}
