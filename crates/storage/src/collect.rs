//! Collecting what nobody needs: packs and indexes that no version refers to.
//!
//! Somebody may be making a version that refers to old packs at this very moment: a fork of a version that
//! is being deleted. So nothing is deleted at once. A run condemns what it finds unneeded; a later run, at
//! least [`Rules::reprieve_ms`] after it, deletes what was condemned and is still unneeded. Whoever refers
//! to old packs says so first, with an [`Intent`], then looks whether the version is still there, and makes
//! his own within the reprieve: the later run finds either his version or his intent. What is younger than
//! [`Rules::grace_ms`] is never looked at, as its version may be on its way.
//!
//! Needed is what the newest version of a disk refers to, every version that has a name, and every intent.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::error::{Result, StorageError};
use crate::keys::{Entropy, ObjectId, Tenant, TenantKeys};
use crate::manifest::{DiskName, Manifest, Version};
use crate::store::{Store, Stored};

const HOUR_MS: u64 = 3_600_000;

/// When something may go. Milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub grace_ms: u64,
    pub reprieve_ms: u64,
    /// So long a claim keeps out a placement that it has replaced.
    pub claim_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            grace_ms: 24 * HOUR_MS,
            reprieve_ms: HOUR_MS,
            claim_ms: 30 * 24 * HOUR_MS,
        }
    }
}

/// Somebody is about to make a version that refers to what this one refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub version: Version,
    /// Milliseconds since 1970.
    pub since_ms: u64,
}

/// What a run condemned.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Condemned {
    /// Milliseconds since 1970.
    at_ms: u64,
    packs: BTreeSet<ObjectId>,
    indexes: BTreeSet<ObjectId>,
}

/// What one version keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    pub version: Version,
    pub point: Option<String>,
    /// Stored bytes of the packs that it refers to.
    pub bytes: u64,
    /// Of them, those that no other version refers to.
    pub alone: u64,
}

/// What a run found and did. Bytes are as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub keepers: Vec<Keeper>,
    /// Everything that the tenant has.
    pub total: u64,
    /// Too young to be looked at.
    pub young: u64,
    /// Needed by nobody; goes with a later run.
    pub condemned: u64,
    pub deleted: u64,
}

/// Says that a version is about to be forked, for as long as the answer is kept. The version has to be read
/// after this, and found.
pub fn announce(
    store: &Store,
    keys: &TenantKeys,
    entropy: &dyn Entropy,
    version: &Version,
    now_ms: u64,
) -> Result<ObjectId> {
    let intent = Intent {
        version: version.clone(),
        since_ms: now_ms,
    };
    let id = entropy.object_id();
    let body = serde_json::to_vec(&intent).expect("it has no keys but texts");
    store.put_note(keys, entropy, &format!("intents/{id}"), &body)?;
    Ok(id)
}

/// The fork is made, or given up.
pub fn withdraw(store: &Store, tenant: &Tenant, id: &ObjectId) -> Result<()> {
    store.delete_note(tenant, &format!("intents/{id}"))
}

/// Everything that one version refers to.
#[derive(Clone, Default)]
struct Needs {
    packs: BTreeSet<ObjectId>,
    index: Option<ObjectId>,
}

struct Marker<'a> {
    store: &'a Store,
    keys: &'a TenantKeys,
    /// Packs of an index: many versions share one.
    indexes: HashMap<ObjectId, BTreeSet<ObjectId>>,
}

impl<'a> Marker<'a> {
    fn new(store: &'a Store, keys: &'a TenantKeys) -> Self {
        Self {
            store,
            keys,
            indexes: HashMap::new(),
        }
    }

    fn needs(&mut self, manifest: &Manifest) -> Result<Needs> {
        let mut needs = Needs {
            packs: manifest.segments.iter().copied().collect(),
            index: manifest.index,
        };
        if let Some(index) = &manifest.index {
            if !self.indexes.contains_key(index) {
                let packs = self.store.packs_of_index(self.keys, index)?;
                self.indexes.insert(*index, packs.into_iter().collect());
            }
            needs.packs.extend(&self.indexes[index]);
        }
        Ok(needs)
    }
}

