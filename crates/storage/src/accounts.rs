//! Who takes how much of a store: every byte once, whoever shares it.
//!
//! What several disks refer to is told as theirs together, so that the bytes of any group of disks can be added up
//! without looking again: those of all shares that one of the group has a part in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::error::{Result, StorageError};
use crate::keys::{ObjectId, TenantKeys};
use crate::manifest::{DiskName, Version};
use crate::store::Store;

/// Bytes that exactly these disks refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub disks: BTreeSet<DiskName>,
    pub bytes: u64,
}

/// What a tenant has in a store. Bytes are as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    pub shares: Vec<Share>,
    /// Versions of each disk that are kept under a name.
    pub points: BTreeMap<DiskName, u64>,
    /// No version refers to it: somebody writes it just now, or it goes with the collections.
    pub unneeded: u64,
}

impl Shares {
    /// Bytes of these disks together, each once.
    pub fn of(&self, is_one: impl Fn(&DiskName) -> bool) -> u64 {
        let shares = self.shares.iter();
        let theirs = shares.filter(|share| share.disks.iter().any(&is_one));
        theirs.map(|share| share.bytes).sum()
    }

    /// Bytes that only this disk refers to.
    pub fn alone(&self, disk: &DiskName) -> u64 {
        let shares = self.shares.iter();
        let its = shares.filter(|share| share.disks.len() == 1 && share.disks.contains(disk));
        its.map(|share| share.bytes).sum()
    }
}

/// Remembers what versions refer to, which never changes: another look reads only what is new.
#[derive(Debug, Default)]
pub struct Accounts {
    known: HashMap<Version, Known>,
    indexes: HashMap<ObjectId, Arc<[ObjectId]>>,
}

#[derive(Clone, Debug)]
struct Known {
    is_point: bool,
    segments: Vec<ObjectId>,
    index: Option<ObjectId>,
}

impl Accounts {
    /// Looks at all disks of a tenant. What is damaged is left out: to find that is for those who verify.
    pub fn look(&mut self, store: &Store, keys: &TenantKeys) -> Result<Shares> {
        let tenant = keys.tenant();
        let mut users: HashMap<ObjectId, BTreeSet<DiskName>> = HashMap::new();
        let mut points: BTreeMap<DiskName, u64> = BTreeMap::new();
        let mut known = HashMap::new();
        for (disk, numbers) in store.list_versions(tenant)? {
            let newest = numbers.last().copied();
            for number in numbers {
                let version = Version {
                    tenant: tenant.clone(),
                    disk: disk.clone(),
                    number,
                };
                let Some(found) = self.version(store, keys, &version)? else {
                    continue;
                };
                if found.is_point {
                    *points.entry(disk.clone()).or_default() += 1;
                }
                if found.is_point || Some(number) == newest {
                    for object in self.needs(store, keys, &found)? {
                        users.entry(object).or_default().insert(disk.clone());
                    }
                }
                known.insert(version, found);
            }
        }
        let named: BTreeSet<ObjectId> = known.values().filter_map(|known| known.index).collect();
        self.indexes.retain(|id, _| named.contains(id));
        self.known = known;
        let mut shares: BTreeMap<BTreeSet<DiskName>, u64> = BTreeMap::new();
        let mut unneeded = 0;
        let indexes = store.list_indexes(tenant)?;
        for stored in store.list_packs(tenant)?.into_iter().chain(indexes) {
            match users.get(&stored.id) {
                Some(disks) => *shares.entry(disks.clone()).or_default() += stored.bytes,
                None => unneeded += stored.bytes,
            }
        }
        for (disk, bytes) in store.attached(tenant)? {
            *shares.entry(BTreeSet::from([disk])).or_default() += bytes;
        }
        let shares = shares.into_iter();
        Ok(Shares {
            shares: shares
                .map(|(disks, bytes)| Share { disks, bytes })
                .collect(),
            points,
            unneeded,
        })
    }

    fn version(
        &self,
        store: &Store,
        keys: &TenantKeys,
        version: &Version,
    ) -> Result<Option<Known>> {
        if let Some(known) = self.known.get(version) {
            return Ok(Some(known.clone()));
        }
        let (_, manifest) = match store.manifest(keys, version) {
            Err(StorageError::Missing(_)) => return Ok(None),
            Err(error) if error.is_damage() => {
                tracing::warn!(%version, %error, "not counted");
                return Ok(None);
            }
            other => other?,
        };
        Ok(Some(Known {
            is_point: manifest.point.is_some(),
            segments: manifest.segments,
            index: manifest.index,
        }))
    }

    fn needs(&mut self, store: &Store, keys: &TenantKeys, of: &Known) -> Result<Vec<ObjectId>> {
        let mut needs = of.segments.clone();
        let Some(id) = of.index else {
            return Ok(needs);
        };
        needs.push(id);
        let packs = match self.indexes.get(&id) {
            Some(packs) => packs.clone(),
            None => {
                let packs: Arc<[ObjectId]> = match store.packs_of_index(keys, &id) {
                    // The version may have been replaced since it was listed.
                    Err(StorageError::Missing(_)) => return Ok(needs),
                    Err(error) if error.is_damage() => {
                        tracing::warn!(%id, %error, "what an index refers to is not counted");
                        return Ok(needs);
                    }
                    other => other?.into(),
                };
                self.indexes.insert(id, packs.clone());
                packs
            }
        };
        needs.extend(packs.iter());
        Ok(needs)
    }
}
