//! The folder of images: taking in a set, finding it right, throwing away what nobody names.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::images::digest;
use crate::images::manifest::{FORMAT, Manifest};

/// Why there is no image to boot. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(
        "no guest images are configured: run ./dev images, or set ROOST_IMAGES to the folder of a built set"
    )]
    NotConfigured,
    #[error("the guest images in {folder} cannot be read: run ./dev images")]
    Missing { folder: PathBuf, source: io::Error },
    #[error("the manifest in {folder} is of another version of Roost: run ./dev images")]
    Manifest { folder: PathBuf },
    #[error(
        "the guest image {path} is damaged (its content does not match its name): delete {delete} and run ./dev images"
    )]
    Corrupt { path: PathBuf, delete: PathBuf },
    #[error("the image {path} is gone: run ./dev images, or bring back the data folder's images")]
    Gone { path: PathBuf },
    #[error("the image {path} cannot be taken into the data folder")]
    Import { path: PathBuf, source: io::Error },
}

/// The files of one set by their names in the folder; what a workspace keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageNames {
    pub kernel: String,
    pub initramfs: String,
    pub base: String,
}

/// Where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFiles {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub base: PathBuf,
}

/// How a file looked when its digest was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size: u64,
    modified: i64,
    modified_nanoseconds: i64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: metadata.mtime(),
            modified_nanoseconds: metadata.mtime_nsec(),
            inode: metadata.ino(),
        }
    }
}

/// All images of a host. Methods block: a first look at a set reads it to its end.
#[derive(Debug)]
pub struct Images {
    folder: PathBuf,
    set: Option<PathBuf>,
    /// One at a time takes in or checks; the others find its result.
    busy: Mutex<()>,
}

impl Images {
    /// `set` is the folder of the set that new workspaces get.
    pub fn new(folder: PathBuf, set: Option<PathBuf>) -> Self {
        Self {
            folder,
            set,
            busy: Mutex::new(()),
        }
    }