/// The versions of a disk that are there, oldest first, and whether each was the newest when they were listed.
fn manifests_of(
    store: &Store,
    keys: &TenantKeys,
    disk: &DiskName,
) -> Result<Vec<(Manifest, bool)>> {
    let numbers = store.versions(keys.tenant(), disk, 0)?;
    let newest = numbers.last().copied();
    let mut manifests = Vec::new();
    for number in numbers {
        let version = Version {
            tenant: keys.tenant().clone(),
            disk: disk.clone(),
            number,
        };
        match store.manifest(keys, &version) {
            // Replaced or deleted since it was listed.
            Err(StorageError::Missing(_)) => {}
            other => manifests.push((other?.1, Some(number) == newest)),
        }
    }
    Ok(manifests)
}

/// Runs once over one tenant. With `dry` nothing is condemned or deleted.
pub fn collect(
    store: &Store,
    keys: &TenantKeys,
    entropy: &dyn Entropy,
    rules: &Rules,
    now_ms: u64,
    dry: bool,
) -> Result<Report> {
    let tenant = keys.tenant();
    // The order matters: what is stored is listed before who needs it, and intents before versions.
    let packs = store.list_packs(tenant)?;
    let indexes = store.list_indexes(tenant)?;
    let before = match store.note(keys, "condemned") {
        Ok(body) => serde_json::from_slice(&body).map_err(|_| {
            StorageError::damaged("the list of what was condemned", "it makes no sense")
        })?,
        Err(StorageError::Missing(_)) => Condemned::default(),
        Err(error) => return Err(error),
    };
    let mut marker = Marker::new(store, keys);
    let mut needed: Vec<(Version, Option<String>, Needs)> = Vec::new();
    for name in store.list_notes(tenant, "intents")? {
        let body = match store.note(keys, &name) {
            // It was withdrawn just now: its version is there, or was given up.
            Err(StorageError::Missing(_)) => continue,
            other => other?,
        };
        let intent: Intent = serde_json::from_slice(&body).map_err(|_| {
            StorageError::damaged(format!("the intent {name}"), "it makes no sense")
        })?;
        if now_ms.saturating_sub(intent.since_ms) > rules.reprieve_ms {
            // Whoever it was has run out of his time, or died.
            if !dry {
                store.delete_note(tenant, &name)?;
            }
            continue;
        }
        // An error here, a version that is gone among them, ends the run: somebody may be building on it.
        let (_, manifest) = store.manifest(keys, &intent.version)?;
        let needs = marker.needs(&manifest)?;
        needed.push((intent.version, Some("somebody forks it".to_owned()), needs));
    }
    for disk in store.list_disks(tenant)? {
        for (manifest, is_newest) in manifests_of(store, keys, &disk)? {
            let version = manifest.version.clone();
            if !is_newest && manifest.point.is_none() {
                // A claim that was replaced keeps a placement out, and no content. The others are left from
                // a deletion that failed.
                let stays = if manifest.claim {
                    rules.claim_ms
                } else {
                    rules.grace_ms
                };
                if !dry && now_ms.saturating_sub(manifest.written_ms) > stays {
                    store.delete_version(&version)?;
                }
                continue;
            }
            let needs = marker.needs(&manifest)?;
            needed.push((version, manifest.point.map(|point| point.name), needs));
        }
    }
    let mut report = account(&packs, &needed);
    let packs_needed: BTreeSet<ObjectId> = needed
        .iter()
        .flat_map(|(.., needs)| needs.packs.iter().copied())
        .collect();
    let indexes_needed: BTreeSet<ObjectId> = needed
        .iter()
        .filter_map(|(.., needs)| needs.index)
        .collect();
    let is_due = now_ms.saturating_sub(before.at_ms) >= rules.reprieve_ms;
    let mut condemned = Condemned {
        at_ms: now_ms,
        ..Condemned::default()
    };
    let kinds = [
        (
            &packs,
            &packs_needed,
            &before.packs,
            &mut condemned.packs,
            true,
        ),
        (
            &indexes,
            &indexes_needed,
            &before.indexes,
            &mut condemned.indexes,
            false,
        ),
    ];
    for (stored, needed, before, condemned, is_pack) in kinds {
        for Stored {
            id,
            bytes,
            modified_ms,
        } in stored
        {
            report.total += bytes;
            if needed.contains(id) {
                continue;
            }
            if now_ms.saturating_sub(*modified_ms) < rules.grace_ms {
                report.young += bytes;
                continue;
            }
            if !(is_due && before.contains(id)) {
                report.condemned += bytes;
                condemned.insert(*id);
                continue;
            }
            report.deleted += bytes;
            if dry {
                continue;
            }
            if is_pack {
                store.delete_pack(tenant, id)?;
            } else {
                store.delete_index(tenant, id)?;
            }
        }
    }
    if !dry {
        if !is_due {
            // Its time has begun already; what is new waits for the next list.
            condemned.at_ms = before.at_ms;
            condemned.packs.retain(|id| before.packs.contains(id));
            condemned.indexes.retain(|id| before.indexes.contains(id));
        }
        let body = serde_json::to_vec(&condemned).expect("it has no keys but texts");
        store.replace_note(keys, entropy, "condemned", &body)?;
    }
    Ok(report)
}

