//! The memory of machines: images whose first blocks are pages and whose last hold the state of the devices. Each
//! version is made from the one that the machine went on from and what has changed since, and has one flat index,
//! whatever its history.
//!
//! It goes with one version of the machine's disk, which has to be in the store before it: a memory without its
//! disk is of no use to anybody.

use std::io;

use crate::block::{BLOCK, BlockNumber, blocks_of, is_zero};
use crate::collect;
use crate::disk::{Below, World};
use crate::error::{During, Result, StorageError};
use crate::index::{Index, Place};
use crate::keys::{Identities, ObjectId};
use crate::manifest::{DiskName, Manifest, Memory, Point, Version};
use crate::pack::{PACK_BLOCKS, PackContents, PackWriter};
use crate::parallel;

/// Blocks of a frame: what a machine that wakes waits for when it touches a page.
const FRAME: u8 = 8;
/// Pages that are read at once.
const READ: usize = 64;

/// Where pages are read from while they do not change.
pub trait Pages: Sync {
    fn read(&self, first: BlockNumber, buffer: &mut [u8]) -> io::Result<()>;
}

/// Pages in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    pub first: BlockNumber,
    pub count: u32,
    /// They are zero, and are not read.
    pub zero: bool,
}

/// A version that is being made.
pub struct MemoryWriter<'a> {
    world: &'a World,
    identities: Identities,
    manifest: Manifest,
    index: Index,
    /// Keeps what the version before refers to for as long as this takes.
    intent: Option<ObjectId>,
    sealed: Option<(ObjectId, Vec<u8>)>,
}

/// What comes of some pages.
struct Made {
    contents: Option<PackContents>,
    zeros: Vec<BlockNumber>,
}

impl<'a> MemoryWriter<'a> {
    /// Begins the next version of the image `name`, over `parent`, which may be of another image, or over zeros. It has
    /// `pages` of memory.
    pub fn begin(
        world: &'a World,
        name: &DiskName,
        parent: Option<&Version>,
        pages: u32,
    ) -> Result<Self> {
        let keys = &world.keys;
        let mut intent = None;
        let mut index = Index::empty(pages);
        if let Some(parent) = parent {
            let now = world.clock.now_ms();
            intent = Some(collect::announce(
                &world.store,
                keys,
                &*world.entropy,
                parent,
                now,
            )?);
            let (_, manifest) = world.store.manifest(keys, parent)?;
            let of_as_much = manifest.memory.as_ref().map(|memory| memory.blocks);
            if of_as_much != Some(pages) {
                return Err(StorageError::Invalid(format!(
                    "{parent} is no memory of {pages} pages"
                )));
            }
            index = world.store.whole_index(keys, &manifest)?;
            // The state of the devices is another one.
            let blocks = index.map.blocks();
            index.map.set_each(pages..blocks, |_| 0)?;
        }
        let newest = world.store.versions(keys.tenant(), name, 0)?;
        let mut manifest = Manifest::unborn(keys.tenant().clone(), name.clone(), pages, None);
        manifest.version.number = newest.last().copied().unwrap_or(0) + 1;
        manifest.parent = parent.cloned();
        Ok(Self {
            world,
            identities: keys.identities(),
            manifest,
            index,
            intent,
            sealed: None,
        })
    }

    /// Stores pages as they are now, durably; `stored` is told how many are done, from any thread.
    pub fn store(
        &mut self,
        pages: &dyn Pages,
        changed: &[Changed],
        stored: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        for zero in changed.iter().filter(|run| run.zero) {
            for page in zero.first..zero.first + zero.count {
                self.set_zero(page)?;
            }
            stored(u64::from(zero.count));
        }
        let parts = parts(changed);
        let made = parallel::each(
            self.world.threads,
            &parts,
            || {},
            |part| {
                let made = self.store_pack(pages, part)?;
                stored(part.iter().map(|run| u64::from(run.count)).sum());
                Ok(made)
            },
        )?;
        for made in made {
            if let Some(contents) = &made.contents {
                self.index.apply(contents)?;
            }
            for page in made.zeros {
                self.set_zero(page)?;
            }
        }
        Ok(())
    }

    fn set_zero(&mut self, page: BlockNumber) -> Result<()> {
        match self.index.place(page)? {
            // Nothing lies below it.
            Place::Below | Place::Zero => Ok(()),
            Place::Stored { .. } => self.index.map.set(page, crate::index::ZERO),
        }
    }

