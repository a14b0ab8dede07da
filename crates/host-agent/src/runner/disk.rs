//! The disk of a workspace: a copy-on-write layer over the base that it was born with.
//!
//! `disk.json` is written when the layer is complete, so a layer without it is what is left of an attempt,
//! and it without a layer is a loss that must not be hidden behind an empty disk.

use std::io;
use std::path::{Path, PathBuf};

use fleet_api::host::{FailureKind, StartFailure};
use microvm::overlay::{self, OverlayError};
use serde::{Deserialize, Serialize};

use crate::failure::{chain, disk_kind, failure};
use crate::images::{ImageError, ImageNames, Images};
use crate::runner::record;

/// Version of `disk.json` that this code writes.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct DiskRecord {
    format: u32,
    images: ImageNames,
}

/// A disk to boot from.
#[derive(Debug)]
pub struct Disk {
    pub path: PathBuf,
    pub images: ImageNames,
}

fn layer(folder: &Path) -> PathBuf {
    folder.join("disk.qcow2")
}

fn description(folder: &Path) -> PathBuf {
    folder.join("disk.json")
}

/// The images that the disk in `folder` was born with, if there is one.
pub fn born_with(folder: &Path) -> io::Result<Option<ImageNames>> {
    match std::fs::read(description(folder)) {
        Ok(text) => Ok(Some(serde_json::from_slice::<DiskRecord>(&text)?.images)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the disk in `folder` ready, `gib` large: anew at the first start. Blocks.
pub fn prepare(images: &Images, folder: &Path, gib: u64) -> Result<Disk, StartFailure> {
    let path = layer(folder);
    let size = gib << 30;
    let broken = |error: io::Error| {
        failure(
            disk_kind(&error),
            format!("the workspace's disk cannot be prepared: {error}"),
        )
    };
    match born_with(folder).map_err(broken)? {
        Some(born) => {
            if !path.exists() {
                let text = format!("the workspace's disk {} is gone", path.display());
                return Err(failure(FailureKind::Internal, text));
            }
            let images = images.for_workspace(&born).map_err(image_failure)?;
            overlay::grow(&path, size).map_err(overlay_failure)?;
            Ok(Disk { path, images })
        }
        None => {
            let names = images.current().map_err(image_failure)?;
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(broken(error)),
                _ => {}
            }
            overlay::create(&path, &images.files(&names).base, size).map_err(overlay_failure)?;
            let described = DiskRecord {
                format: FORMAT,
                images: names.clone(),
            };
            record::write(&description(folder), &described).map_err(broken)?;
            Ok(Disk {
                path,
                images: names,
            })
        }
    }
}

fn image_failure(error: ImageError) -> StartFailure {
    let kind = match &error {
        ImageError::NotConfigured
        | ImageError::Missing { .. }
        | ImageError::Manifest { .. }
        | ImageError::Gone { .. } => FailureKind::ImageMissing,
        ImageError::Corrupt { .. } => FailureKind::ImageCorrupt,
        ImageError::Import { .. } => disk_kind(&error),
    };
    failure(kind, chain(&error))
}

fn overlay_failure(error: OverlayError) -> StartFailure {
    failure(
        disk_kind(&error),
        format!("the workspace's disk cannot be prepared: {}", chain(&error)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_lost_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let images = Images::new(folder.path().join("images"), None);
        let names = ImageNames {
            kernel: "k".into(),
            initramfs: "i".into(),
            base: "b".into(),
        };
        let described = DiskRecord {
            format: FORMAT,
            images: names.clone(),
        };
        record::write(&description(folder.path()), &described).unwrap();
        assert_eq!(born_with(folder.path()).unwrap(), Some(names));
        let failure = prepare(&images, folder.path(), 16).unwrap_err();
        assert!(failure.message.contains("is gone"), "{failure:?}");
    }

    #[test]
    fn without_images_there_is_a_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let images = Images::new(folder.path().join("images"), None);
        let failure = prepare(&images, folder.path(), 16).unwrap_err();
        assert_eq!(failure.kind, FailureKind::ImageMissing);
        assert!(failure.message.contains("./dev images"), "{failure:?}");
    }
}
