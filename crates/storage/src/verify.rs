//! Verifying: everything that versions refer to is read, opened and compared with what the index says of it.
//! What is damaged or missing is named, with the blocks that it costs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::block::{BLOCK, BlockNumber, MAX_BLOCKS};
use crate::error::{Result, StorageError};
use crate::index::Place;
use crate::keys::{ObjectId, TenantKeys};
use crate::manifest::{DiskName, Manifest, Version};
use crate::map::PAGE_WORDS;
use crate::object::{Kind, Opener};
use crate::pack::{PackContents, PackRef};
use crate::ranges::BlockRanges;
use crate::snapshot::salvage_index;
use crate::store::Store;

/// What is read may be wrong once, on its way.
const TIMES: usize = 4;

/// Something that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Whom it hits; an object that several versions share is told for each of them.
    pub version: Version,
    /// Its path in the store.
    pub object: String,
    pub detail: String,
    /// Blocks of the version that cannot be read, or may be older than they should, because of it. None: what
    /// is damaged is not needed for reading. All that there can be, if not even the size is known.
    pub blocks: BlockRanges,
}

/// A version that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    pub version: Version,
    /// The name that it has, if it has one and can be read.
    pub point: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// That were looked at.
    pub versions: Vec<Looked>,
    /// Objects that were read, each once.
    pub objects: u64,
    /// Bytes of packs among them, as stored.
    pub bytes: u64,
    pub damage: Vec<Damage>,
    /// Images that the versions lie over: to be verified where they are.
    pub bases: BTreeSet<Version>,
}

/// Verifies one version. `progress` is told how many bytes of how many are done.
pub fn version(
    store: &Store,
    keys: &TenantKeys,
    version: &Version,
    progress: impl FnMut(u64, u64),
) -> Result<Report> {
    let mut run = Run::new(store, keys);
    if !run.look_at(version)? {
        return Err(StorageError::Missing(version.to_string()));
    }
    run.finish(progress)
}

/// Verifies what a disk is now, and every version of it that has a name; what they share is read once.
pub fn disk(
    store: &Store,
    keys: &TenantKeys,
    disk: &DiskName,
    progress: impl FnMut(u64, u64),
) -> Result<Report> {
    let mut run = Run::new(store, keys);
    run.look_at_disk(disk)?;
    run.finish(progress)
}

/// Verifies what a tenant's disks are now, and every version that has a name.
pub fn tenant(store: &Store, keys: &TenantKeys, progress: impl FnMut(u64, u64)) -> Result<Report> {
    let mut run = Run::new(store, keys);
    for disk in store.list_disks(keys.tenant())? {
        run.look_at_disk(&disk)?;
    }
    run.finish(progress)
}

struct Run<'a> {
    store: &'a Store,
    keys: &'a TenantKeys,
    report: Report,
    manifests: Vec<Manifest>,
    packs: BTreeMap<ObjectId, PackRef>,
    indexes: BTreeSet<ObjectId>,
}

/// A pack that is not what was written.
struct Bad {
    detail: String,
    /// For each frame: it cannot be read.
    frames: Vec<bool>,
}

impl<'a> Run<'a> {
    fn new(store: &'a Store, keys: &'a TenantKeys) -> Self {
        Self {
            store,
            keys,
            report: Report::default(),
            manifests: Vec::new(),
            packs: BTreeMap::new(),
            indexes: BTreeSet::new(),
        }
    }

    fn look_at_disk(&mut self, disk: &DiskName) -> Result<()> {
        let (store, keys) = (self.store, self.keys);
        let numbers = store.versions(keys.tenant(), disk, 0)?;
        let newest = numbers.last().copied();
        for number in numbers {
            let version = Version {
                tenant: keys.tenant().clone(),
                disk: disk.clone(),
                number,
            };
            let is_kept = match store.manifest(keys, &version) {
                Ok((_, manifest)) => Some(number) == newest || manifest.point.is_some(),
                // It was replaced since.
                Err(StorageError::Missing(_)) => false,
                // What it was can only be told from itself.
                Err(error) if error.is_damage() => true,
                Err(error) => return Err(error),
            };
            if is_kept {
                self.look_at(&version)?;
            }
        }
        Ok(())
    }