    fn store_pack(&self, pages: &dyn Pages, part: &[Changed]) -> Result<Made> {
        let world = self.world;
        let id = world.entropy.object_id();
        let mut pack = PackWriter::new(id, &world.keys, &self.identities, FRAME)?;
        let mut zeros = Vec::new();
        let mut buffer = vec![0; READ * BLOCK];
        for run in part {
            let end = run.first + run.count;
            let mut first = run.first;
            while first < end {
                let count = (end - first).min(READ as u32);
                let content = &mut buffer[..count as usize * BLOCK];
                pages
                    .read(first, content)
                    .during(|| "the machine's memory".to_owned())?;
                for (page, content) in (first..).zip(content.chunks(BLOCK)) {
                    if is_zero(content) {
                        zeros.push(page);
                    } else {
                        pack.block(page, content);
                    }
                }
                first += count;
            }
        }
        let mut contents = None;
        if !pack.is_empty() {
            let pack = pack.finish();
            contents = Some(pack.contents.clone());
            world.store.put_pack(world.keys.tenant(), pack)?;
        }
        Ok(Made { contents, zeros })
    }

    /// Makes it the newest version, with the state of the devices behind the pages. In the store, durably, when it
    /// returns. After an error that is transient it can be called again.
    pub fn commit(
        &mut self,
        epoch: u64,
        point: &Point,
        disk: &Version,
        machine: &serde_json::Value,
        state: &[u8],
    ) -> Result<Manifest> {
        let world = self.world;
        let keys = &world.keys;
        if self.sealed.is_none() {
            let pages = self.manifest.blocks;
            let blocks = blocks_of(state.len() as u64);
            self.index.map.grow(pages + blocks);
            let part = Changed {
                first: pages,
                count: blocks,
                zero: false,
            };
            self.store(
                &State {
                    first: pages,
                    state,
                },
                &[part],
                &|_| {},
            )?;
            let map = self.index.map.snapshot()?;
            self.index.packs.forget_unused(&map);
            let id = world.entropy.object_id();
            let sealed = crate::index::seal(&map, &self.index.packs, id, keys)?;
            world.store.put_index(keys.tenant(), &id, sealed)?;
            let manifest = &mut self.manifest;
            manifest.blocks = pages + blocks;
            manifest.index = Some(id);
            manifest.epoch = epoch;
            manifest.written_ms = world.clock.now_ms();
            manifest.point = Some(point.clone());
            manifest.memory = Some(Memory {
                blocks: pages,
                state_bytes: state.len() as u32,
                disk: disk.clone(),
                machine: machine.clone(),
            });
            self.sealed = Some(self.manifest.seal(keys, &*world.entropy)?);
        }
        if let Some(sealed) = &self.sealed {
            world.store.commit(keys, &self.manifest, sealed)?;
        }
        if let Some(intent) = self.intent.take()
            && let Err(error) = collect::withdraw(&world.store, keys.tenant(), &intent)
        {
            // It goes by itself when its time has come.
            tracing::warn!(%error, "an intent is not withdrawn");
        }
        Ok(self.manifest.clone())
    }
}

/// As many pages to each part as a pack takes.
fn parts(changed: &[Changed]) -> Vec<Vec<Changed>> {
    let mut parts: Vec<Vec<Changed>> = Vec::new();
    let mut room = 0;
    for run in changed.iter().filter(|run| !run.zero) {
        let mut rest = *run;
        while rest.count > 0 {
            if room == 0 {
                parts.push(Vec::new());
                room = PACK_BLOCKS as u32;
            }
            let count = rest.count.min(room);
            if let Some(part) = parts.last_mut() {
                part.push(Changed { count, ..rest });
            }
            rest.first += count;
            rest.count -= count;
            room -= count;
        }
    }
    parts
}

/// The state of devices as blocks from `first` on.
struct State<'a> {
    first: BlockNumber,
    state: &'a [u8],
}

impl Pages for State<'_> {
    fn read(&self, first: BlockNumber, buffer: &mut [u8]) -> io::Result<()> {
        let at = (first - self.first) as usize * BLOCK;
        let here = &self.state[at..self.state.len().min(at + buffer.len())];
        buffer[..here.len()].copy_from_slice(here);
        buffer[here.len()..].fill(0);
        Ok(())
    }
}

