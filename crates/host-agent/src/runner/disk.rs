//! The disk of a workspace: a layer over the base that it was born with.
//!
//! `disk.json` says which base that is, and whether the disk has been there: then its loss must not be hidden behind
//! an empty one. Workspaces of the first version have a qcow2 file, which is converted at the next start.

mod imported;
mod resting;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use disk_server::ServerSpec;
use disk_server::lock;
use fleet_api::host::{FailureKind, StartFailure};
use fleet_api::points::Origin;
use model::WorkspaceId;
use serde::{Deserialize, Serialize};
use storage::StorageError;
use storage::block::BLOCK;
use storage::disk::{Disk as Storage, fork};
use storage::import::{Difference, Source, Uncovered};
use tokio::runtime::Handle;

pub use self::resting::Resting;
use crate::failure::{chain, disk_kind, failure};
use crate::images::{ImageError, ImageNames};
use crate::runner::record;
use crate::upkeep::import;

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
    pub resting: Resting<'a>,
    /// Folder of another workspace.
    pub folder_of: &'a dyn Fn(&WorkspaceId) -> PathBuf,
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
            write_record(folder, &made)
        }
        _ => Ok(()),
    }
}

fn write_record(folder: &Path, record: &DiskRecord) -> io::Result<()> {
    record::write(&description(folder), record)
}

impl Preparation<'_> {
    /// Makes everything ready for the disk's server. Blocks, and for long when there is something to convert.
    pub fn run(&mut self) -> Result<Disk, StartFailure> {
        let folder = self.resting.folder;
        let found = read_record(folder).map_err(|error| broken(&error))?;
        let record = match found {
            Some(record) => record,
            None => self.new_record()?,
        };
        if record.format == 1 && !old_layer(folder).exists() {
            let text = format!(
                "the workspace's disk {} is gone",
                old_layer(folder).display()
            );
            return Err(failure(FailureKind::Internal, text));
        }
        let mut disk = self.resting.disk(&record)?;
        if record.format == 1 {
            self.convert(&disk.server)?;
            let converted = DiskRecord {
                format: FORMAT,
                made: true,
                ..record
            };
            write_record(folder, &converted).map_err(|error| broken(&error))?;
            disk.server.disk.must_exist = true;
        }
        self.put_old_layer_away().map_err(|error| broken(&error))?;
        Ok(disk)
    }

    fn new_record(&self) -> Result<DiskRecord, StartFailure> {
        let origin = self.resting.run.origin.as_ref();
        // A fork boots with what its origin was born with.
        let theirs = match origin {
            Some(origin) => born_with(&(self.folder_of)(&origin.workspace)),
            None => Ok(None),
        };
        let images = match theirs.map_err(|error| broken(&error))? {
            Some(images) => images,
            None => self.resting.images.current().map_err(image_failure)?,
        };
        let mut record = DiskRecord {
            format: FORMAT,
            images,
            made: false,
        };
        if let Some(origin) = origin {
            self.fork(origin, &record)?;
            record.made = true;
        }
        write_record(self.resting.folder, &record).map_err(|error| broken(&error))?;
        if let Some(origin) = origin.filter(|origin| origin.is_import()) {
            let (disks, id) = (self.resting.disks, &origin.workspace);
            if let Err(error) = import::forget(disks, &(self.folder_of)(id), id) {
                tracing::warn!(%id, %error, "what a workspace began with is left until it is swept");
            }
        }
        Ok(record)
    }

    /// Makes the first version of the disk in the store.
    fn fork(&self, origin: &Origin, record: &DiskRecord) -> Result<(), StartFailure> {
        let spec = self.resting.disk(record)?.server.disk;
        let forked = || {
            let world = spec.world(Handle::try_current().ok().as_ref())?;
            let from = self.resting.disks.version(self.resting.run, origin)?;
            let manifest = fork(&world, &from, &spec.name, spec.epoch)?;
            let base = spec.base.as_ref().map(|base| &base.version);
            if manifest.base.as_ref() == base {
                return Ok(());
            }
            let text = "it lies over a base image that this host does not have any more";
            Err(StorageError::Invalid(text.to_owned()))
        };
        forked().map_err(|error| match error {
            StorageError::Missing(_) => {
                let text = "the point in time that the workspace was to begin with has been given up: make it from \
                            another one";
                failure(FailureKind::Internal, text)
            }
            error => disk_failure(error),
        })
    }

    /// Copies what the old layer has. It stays as it is; an attempt that was cut off is begun anew.
    fn convert(&mut self, server: &ServerSpec) -> Result<(), StartFailure> {
        let layer = old_layer(self.resting.folder);
        let mut copy = || -> storage::Result<()> {
            let spec = &server.disk;
            if spec.folder.exists() {
                std::fs::remove_dir_all(&spec.folder).map_err(file(&spec.folder))?;
            }
            let _lock = lock::take(&spec.folder).map_err(file(&spec.folder))?;
            let disk = spec.open(Handle::try_current().ok().as_ref())?;
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
        let folder = self.resting.folder;
        let (layer, kept) = (old_layer(folder), kept_layer(folder));
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
        let images = crate::images::Images::new(folder.join("images"), None);
        let disks = crate::disks::Disks::open(folder, None, disk_server::DoorChoice::Auto).unwrap();
        let record: record::Record =
            serde_json::from_str(include_str!("fixtures/host.json")).unwrap();
        Preparation {
            resting: Resting {
                images: &images,
                disks: &disks,
                folder,
                run: &record.spec,
            },
            folder_of: &|other| folder.join(other.as_str()),
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
        write_record(folder.path(), &described).unwrap();
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
