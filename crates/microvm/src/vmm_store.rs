//! Keeps the VMM by content hash: the distribution's QEMU, the libraries it needs and its firmware, copied
//! into the data folder and run from there. A machine that sleeps wakes under the build it was put to sleep
//! by, whatever the distribution has installed since.
//!
//! ```text
//! DATA/vmm/HASH/qemu-system-x86_64   the program
//!               ld.so                the loader that runs it with the libraries beside it
//!               libraries/  firmware/  modules/
//! DATA/vmm/sources.json              which installed files gave which hash, to find it again at once
//! ```

mod sources;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ring::digest;
use serde::{Deserialize, Serialize};

use self::sources::{Source, Stamp};

/// A VMM that stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedVmm {
    /// What [`crate::spec::QemuSpec::vmm`] names.
    pub folder: PathBuf,
    /// Of everything in it, hexadecimal.
    pub hash: String,
}

/// Why there is no VMM to run.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error("qemu-system-x86_64 is not installed. On Debian: apt-get install qemu-system-x86")]
    Missing,
    #[error(
        "there is no QEMU at {0}. Correct vm.qemu in config.toml, or leave it out and install the distribution's. On Debian: apt-get install qemu-system-x86"
    )]
    NotThere(PathBuf),
    #[error(
        "QEMU is installed without {0}. On Debian: apt-get install --reinstall qemu-system-x86 qemu-system-data seabios"
    )]
    Incomplete(String),
    #[error("the VMM cannot be kept in {folder}")]
    Io { folder: PathBuf, source: io::Error },
}

/// Where the parts of a pinned VMM are.
#[derive(Clone, Debug)]
pub struct Layout {
    pub program: PathBuf,
    pub loader: PathBuf,
    pub libraries: PathBuf,
    pub firmware: PathBuf,
    pub modules: PathBuf,
}

impl Layout {
    pub fn of(folder: &Path) -> Self {
        Self {
            program: folder.join("qemu-system-x86_64"),
            loader: folder.join("ld.so"),
            libraries: folder.join("libraries"),
            firmware: folder.join("firmware"),
            modules: folder.join("modules"),
        }
    }
}

/// What was installed when a VMM was kept.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    hash: String,
    sources: Vec<Stamp>,
}

/// Keeps the installed QEMU in `data/vmm`, unless it is there already. Takes a millisecond when it is, and
/// some hundred when it is not. Blocks.
pub fn pin(data: &Path) -> Result<PinnedVmm, PinError> {
    let program = sources::program().ok_or(PinError::Missing)?;
    pin_program(data, &program)
}

/// The same for a QEMU of the caller's choice.
pub fn pin_program(data: &Path, program: &Path) -> Result<PinnedVmm, PinError> {
    if !program.exists() {
        return Err(PinError::NotThere(program.into()));
    }
    let store = data.join("vmm");
    let failed = |source| PinError::Io {
        folder: store.clone(),
        source,
    };
    if let Some(pinned) = remembered(&store, program) {
        return Ok(pinned);
    }
    fs::create_dir_all(&store).map_err(failed)?;
    let sources = sources::find(program)?;
    let stamps = sources
        .iter()
        .map(|source| Stamp::of(&source.from))
        .collect::<io::Result<_>>();
    let stamps = stamps.map_err(failed)?;
    let pinned = keep(&store, &sources).map_err(failed)?;
    let remembered = Remembered {
        hash: pinned.hash.clone(),
        sources: stamps,
    };
    let text = serde_json::to_vec_pretty(&remembered)
        .map_err(io::Error::from)
        .map_err(failed)?;
    replace(&store.join("sources.json"), &text).map_err(failed)?;
    Ok(pinned)
}

fn remembered(store: &Path, program: &Path) -> Option<PinnedVmm> {
    let remembered: Remembered =
        serde_json::from_slice(&fs::read(store.join("sources.json")).ok()?).ok()?;
    let unchanged = |stamp: &Stamp| Stamp::of(&stamp.path).is_ok_and(|now| now == *stamp);
    let same_program = remembered
        .sources
        .first()
        .is_some_and(|first| first.path == program);
    let folder = store.join(&remembered.hash);
    let whole = Layout::of(&folder).modules.is_dir();
    (same_program && remembered.sources.iter().all(unchanged) && whole).then_some(PinnedVmm {
        folder,
        hash: remembered.hash,
    })
}

/// Copies the sources into a folder named by their hash.
fn keep(store: &Path, sources: &[Source]) -> io::Result<PinnedVmm> {
    let unfinished = store.join(unfinished_name());
    let outcome = keep_in(store, sources, &unfinished);
    if outcome.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    outcome
}

fn keep_in(store: &Path, sources: &[Source], unfinished: &Path) -> io::Result<PinnedVmm> {
    // A QEMU that is built in one piece has none, and is started with the empty folder.
    let modules = |folder: &Path| fs::create_dir_all(Layout::of(folder).modules);
    modules(unfinished)?;
    let mut whole = digest::Context::new(&digest::SHA256);
    for source in sources {
        let to = unfinished.join(&source.to);
        fs::create_dir_all(to.parent().expect("every part lies in the folder"))?;
        let content = fs::read(&source.from)?;
        whole.update(source.to.as_os_str().as_encoded_bytes());
        whole.update(digest::digest(&digest::SHA256, &content).as_ref());
        fs::write(&to, &content)?;
        fs::set_permissions(&to, fs::metadata(&source.from)?.permissions())?;
        File::open(&to)?.sync_all()?;
    }
    // 64 bits tell apart what one host ever has installed.
    let hash = hex::encode(&whole.finish().as_ref()[..8]);
    let folder = store.join(&hash);
    match fs::rename(unfinished, &folder) {
        Ok(()) => File::open(store)?.sync_all()?,
        // Kept already, perhaps by somebody else a moment ago.
        Err(_) if folder.is_dir() => {
            fs::remove_dir_all(unfinished)?;
            // Earlier versions kept no empty one.
            modules(&folder)?;
        }
        Err(error) => return Err(error),
    }
    Ok(PinnedVmm { folder, hash })
}

/// Replaces a file in one step.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_file_name(unfinished_name());
    fs::write(&unfinished, content)?;
    fs::rename(&unfinished, path)
}

/// A name that nobody else uses now.
fn unfinished_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!(
        ".unfinished-{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vmm_without_modules_has_an_empty_folder_of_them() {
        let store = tempfile::tempdir().unwrap();
        let program = Source {
            from: "/bin/true".into(),
            to: "qemu-system-x86_64".into(),
        };
        let kept = keep(store.path(), std::slice::from_ref(&program)).unwrap();
        let modules = Layout::of(&kept.folder).modules;
        assert!(modules.is_dir());
        fs::remove_dir(&modules).unwrap();
        assert_eq!(keep(store.path(), &[program]).unwrap().hash, kept.hash);
        assert!(modules.is_dir());
    }
}
