//! Looking after what lies in the store: checked, written again, collected; and disks that come from elsewhere.

use futures::stream::BoxStream;
use model::OrganizationId;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

use crate::host::HostError;

/// Something that takes its time. A stream that ends without [`Step::Ended`] was cut off.
pub type Steps<T> = BoxStream<'static, Step<T>>;

/// How far it is, and at last what came of it.
#[derive(Clone, Debug)]
pub enum Step<T> {
    /// Bytes of how many.
    Progress {
        done: u64,
        of: u64,
    },
    Ended(Result<T, HostError>),
}

/// What was found when everything was read that a disk has in the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskCheck {
    /// Oldest first.
    pub versions: Vec<CheckedVersion>,
    /// That were read, each once.
    pub objects: u64,
    /// Of packs among them.
    pub bytes: u64,
    pub damage: Vec<Damage>,
}

/// A version that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedVersion {
    pub number: u64,
    /// Of a point.
    pub name: Option<String>,
    /// It is the disk as the store has it now.
    pub is_now: bool,
}

/// Something in the store that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The version that it costs something.
    pub version: u64,
    /// Its path in the store.
    pub object: String,
    pub detail: String,
    /// Of the disk, that cannot be read because of it.
    pub bytes: u64,
}

/// What came of writing sparse packs again. Bytes in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// Of the disk, that lie in other packs now.
    pub moved: u64,
    /// That the disk as it is refers to.
    pub before: u64,
    pub after: u64,
    /// The same of the disk with all its points, each byte once.
    pub all_before: u64,
    pub all_after: u64,
}

/// What a collection found and did. Bytes in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// Whose part of the store it is: an organisation's, or that of the base images.
    pub tenant: String,
    pub total: u64,
    /// Needed by nobody and too young to be looked at: somebody may be about to refer to it.
    pub young: u64,
    /// Needed by nobody; goes with a later collection.
    pub condemned: u64,
    pub deleted: u64,
    pub kept: Vec<Keeper>,
}

/// Who keeps what. Bytes in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// Id of a workspace, or name of a base image.
    pub disk: String,
    pub points: u64,
    /// With all points, each byte once.
    pub stored: u64,
    /// Of that, what no other disk needs.
    pub alone: u64,
}

/// A disk that comes from elsewhere.
pub struct Import {
    /// Whose it is to be.
    pub owner: OrganizationId,
    /// Size of the file where it is known.
    pub bytes: Option<u64>,
    /// A qcow2 file, or the plain bytes of a disk.
    pub content: Box<dyn AsyncRead + Send + Unpin>,
}
