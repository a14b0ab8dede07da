//! An image, a disk over it, a point in time, and the same disk on another host.
use std::sync::Arc;

use storage::base::{BaseCache, Origin};
use storage::disk::Below;
use storage::keys::{KeyRing, SystemEntropy, Tenant};
use storage::manifest::{DiskName, Manifest, Point, PointKind, Version};
use storage::{OpenDisk, World, import::publish, store::Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = std::env::temp_dir().join(format!("layers-{}", std::process::id()));
    for folder in ["store", "here", "there"] {
        std::fs::create_dir_all(place.join(folder))?;
    }
    let (tenant, name) = (Tenant::new("example")?, DiskName::new("disk")?);
    let keys = KeyRing::generate(&SystemEntropy).tenant(&tenant)?;
    let store = Store::folder(&place.join("store"))?;
    let world = World::new(store.clone(), keys.clone());
    // An image goes into the store; a cache of it fills as it is read.
    std::fs::write(place.join("image"), vec![b'i'; 1 << 20])?;
    let version = Version {
        tenant: tenant.clone(),
        disk: DiskName::new("image")?,
        number: 1,
    };
    let origin = Origin::new(&store, &keys, version.clone());
    let image = publish(&place.join("image"), &origin, &SystemEntropy, 2)?;
    BaseCache::create(&place.join("cache"), image.blocks)?;
    let base: Arc<dyn Below> = Arc::new(BaseCache::open(&place.join("cache"), Some(origin))?);
    let at = |folder: &str, epoch| OpenDisk {
        world: world.clone(),
        name: name.clone(),
        folder: place.join(folder),
        epoch,
        base: Some(base.clone()),
    };
    // A disk lies over it: it is written, flushed, and kept in the store as a point.
    let disk = at("here", 1).create(Manifest::unborn(tenant, name.clone(), 1024, Some(version)))?;
    disk.write(4096, b"hello")?;
    let point = Point::new(&SystemEntropy, "first", PointKind::Manual, 0);
    disk.upload(disk.cut()?, Some(&point))?;
    // Another host goes on from there, and keeps this one out.
    let newest = store.newest(&keys, &name, 0)?.ok_or("it was just stored")?;
    let moved = at("there", 2).create(newest)?;
    moved.claim()?;
    let mut found = [0; 6];
    moved.read(4096, &mut found)?;
    assert_eq!(&found, b"helloi");
    assert!(disk.upload(disk.cut()?, None).is_err());
    std::fs::remove_dir_all(place)?;
    Ok(())
}
