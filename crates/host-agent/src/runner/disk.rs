//! The disk of a workspace: a layer over the base that it was born with.
//!
//! `disk.json` says which base that is, and whether the disk has been there: then its loss must not be hidden behind
//! an empty one. Workspaces of the first version have a qcow2 file, which is converted at the next start.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use disk_server::{ServerSpec, lock};
use fleet_api::host::{FailureKind, RunSpec, StartFailure};
use serde::{Deserialize, Serialize};
use storage::StorageError;
use storage::block::BLOCK;
use storage::disk::Disk as Storage;
use storage::import::{Difference, Source, Uncovered};

use crate::disks::Disks;
use crate::failure::{chain, disk_kind, failure};
use crate::images::{ImageError, ImageNames, Images};
use crate::runner::record;

/// Version of `disk.json` that this code writes. With 1 the disk is a qcow2 file.
const FORMAT: u32 = 2;
/// The file that a disk was converted from stays for so long.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct DiskRecord {
    format: u32,
    images: ImageNames,
    /// The disk has been there.
    #[serde(default)]
    made: bool,
}

/// A disk to boot from.
#[derive(Debug)]
pub struct Disk {
    pub server: ServerSpec,
    pub images: ImageNames,
}

/// What takes part in preparing a disk.
pub struct Preparation<'a> {
    pub images: &'a Images,
    pub disks: &'a Disks,
    /// Of the workspace.
    pub folder: &'a Path,
    pub run: &'a RunSpec,
    /// Told how far a conversion is, bytes of how many.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

fn old_layer(folder: &Path) -> PathBuf {
    folder.join("disk.qcow2")
}

fn kept_layer(folder: &Path) -> PathBuf {
    folder.join("disk.qcow2.converted")
}

fn description(folder: &Path) -> PathBuf {
    folder.join("disk.json")
}