    /// Takes a version in: false if it is not there.
    fn look_at(&mut self, version: &Version) -> Result<bool> {
        let manifest = match self.store.manifest(self.keys, version) {
            Ok((_, manifest)) => manifest,
            Err(StorageError::Missing(_)) => return Ok(false),
            Err(error) if error.is_damage() => {
                let mut blocks = BlockRanges::default();
                blocks.insert(0..MAX_BLOCKS);
                self.report.versions.push(Looked {
                    version: version.clone(),
                    point: None,
                });
                self.report.objects += 1;
                self.report.damage.push(Damage {
                    version: version.clone(),
                    object: Store::manifest_name(version),
                    detail: error.to_string(),
                    blocks,
                });
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let (index, unreadable) = salvage_index(self.store, self.keys, &manifest)?;
        self.report.versions.push(Looked {
            version: version.clone(),
            point: manifest.point.as_ref().map(|point| point.name.clone()),
        });
        self.report.objects += 1;
        self.report.bases.extend(manifest.base.clone());
        self.indexes.extend(manifest.index);
        for pack in index.packs.all() {
            self.packs
                .entry(pack.id)
                .or_insert_with(|| PackRef::clone(pack));
        }
        let damage = unreadable.into_iter().map(|found| Damage {
            version: version.clone(),
            object: found.object,
            detail: found.error.to_string(),
            blocks: found.blocks,
        });
        self.report.damage.extend(damage);
        if !manifest.lost.is_empty() {
            let mut blocks = BlockRanges::default();
            blocks.extend(manifest.lost.iter().copied());
            self.report.damage.push(Damage {
                version: version.clone(),
                object: Store::manifest_name(version),
                detail: "the blocks were damaged on their host before they could be stored"
                    .to_owned(),
                blocks,
            });
        }
        self.manifests.push(manifest);
        Ok(true)
    }

    fn finish(mut self, mut progress: impl FnMut(u64, u64)) -> Result<Report> {
        let total = self.packs.values().map(PackRef::stored).sum();
        let mut bad = HashMap::new();
        progress(0, total);
        for pack in self.packs.values() {
            if let Some(found) = self.pack(pack)? {
                bad.insert(pack.id, found);
            }
            self.report.bytes += pack.stored();
            progress(self.report.bytes, total);
        }
        self.report.objects += (self.packs.len() + self.indexes.len()) as u64;
        if !bad.is_empty() {
            for manifest in &self.manifests {
                let found = self.hits(manifest, &bad)?;
                self.report.damage.extend(found);
            }
        }
        // What a version refers to may go when the version has gone.
        let damaged: BTreeSet<Version> = self
            .report
            .damage
            .iter()
            .map(|damage| damage.version.clone())
            .collect();
        for version in damaged {
            if let Err(StorageError::Missing(_)) = self.store.manifest(self.keys, &version) {
                self.report
                    .damage
                    .retain(|damage| damage.version != version);
            }
        }
        Ok(self.report)
    }

    fn pack(&self, pack: &PackRef) -> Result<Option<Bad>> {
        let mut found = None;
        for _ in 0..TIMES {
            found = match self.store.pack(self.keys.tenant(), &pack.id) {
                Ok(bytes) => self.bad(pack, bytes),
                Err(error) if error.is_damage() => Some(Bad {
                    detail: error.to_string(),
                    frames: vec![true; pack.frames.len()],
                }),
                Err(error) => return Err(error),
            };
            if found.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// What is wrong with a pack: first with what it says of itself, then with each frame.
    fn bad(&self, pack: &PackRef, mut bytes: Vec<u8>) -> Option<Bad> {
        let mut frames = vec![false; pack.frames.len()];
        let itself = self.contents(pack, &bytes).err();
        let opener = match Opener::new(Kind::Pack, &pack.id, pack.key, self.keys) {
            Ok(opener) => opener,
            Err(error) => {
                frames.fill(true);
                let detail = error.to_string();
                return Some(Bad { detail, frames });
            }
        };
        let mut raw = vec![0; usize::from(pack.frame_blocks) * BLOCK];
        let mut first = None;
        for (number, is_bad) in frames.iter_mut().enumerate() {
            let range = pack.frame_range(number);
            let raw = &mut raw[..pack.frame_slots(number).len() * BLOCK];
            let opened = match bytes.get_mut(range.start as usize..range.end as usize) {
                Some(stored) => {
                    opener.frame(number as u32, pack.frames[number].compressed, stored, raw)
                }
                None => Err(StorageError::damaged(
                    format!("the object {}", pack.id),
                    "it is too short",
                )),
            };
            if let Err(error) = opened {
                *is_bad = true;
                first.get_or_insert(error);
            }
        }
        first.or(itself).map(|error| Bad {
            detail: error.to_string(),
            frames,
        })
    }

    /// Whether a pack says of itself what the index says of it.
    fn contents(&self, pack: &PackRef, bytes: &[u8]) -> Result<()> {
        let opener = Opener::from_start(Kind::Pack, &pack.id, bytes, self.keys)?;
        let directory = opener
            .directory(bytes.len() as u64, &mut bytes.to_vec())?
            .map_err(|_| opener.damaged("it is too short"))?;
        match PackContents::parse(pack.id, pack.key, &directory) {
            Some(contents) if contents.pack == *pack => Ok(()),
            _ => Err(opener.damaged("it is not the one that the index describes")),
        }
    }

    fn hits(&self, manifest: &Manifest, bad: &HashMap<ObjectId, Bad>) -> Result<Vec<Damage>> {
        let (index, _) = salvage_index(self.store, self.keys, manifest)?;
        let mut hits: BTreeMap<ObjectId, BlockRanges> = BTreeMap::new();
        let named = index.packs.all().map(|pack| pack.id);
        hits.extend(
            named
                .filter(|id| bad.contains_key(id))
                .map(|id| (id, BlockRanges::default())),
        );
        for (page, words) in index.map.used_pages() {
            for (block, word) in ((page * PAGE_WORDS) as BlockNumber..).zip(words?) {
                if let Place::Stored { pack, slot } = Place::of(*word)
                    && let pack = index.pack(pack)?
                    && let Some(Bad { frames, .. }) = bad.get(&pack.id)
                    && frames[(slot / u32::from(pack.frame_blocks)) as usize]
                {
                    hits.entry(pack.id).or_default().insert(block..block + 1);
                }
            }
        }
        let damage = hits.into_iter().map(|(id, blocks)| Damage {
            version: manifest.version.clone(),
            object: Store::pack_name(self.keys.tenant(), &id),
            detail: bad[&id].detail.clone(),
            blocks,
        });
        Ok(damage.collect())
    }
}
