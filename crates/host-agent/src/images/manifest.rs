//! What a built image set says of itself in `manifest.json`.

use serde::Deserialize;

/// Version of the manifest that this code reads.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub architecture: String,
    pub kernel: File,
    pub initramfs: File,
    pub base: Base,
}

#[derive(Clone, Debug, Deserialize)]
pub struct File {
    /// Below the set's folder.
    pub path: String,
    pub sha256: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Base {
    pub path: String,
    /// See [`crate::images::digest::blocks_sha256`].
    pub blocks_sha256: String,
    /// Bytes.
    pub size: u64,
}