/// The state of the devices that a memory has behind its pages.
pub fn device_state(image: &dyn Below, memory: &Memory) -> Result<Vec<u8>> {
    let bytes = memory.state_bytes as usize;
    let mut state = vec![0; bytes.next_multiple_of(BLOCK)];
    image.read(memory.blocks, &mut state)?;
    state.truncate(bytes);
    Ok(state)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::keys::{KeyRing, SystemEntropy, Tenant};
    use crate::manifest::PointKind;
    use crate::snapshot::Snapshot;
    use crate::store::Store;

    const PAGES: u32 = 5000;

    /// Memory of which every page has its own content, zero where there is none.
    #[derive(Default)]
    struct Ram(BTreeMap<u32, u8>);

    impl Pages for Ram {
        fn read(&self, first: u32, buffer: &mut [u8]) -> io::Result<()> {
            for (page, content) in (first..).zip(buffer.chunks_mut(BLOCK)) {
                content.fill(self.0.get(&page).copied().unwrap_or(0));
            }
            Ok(())
        }
    }

    fn run(first: u32, count: u32) -> Changed {
        Changed {
            first,
            count,
            zero: false,
        }
    }

    struct Place {
        _folder: tempfile::TempDir,
        world: World,
        name: DiskName,
        disk: Version,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let tenant = Tenant::new("t").unwrap();
        let keys = KeyRing::generate(&SystemEntropy).tenant(&tenant).unwrap();
        Place {
            world: World::new(Store::folder(folder.path()).unwrap(), keys),
            _folder: folder,
            name: DiskName::new("memory").unwrap(),
            disk: Version {
                tenant,
                disk: DiskName::new("disk").unwrap(),
                number: 7,
            },
        }
    }

    fn save(place: &Place, ram: &Ram, parent: Option<&Version>, changed: &[Changed]) -> Manifest {
        let mut writer = MemoryWriter::begin(&place.world, &place.name, parent, PAGES).unwrap();
        writer.store(ram, changed, &|_| {}).unwrap();
        let point = Point::new(&SystemEntropy, "asleep", PointKind::Manual, 0);
        let machine = serde_json::json!({ "vmm": "some" });
        let state = [b's'; 9000];
        writer
            .commit(3, &point, &place.disk, &machine, &state)
            .unwrap()
    }

    fn check(place: &Place, manifest: &Manifest, ram: &Ram) {
        let world = &place.world;
        let image = Snapshot::open(&world.store, &world.keys, &manifest.version, None).unwrap();
        let (mut found, mut expected) = (vec![0; BLOCK], vec![0; BLOCK]);
        for page in 0..PAGES {
            image.read(page, &mut found).unwrap();
            ram.read(page, &mut expected).unwrap();
            assert!(found == expected, "page {page}");
        }
        let memory = manifest.memory.as_ref().unwrap();
        assert_eq!(memory.disk, place.disk);
        assert_eq!(device_state(&image, memory).unwrap(), [b's'; 9000]);
    }

    #[test]
    fn each_version_is_the_one_before_and_what_changed() {
        let place = place();
        let mut ram = Ram((100..3000).map(|page| (page, page as u8)).collect());
        let first = save(&place, &ram, None, &[run(50, 4000)]);
        check(&place, &first, &ram);

        ram.0.extend((2000..2010).map(|page| (page, 7)));
        ram.0.remove(&150);
        ram.0.remove(&200);
        let zero = Changed {
            zero: true,
            ..run(200, 1)
        };
        let changed = [run(150, 1), zero, run(2000, 10)];
        let second = save(&place, &ram, Some(&first.version), &changed);
        assert_eq!(second.version.number, 2);
        check(&place, &second, &ram);

        // Nothing of the first is needed that the second has not.
        place.world.store.delete_version(&first.version).unwrap();
        check(&place, &second, &ram);
        let intents = place.world.store.list_notes(&place.disk.tenant, "intents");
        assert!(intents.unwrap().is_empty());
    }

    #[test]
    fn a_memory_of_another_size_is_no_parent() {
        let place = place();
        let first = save(&place, &Ram::default(), None, &[]);
        let refused =
            MemoryWriter::begin(&place.world, &place.name, Some(&first.version), PAGES + 1);
        assert!(matches!(refused.err(), Some(StorageError::Invalid(_))));
    }
}
