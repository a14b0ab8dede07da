//! Compaction of the store: packs that hold little are written again, and an index that does without them.

use std::collections::HashMap;

use super::{Background, Disk, Object};
use crate::block::{BLOCK, BlockNumber};
use crate::error::{Result, StorageError};
use crate::index::{self, Place};
use crate::map::PAGE_WORDS;
use crate::pack::{DISK_FRAME, PACK_BLOCKS, PackContents, PackWriter};

impl Disk {
    /// Rewrites packs of which this disk needs less than half, and writes an index that has no pack that
    /// nobody needs. Says how many blocks moved. The old packs go when no other version refers to them.
    pub fn compact_store(&self) -> Result<usize> {
        self.settle()?;
        let mut background = self.settled()?;
        let started_ms = self.world.clock.now_ms();
        let sparse = self.sparse_packs()?;
        let mut moved = 0;
        let mut packs: Vec<PackContents> = Vec::new();
        for some in sparse.chunks(PACK_BLOCKS) {
            let made = self.move_blocks(some)?;
            moved += some.len();
            packs.push(made);
        }
        if !packs.is_empty() {
            let mut manifest = self.manifest();
            manifest.claim = false;
            manifest.point = None;
            manifest
                .segments
                .extend(packs.iter().map(|pack| pack.pack.id));
            self.prepare(&mut background, manifest, packs, None, started_ms)?;
            self.commit_noted(&mut background)?;
        }
        self.write_index(&mut background)?;
        Ok(moved)
    }

    /// Blocks in packs of which this disk needs less than half, in order: block, pack and slot.
    fn sparse_packs(&self) -> Result<Vec<(BlockNumber, u32, u32)>> {
        let state = self.state();
        let mut used: HashMap<u32, u32> = HashMap::new();
        let mut blocks = Vec::new();
        for (page, words) in state.index.map.used_pages() {
            for (word, at) in words?.iter().zip(0..) {
                if let Place::Stored { pack, slot } = Place::of(*word) {
                    *used.entry(pack).or_default() += 1;
                    blocks.push(((page * PAGE_WORDS) as u32 + at, pack, slot));
                }
            }
        }
        let is_sparse = |number: u32| -> bool {
            let slots = state.index.packs.get(number).map_or(0, |pack| pack.slots);
            used[&number] * 2 < u32::from(slots)
        };
        blocks.retain(|(_, pack, _)| is_sparse(*pack));
        Ok(blocks)
    }

    /// Stores a pack with the content of these blocks.
    fn move_blocks(&self, blocks: &[(BlockNumber, u32, u32)]) -> Result<PackContents> {
        let world = &self.world;
        let id = world.entropy.object_id();
        let mut made = PackWriter::new(id, &world.keys, &self.identities, DISK_FRAME)?;
        let mut frame: Option<(u32, usize, Vec<u8>)> = None;
        for (block, number, slot) in blocks {
            let pack = self.state().index.pack(*number)?.clone();
            let wanted = (*slot / u32::from(pack.frame_blocks)) as usize;
            if frame
                .as_ref()
                .is_none_or(|(of, is, _)| (of, *is) != (number, wanted))
            {
                let raw = world.store.frames(&world.keys, &pack, wanted..wanted + 1)?;
                frame = Some((*number, wanted, raw));
            }
            if let Some((.., raw)) = &frame {
                let at = (*slot % u32::from(pack.frame_blocks)) as usize * BLOCK;
                made.block(*block, &raw[at..at + BLOCK]);
            }
        }
        let made = made.finish();
        let contents = made.contents.clone();
        world.store.put_pack(world.keys.tenant(), made)?;
        Ok(contents)
    }

    /// Writes an index of the newest version without the packs that it no longer needs, and a version that needs no
    /// segments beside it. What only versions without a name needed of those that this process has stored goes at once: a
    /// disk that is written over and over would fill the store long before a collection.
    pub(super) fn write_index(&self, background: &mut Background) -> Result<()> {
        let world = &self.world;
        let started_ms = world.clock.now_ms();
        let id = world.entropy.object_id();
        let snapshot = || self.state().index.map.snapshot();
        let map = match snapshot() {
            Err(StorageError::Damaged { .. }) => {
                self.remake_index(&self.manifest())?;
                snapshot()?
            }
            other => other?,
        };
        let mut packs = self.state().index.packs.clone();
        let unused = packs.forget_unused(&map);
        self.state_mut().index.packs = packs.clone();
        let sealed = index::seal(&map, &packs, id, &world.keys)?;
        world.store.put_index(world.keys.tenant(), &id, sealed)?;
        let mut manifest = self.manifest();
        manifest.claim = false;
        manifest.point = None;
        let before = manifest.index.replace(id);
        manifest.segments.clear();
        self.prepare(background, manifest, Vec::new(), None, started_ms)?;
        self.commit_noted(background)?;
        let young = &mut background.young;
        let gone = unused.into_iter().map(|pack| Object::Pack(pack.id));
        let gone = gone.chain(before.map(Object::Index));
        let gone: Vec<Object> = gone.filter(|object| young.remove(object)).collect();
        background.dead.extend(gone);
        background.young.insert(Object::Index(id));
        self.bury(background);
        Ok(())
    }

    /// Deletes what nobody needs, unless somebody may be making a version of what refers to it.
    fn bury(&self, background: &mut Background) {
        let world = &self.world;
        let tenant = world.keys.tenant();
        let attempt = |dead: &mut Vec<Object>| -> Result<()> {
            // Versions that referred to it are gone: whoever says from now on that he forks one does not find it.
            if !world.store.list_notes(tenant, "intents")?.is_empty() {
                return Ok(());
            }
            while let Some(object) = dead.last() {
                match object {
                    Object::Pack(id) => world.store.delete_pack(tenant, id)?,
                    Object::Index(id) => world.store.delete_index(tenant, id)?,
                }
                dead.pop();
            }
            Ok(())
        };
        // Who finds a version that was replaced takes it for one that can be forked.
        if !self.delete_replaced(background) {
            return;
        }
        if let Err(error) = attempt(&mut background.dead) {
            tracing::warn!(%error, "what nobody needs is not deleted yet");
        }
    }
}