    /// The set that new workspaces get, taken in and found right.
    pub fn current(&self) -> Result<ImageNames, ImageError> {
        let set = self.set.as_deref().ok_or(ImageError::NotConfigured)?;
        let path = set.join("manifest.json");
        let text = fs::read(&path).map_err(|source| ImageError::Missing {
            folder: set.into(),
            source,
        })?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .ok()
            .filter(|manifest: &Manifest| manifest.format == FORMAT)
            .filter(|manifest| manifest.architecture == std::env::consts::ARCH)
            .ok_or_else(|| ImageError::Manifest { folder: set.into() })?;
        let names = ImageNames {
            kernel: name("vmlinux-", &manifest.kernel.sha256, ""),
            initramfs: name("initramfs-", &manifest.initramfs.sha256, ".cpio"),
            base: name("base-", &manifest.base.blocks_sha256, ".ext4"),
        };
        let _one = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, path) in [
            (&names.kernel, &manifest.kernel.path),
            (&names.initramfs, &manifest.initramfs.path),
            (&names.base, &manifest.base.path),
        ] {
            let from = set.join(path);
            if !self.folder.join(name).exists() {
                self.take_in(&from, name)?;
            }
            match self.check(name) {
                // The set may still have it whole.
                Err(ImageError::Corrupt { .. }) => {
                    self.take_in(&from, name)?;
                    self.check(name).map_err(|error| match error {
                        ImageError::Corrupt { .. } => {
                            let delete = set.parent().unwrap_or(set).into();
                            ImageError::Corrupt {
                                path: from.clone(),
                                delete,
                            }
                        }
                        other => other,
                    })?;
                }
                other => other?,
            }
        }
        Ok(names)
    }

    /// What a workspace that was born with `born` boots now: its base and kernel, and the newest agent
    /// that fits this kernel.
    pub fn for_workspace(&self, born: &ImageNames) -> Result<ImageNames, ImageError> {
        let current = self
            .current()
            .ok()
            .filter(|current| current.kernel == born.kernel);
        let initramfs = current.map_or_else(|| born.initramfs.clone(), |current| current.initramfs);
        let names = ImageNames {
            initramfs,
            ..born.clone()
        };
        let _one = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        for name in [&names.kernel, &names.initramfs, &names.base] {
            self.check(name)?;
        }
        Ok(names)
    }

    pub fn files(&self, names: &ImageNames) -> ImageFiles {
        ImageFiles {
            kernel: self.folder.join(&names.kernel),
            initramfs: self.folder.join(&names.initramfs),
            base: self.folder.join(&names.base),
        }
    }

    /// Removes every file that none of `used` names and that is not of the current set.
    pub fn sweep(&self, used: &[ImageNames]) -> io::Result<()> {
        let _one = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current_unchecked();
        let keep: BTreeSet<&str> = used
            .iter()
            .chain(&current)
            .flat_map(|names| [names.kernel.as_str(), &names.initramfs, &names.base])
            .collect();
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !keep.contains(of_image(&name)) {
                tracing::info!(
                    image = name,
                    "an image that nothing names any more is removed"
                );
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn current_unchecked(&self) -> Option<ImageNames> {
        let text = fs::read(self.set.as_deref()?.join("manifest.json")).ok()?;
        let manifest: Manifest = serde_json::from_slice(&text).ok()?;
        Some(ImageNames {
            kernel: name("vmlinux-", &manifest.kernel.sha256, ""),
            initramfs: name("initramfs-", &manifest.initramfs.sha256, ".cpio"),
            base: name("base-", &manifest.base.blocks_sha256, ".ext4"),
        })
    }

    fn take_in(&self, from: &Path, name: &str) -> Result<(), ImageError> {
        let failed = |source| ImageError::Import {
            path: from.into(),
            source,
        };
        if let Err(source) = fs::metadata(from) {
            let folder = from.parent().unwrap_or(from).into();
            return Err(ImageError::Missing { folder, source });
        }
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let unfinished = self.folder.join(format!("{name}.unfinished"));
        remove_if_there(&unfinished).map_err(failed)?;
        // A link costs nothing; across file systems the copy shares blocks where they can, and keeps holes.
        if fs::hard_link(from, &unfinished).is_err() {
            let copied = Command::new("cp")
                .args(["--reflink=auto", "--sparse=always", "--"])
                .arg(from)
                .arg(&unfinished)
                .status()
                .map_err(failed)?;
            if !copied.success() {
                let _ = remove_if_there(&unfinished);
                return Err(failed(io::Error::other(format!("cp: {copied}"))));
            }
            let read_only = fs::Permissions::from_mode(0o444);
            fs::set_permissions(&unfinished, read_only).map_err(failed)?;
        }
        fs::rename(&unfinished, self.folder.join(name)).map_err(failed)?;
        // Between two names of one file nothing is renamed.
        remove_if_there(&unfinished).map_err(failed)
    }

    /// Finds the file as its name says, reading it only when it does not look as it did the last time.
    fn check(&self, name: &str) -> Result<(), ImageError> {
        let path = self.folder.join(name);
        let metadata = fs::metadata(&path).map_err(|_| ImageError::Gone { path: path.clone() })?;
        let stamp = Stamp::of(&metadata);
        let verified = self.folder.join(format!("{name}.verified"));
        let seen: Option<Stamp> = fs::read(&verified)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        if seen == Some(stamp) {
            return Ok(());
        }
        let started = std::time::Instant::now();
        let digest = if name.starts_with("base-") {
            digest::blocks_sha256(&path)
        } else {
            digest::sha256(&path)
        };
        let import = |source| ImageError::Import {
            path: path.clone(),
            source,
        };
        let digest = digest.map_err(import)?;
        if !name.contains(&digest[..DIGITS]) {
            return Err(ImageError::Corrupt {
                delete: path.clone(),
                path,
            });
        }
        tracing::info!(
            image = name,
            took_ms = started.elapsed().as_millis() as u64,
            "image verified"
        );
        let text = serde_json::to_vec(&stamp).expect("a stamp is plain numbers");
        fs::write(&verified, text).map_err(import)
    }
}

/// Digits of a digest that make a name: 128 bits.
const DIGITS: usize = 32;

fn name(before: &str, digest: &str, after: &str) -> String {
    let digest: String = digest
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(DIGITS)
        .collect();
    format!("{before}{digest}{after}")
}

/// What an image's file, or one beside it, belongs to.
fn of_image(name: &str) -> &str {
    let beside = [".verified", ".sums"];
    beside
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        _folder: tempfile::TempDir,
        set: PathBuf,
        images: Images,
        store: PathBuf,
    }

    fn write_set(set: &Path, base: &[u8]) {
        fs::create_dir_all(set).unwrap();
        for (file, content) in [
            ("vmlinux", &b"kernel"[..]),
            ("initramfs.cpio", b"agent"),
            ("base.ext4", base),
        ] {
            let path = set.join(file);
            let _ = fs::remove_file(&path);
            fs::write(path, content).unwrap();
        }
        let manifest = serde_json::json!({
            "format": 1, "architecture": "x86_64", "suite": "trixie",
            "kernel": {"path": "vmlinux", "sha256": digest::sha256(&set.join("vmlinux")).unwrap()},
            "initramfs": {"path": "initramfs.cpio", "sha256": digest::sha256(&set.join("initramfs.cpio")).unwrap()},
            "base": {"path": "base.ext4", "size": base.len(),
                "blocks_sha256": digest::blocks_sha256(&set.join("base.ext4")).unwrap()},
        });
        fs::write(set.join("manifest.json"), manifest.to_string()).unwrap();
    }

    fn world() -> World {
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("set");
        write_set(&set, b"disk");
        let store = folder.path().join("images");
        let images = Images::new(store.clone(), Some(set.clone()));
        World {
            _folder: folder,
            set,
            images,
            store,
        }
    }

    #[test]
    fn a_set_is_taken_in_once_and_outlives_its_folder() {
        let world = world();
        let names = world.images.current().unwrap();
        assert_eq!(fs::read(world.images.files(&names).base).unwrap(), b"disk");
        fs::remove_dir_all(&world.set).unwrap();
        assert_eq!(world.images.for_workspace(&names).unwrap(), names);
        let error = world.images.current().unwrap_err();
        assert!(matches!(error, ImageError::Missing { .. }), "{error}");
        assert!(error.to_string().contains("./dev images"));
    }

    #[test]
    fn a_damaged_image_is_noticed_and_taken_from_the_set_again() {
        let world = world();
        let names = world.images.current().unwrap();
        let base = world.images.files(&names).base;
        fs::remove_file(&base).unwrap();
        fs::write(&base, b"dusk").unwrap();
        assert_eq!(world.images.current().unwrap(), names);
        assert_eq!(fs::read(&base).unwrap(), b"disk");

        // Both are one file: nothing is left to take it from.
        fs::write(&base, b"dusk").unwrap();
        let error = world.images.current().unwrap_err();
        assert!(matches!(error, ImageError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("delete") && error.to_string().contains("./dev images"));
        let error = world.images.for_workspace(&names).unwrap_err();
        assert!(matches!(error, ImageError::Corrupt { .. }), "{error}");
        fs::remove_dir_all(&world.set).unwrap();
        fs::remove_file(&base).unwrap();
        let error = world.images.for_workspace(&names).unwrap_err();
        assert!(matches!(error, ImageError::Gone { .. }), "{error}");
    }

    #[test]
    fn a_set_that_lies_about_its_files_is_refused() {
        let world = world();
        fs::remove_file(world.set.join("base.ext4")).unwrap();
        fs::write(world.set.join("base.ext4"), b"other").unwrap();
        assert!(matches!(
            world.images.current(),
            Err(ImageError::Corrupt { .. })
        ));
    }

    #[test]
    fn old_bases_stay_for_those_born_with_them_and_agents_are_renewed() {
        let world = world();
        let born = world.images.current().unwrap();
        write_set(&world.set, b"newer disk");
        let newer = world.images.current().unwrap();
        assert_ne!(newer.base, born.base);
        assert_eq!(world.images.for_workspace(&born).unwrap().base, born.base);
        world.images.sweep(std::slice::from_ref(&born)).unwrap();
        assert!(world.images.files(&born).base.exists());
        world.images.sweep(&[]).unwrap();
        assert!(!world.images.files(&born).base.exists());
        assert!(world.images.files(&newer).base.exists());
        let left = fs::read_dir(&world.store).unwrap().count();
        assert_eq!(left, 6, "three images and their stamps");
    }
}
