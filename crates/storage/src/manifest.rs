//! One version of an image: immutable, numbered, complete in itself.
//!
//! A manifest is an object of one frame, which holds JSON. Fields are only ever added; a manifest of a
//! higher format is refused. Its object's id is random, and the body names tenant, disk and number, so that
//! one in another's place is found.

use serde::{Deserialize, Serialize};

use crate::block::MAX_BLOCKS;
use crate::error::{Result, StorageError};
use crate::keys::{Entropy, ObjectId, Tenant, TenantKeys};
pub use crate::name::DiskName;
use crate::object::{HEADER, Kind, ObjectWriter, open_whole};

/// Format that this code writes.
pub const FORMAT: u32 = 1;

/// One version of one disk, of whatever tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    pub tenant: Tenant,
    pub disk: DiskName,
    pub number: u64,
}

impl std::fmt::Display for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}@{}", self.tenant, self.disk, self.number)
    }
}

/// How far the local log of a disk is in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Which log.
    pub log: ObjectId,
    /// Groups of lower generations are in it.
    pub generation: u64,
}

/// Why a version is kept under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointKind {
    /// Somebody asked for it.
    Manual,
    /// The timer did.
    Automatic,
    /// It keeps what a step back left behind.
    Branch,
}

/// A point in time that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    pub id: ObjectId,
    pub name: String,
    pub kind: PointKind,
    /// Milliseconds since 1970.
    pub taken_ms: u64,
}

impl Point {
    pub fn new(entropy: &dyn Entropy, name: &str, kind: PointKind, taken_ms: u64) -> Self {
        Self {
            id: entropy.object_id(),
            name: name.to_owned(),
            kind,
            taken_ms,
        }
    }
}

/// One version of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    #[serde(flatten)]
    pub version: Version,
    /// Of the placement that wrote it.
    pub epoch: u64,
    /// Milliseconds since 1970.
    pub written_ms: u64,
    /// Size of the disk, blocks.
    pub blocks: u32,
    /// What shows where this image has nothing.
    pub base: Option<Version>,
    /// Version that this disk was forked from, or went back to last.
    pub parent: Option<Version>,
    /// The line of its history that it is on: number of the version that the line began with when the disk went
    /// back, 0 before.
    #[serde(default)]
    pub line: u64,
    pub index: Option<ObjectId>,
    /// Packs whose changes come on top of the index, oldest first.
    pub segments: Vec<ObjectId>,
    pub log: Option<LogPosition>,
    /// A placement took the disk with it. It is kept: an older one that wants to write the next version
    /// finds it there.
    #[serde(default)]
    pub claim: bool,
    pub point: Option<Point>,
    /// Blocks whose content was damaged before it came here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<u32>,
    /// Of an image that is a machine's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// What is said of an image that is the memory of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Blocks that are memory, from the first on. Those behind them hold the state of the devices.
    pub blocks: u32,
    /// Bytes of that state.
    pub state_bytes: u32,
    /// The machine's disk at the same instant.
    pub disk: Version,
    /// How the machine is made, for whoever wakes it; not read here.
    pub machine: serde_json::Value,
}

impl Manifest {
    /// A disk that is in no store yet, over `base` if there is one: number 0, and nothing of its own.
    pub fn unborn(tenant: Tenant, disk: DiskName, blocks: u32, base: Option<Version>) -> Self {
        Self {
            format: FORMAT,
            version: Version {
                tenant,
                disk,
                number: 0,
            },
            epoch: 0,
            written_ms: 0,
            blocks,
            base,
            parent: None,
            line: 0,
            index: None,
            segments: Vec::new(),
            log: None,
            claim: false,
            point: None,
            lost: Vec::new(),
            memory: None,
        }
    }

    /// Seals it as an object.
    pub fn seal(&self, keys: &TenantKeys, entropy: &dyn Entropy) -> Result<(ObjectId, Vec<u8>)> {
        let id = entropy.object_id();
        let mut object = ObjectWriter::new(Kind::Manifest, id, keys)?;
        object.frame(&serde_json::to_vec(self).expect("a manifest has no keys but texts"));
        Ok((id, object.finish(&[])))
    }

    /// Opens the object that was found under `version`.
    pub fn open(version: &Version, bytes: Vec<u8>, keys: &TenantKeys) -> Result<(ObjectId, Self)> {
        let damaged = |detail: &str| {
            StorageError::damaged(format!("the manifest {version}"), detail.to_owned())
        };
        let id = bytes
            .get(HEADER - 16..HEADER)
            .and_then(|id| id.first_chunk());
        let id = ObjectId(*id.ok_or_else(|| damaged("it is too short"))?);
        let (raw, _) = open_whole(Kind::Manifest, &id, bytes, keys)?;
        let manifest = parse(&raw, &format!("the manifest {version}"))?;
        if manifest.version != *version {
            return Err(damaged("it is another's"));
        }
        Ok((id, manifest))
    }
}

/// Reads the body of a manifest.
pub(crate) fn parse(body: &[u8], what: &str) -> Result<Manifest> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let no_sense = |_| StorageError::damaged(what, "it makes no sense");
    let found: Format = serde_json::from_slice(body).map_err(no_sense)?;
    if found.format > FORMAT {
        return Err(StorageError::Newer {
            what: what.to_owned(),
            found: found.format,
            known: FORMAT,
        });
    }
    let manifest: Manifest = serde_json::from_slice(body).map_err(no_sense)?;
    if manifest.blocks > MAX_BLOCKS {
        return Err(StorageError::damaged(what, "no disk is that large"));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KeyRing, SystemEntropy};

    #[test]
    fn a_manifest_is_read_where_it_belongs_and_nowhere_else() {
        let tenant = Tenant::new("t").unwrap();
        let keys = KeyRing::generate(&SystemEntropy).tenant(&tenant).unwrap();
        let disk = DiskName::new("d").unwrap();
        let manifest = Manifest::unborn(tenant, disk, 1000, None);
        let (id, bytes) = manifest.seal(&keys, &SystemEntropy).unwrap();
        let opened = Manifest::open(&manifest.version, bytes.clone(), &keys).unwrap();
        assert_eq!(opened, (id, manifest.clone()));
        let mut elsewhere = manifest.version.clone();
        elsewhere.number = 2;
        assert!(matches!(
            Manifest::open(&elsewhere, bytes, &keys),
            Err(StorageError::Damaged { .. })
        ));
    }

    #[test]
    fn a_manifest_of_a_newer_roost_is_refused_by_name() {
        let tenant = Tenant::new("t").unwrap();
        let keys = KeyRing::generate(&SystemEntropy).tenant(&tenant).unwrap();
        let disk = DiskName::new("d").unwrap();
        let mut manifest = Manifest::unborn(tenant, disk, 1000, None);
        manifest.format = FORMAT + 1;
        let (_, bytes) = manifest.seal(&keys, &SystemEntropy).unwrap();
        let refused = Manifest::open(&manifest.version, bytes, &keys).unwrap_err();
        assert!(matches!(refused, StorageError::Newer { .. }), "{refused}");
    }
}