fn read_record(folder: &Path) -> io::Result<Option<DiskRecord>> {
    match std::fs::read(description(folder)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The images that the disk in `folder` was born with, if there is one.
pub fn born_with(folder: &Path) -> io::Result<Option<ImageNames>> {
    Ok(read_record(folder)?.map(|record| record.images))
}

/// Notes that the disk in `folder` is there, and has to be from now on.
pub fn made(folder: &Path) -> io::Result<()> {
    match read_record(folder)? {
        Some(record) if !record.made => {
            let made = DiskRecord {
                made: true,
                ..record
            };
            record::write(&description(folder), &made)
        }
        _ => Ok(()),
    }
}

impl Preparation<'_> {
    /// Makes everything ready for the disk's server. Blocks, and for long when there is something to convert.
    pub fn run(&mut self) -> Result<Disk, StartFailure> {
        let found = read_record(self.folder).map_err(|error| broken(&error))?;
        let record = match found {
            Some(record) => record,
            None => self.new_record()?,
        };
        if record.format == 1 && !old_layer(self.folder).exists() {
            let text = format!(
                "the workspace's disk {} is gone",
                old_layer(self.folder).display()
            );
            return Err(failure(FailureKind::Internal, text));
        }
        let images = self
            .images
            .for_workspace(&record.images)
            .map_err(image_failure)?;
        let base = self.images.files(&images).base;
        self.disks.adopt(&base).map_err(disk_failure)?;
        let mut server = self
            .disks
            .server(self.run, self.folder, &images, &base, record.made)
            .map_err(disk_failure)?;
        if record.format == 1 {
            self.convert(&server)?;
            let converted = DiskRecord {
                format: FORMAT,
                made: true,
                ..record
            };
            record::write(&description(self.folder), &converted).map_err(|error| broken(&error))?;
            server.disk.must_exist = true;
        }
        self.put_old_layer_away().map_err(|error| broken(&error))?;
        Ok(Disk { server, images })
    }

    fn new_record(&self) -> Result<DiskRecord, StartFailure> {
        let record = DiskRecord {
            format: FORMAT,
            images: self.images.current().map_err(image_failure)?,
            made: false,
        };
        record::write(&description(self.folder), &record).map_err(|error| broken(&error))?;
        Ok(record)
    }

    /// Copies what the old layer has. It stays as it is; an attempt that was cut off is begun anew.
    fn convert(&mut self, server: &ServerSpec) -> Result<(), StartFailure> {
        let layer = old_layer(self.folder);
        let mut copy = || -> storage::Result<()> {
            let spec = &server.disk;
            if spec.folder.exists() {
                std::fs::remove_dir_all(&spec.folder).map_err(file(&spec.folder))?;
            }
            let _lock = lock::take(&spec.folder).map_err(file(&spec.folder))?;
            let disk = spec.open(tokio::runtime::Handle::try_current().ok().as_ref())?;
            copy_layer(&layer, &disk, self.progress)?;
            disk.flush()?;
            disk.checkpoint()
        };
        copy().map_err(|error| {
            let mut failure = disk_failure(error);
            failure.message = format!(
                "the workspace's disk could not be converted to the new format ({}). The old one, {}, is as it was: \
                 make room or mend what is said, and start again",
                failure.message,
                layer.display()
            );
            failure
        })
    }

    /// The way back for a while, and a waste of room after it.
    fn put_old_layer_away(&self) -> io::Result<()> {
        let (layer, kept) = (old_layer(self.folder), kept_layer(self.folder));
        if layer.exists() {
            std::fs::rename(&layer, &kept)?;
            return std::fs::File::open(&kept)?.set_modified(SystemTime::now());
        }
        let Ok(metadata) = std::fs::metadata(&kept) else {
            return Ok(());
        };
        if metadata.modified()?.elapsed().is_ok_and(|age| age > KEPT) {
            std::fs::remove_file(&kept)?;
        }
        Ok(())
    }
}

/// Writes what differs from what the disk, new as it is, shows of its base.
fn copy_layer(
    layer: &Path,
    disk: &Storage,
    progress: &mut dyn FnMut(u64, u64),
) -> storage::Result<()> {
    let bytes = |blocks: u32| u64::from(blocks) * BLOCK as u64;
    let mut write = |difference: Difference<'_>| match difference {
        Difference::Block(block, content) => disk.write(bytes(block), content),
        Difference::Zero(range) => disk.zero(bytes(range.start), bytes(range.end - range.start)),
    };
    Source::layer(layer)?.differences(disk, Uncovered::Base, progress, &mut write)
}

fn file(path: &Path) -> impl Fn(io::Error) -> StorageError {
    move |source| StorageError::File {
        what: path.display().to_string(),
        source,
    }
}

fn broken(error: &io::Error) -> StartFailure {
    let text = format!("the workspace's disk cannot be prepared: {error}");
    failure(disk_kind(error), text)
}

fn disk_failure(error: StorageError) -> StartFailure {
    failure(
        disk_kind(&error),
        format!("the workspace's disk cannot be prepared: {}", chain(&error)),
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(folder: &Path) -> Result<Disk, StartFailure> {
        let images = Images::new(folder.join("images"), None);
        let disks = Disks::open(folder, None, disk_server::DoorChoice::Auto).unwrap();
        let record: record::Record =
            serde_json::from_str(include_str!("fixtures/host.json")).unwrap();
        Preparation {
            images: &images,
            disks: &disks,
            folder,
            run: &record.spec,
            progress: &mut |_, _| {},
        }
        .run()
    }

    /// One that the new format has is the storage's to notice: `must_exist`, in tests/data_folder.rs.
    #[test]
    fn a_disk_that_is_lost_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let described = DiskRecord {
            format: 1,
            images: ImageNames {
                kernel: "k".into(),
                initramfs: "i".into(),
                base: "b".into(),
            },
            made: false,
        };
        record::write(&description(folder.path()), &described).unwrap();
        let failure = prepare(folder.path()).unwrap_err();
        assert!(failure.message.contains("is gone"), "{failure:?}");
    }

    #[test]
    fn without_images_there_is_a_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let failure = prepare(folder.path()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::ImageMissing);
        assert!(failure.message.contains("./dev images"), "{failure:?}");
    }
}