/// One version of a disk that is there, and what it keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub manifest: Manifest,
    /// Stored bytes of the packs that it refers to.
    pub bytes: u64,
    /// Of them, those that no other version of this disk refers to.
    pub alone: u64,
}

/// What a disk keeps in the store. Bytes are as stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Versions that have a name, and the newest; oldest first.
    pub versions: Vec<Kept>,
    /// Of all of them together, each pack counted once.
    pub bytes: u64,
}

/// Looks at one disk: the versions that are kept, and what each of them costs.
pub fn usage(store: &Store, keys: &TenantKeys, disk: &DiskName) -> Result<Usage> {
    let tenant = keys.tenant();
    let packs = store.list_packs(tenant)?;
    let mut marker = Marker::new(store, keys);
    let mut manifests = Vec::new();
    let mut needed = Vec::new();
    for (manifest, is_newest) in manifests_of(store, keys, disk)? {
        if is_newest || manifest.point.is_some() {
            needed.push((manifest.version.clone(), None, marker.needs(&manifest)?));
            manifests.push(manifest);
        }
    }
    let all: BTreeSet<ObjectId> = needed
        .iter()
        .flat_map(|(.., needs)| needs.packs.iter().copied())
        .collect();
    let bytes = packs
        .iter()
        .filter(|pack| all.contains(&pack.id))
        .map(|pack| pack.bytes)
        .sum();
    let keepers = account(&packs, &needed).keepers;
    let versions = manifests.into_iter().zip(keepers);
    Ok(Usage {
        versions: versions
            .map(|(manifest, keeper)| Kept {
                manifest,
                bytes: keeper.bytes,
                alone: keeper.alone,
            })
            .collect(),
        bytes,
    })
}

fn account(packs: &[Stored], needed: &[(Version, Option<String>, Needs)]) -> Report {
    let sizes: BTreeMap<ObjectId, u64> = packs.iter().map(|pack| (pack.id, pack.bytes)).collect();
    let mut users: BTreeMap<ObjectId, u32> = BTreeMap::new();
    for (.., needs) in needed {
        for pack in &needs.packs {
            *users.entry(*pack).or_default() += 1;
        }
    }
    let size = |pack: &ObjectId| sizes.get(pack).copied().unwrap_or(0);
    let keepers = needed.iter().map(|(version, point, needs)| Keeper {
        version: version.clone(),
        point: point.clone(),
        bytes: needs.packs.iter().map(size).sum(),
        alone: needs
            .packs
            .iter()
            .filter(|pack| users[*pack] == 1)
            .map(size)
            .sum(),
    });
    Report {
        keepers: keepers.collect(),
        ..Report::default()
    }
}
