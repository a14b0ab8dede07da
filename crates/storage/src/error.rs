//! What goes wrong, by what the caller can do about it.

use std::io;

/// Why an operation of the storage failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The host's own disk: full, or failing. Trying again later may help.
    #[error("{what} cannot be read or written")]
    File { what: String, source: io::Error },
    /// The store did not do it: down, slow, or refusing. Trying again later may help.
    #[error("the store cannot {what}")]
    Store {
        what: String,
        source: object_store::Error,
    },
    /// The object is not there. Trying again does not help.
    #[error("the store has no {0}")]
    Missing(String),
    /// Stored bytes are not what was written. Another copy may be good.
    #[error("{what} is damaged: {detail}")]
    Damaged { what: String, detail: String },
    /// Somebody else owns the disk by now. Never to be tried again.
    #[error("the disk {disk} belongs to placement {newer} by now, and this is placement {epoch}")]
    Fenced {
        disk: String,
        epoch: u64,
        newer: u64,
    },
    /// Sealed with a key that is not in the key ring: bring the key back.
    #[error("the key {0} is not in the key ring")]
    NoKey(u32),
    /// Of a newer Roost: upgrade.
    #[error("{what} has format {found}, and this Roost knows none above {known}")]
    Newer {
        what: String,
        found: u32,
        known: u32,
    },
    /// A sync failed after the cut was taken, and what it stood for was written again after it: take another.
    #[error("the cut is of no use any more: a sync failed since")]
    CutAgain,
    /// The store does not do what a disk needs of it: use another one.
    #[error("{0}")]
    Unfit(String),
    /// The request makes no sense: a name, a size or a range that cannot be.
    #[error("{0}")]
    Invalid(String),
}

pub type Result<T> = std::result::Result<T, StorageError>;

impl StorageError {
    pub fn damaged(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Damaged {
            what: what.into(),
            detail: detail.into(),
        }
    }

    /// Whether waiting and trying again may help, without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Store { .. })
    }

    /// Whether what is stored cannot be used, however often it is tried; what lies beside it may be good.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Missing(_) | Self::Damaged { .. } | Self::NoKey(_) | Self::Newer { .. }
        )
    }
}

/// Adds what was attempted to an error of the file layer.
pub(crate) trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| StorageError::File {
            what: what(),
            source,
        })
    }
}
