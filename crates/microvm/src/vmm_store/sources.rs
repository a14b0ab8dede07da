//! Finds the files of an installed QEMU: program, loader, libraries, firmware, modules.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::PinError;

/// Modules of QEMU that are loaded when they are needed and installed; others come with the program.
const MODULES: &[&str] = &["accel-tcg-x86_64.so"];

/// Firmware that the machine `microvm` loads when it starts a kernel.
const FIRMWARE: &[&str] = &["bios-microvm.bin", "pvh.bin", "linuxboot_dma.bin"];

/// One file to be kept.
#[derive(Debug)]
pub(super) struct Source {
    pub from: PathBuf,
    /// Below the pinned VMM's folder.
    pub to: PathBuf,
}

/// Tells whether a file is still the one it was.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub path: PathBuf,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub fn of(path: &Path) -> io::Result<Self> {
        let data = fs::metadata(path)?;
        let changed = (data.ctime(), data.ctime_nsec());
        Ok(Self {
            path: path.to_owned(),
            inode: data.ino(),
            size: data.len(),
            changed,
        })
    }
}

/// Where QEMU is installed.
pub(super) fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("qemu-system-x86_64"))
        .find(|program| program.is_file())
}

/// Everything that the program needs; the program itself is the first.
pub(super) fn find(program: &Path) -> Result<Vec<Source>, PinError> {
    let incomplete = |what: String| PinError::Incomplete(what);
    // The loader lists what it would load instead of running the program.
    let output = Command::new(program)
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .output();
    let output =
        output.map_err(|error| incomplete(format!("a list of its libraries ({error})")))?;
    let mut loader = None;
    let mut libraries = BTreeMap::new();
    note_libraries(&output.stdout, &mut loader, &mut libraries)?;
    let loader = loader.ok_or_else(|| incomplete("a loader for its libraries".to_owned()))?;

    let mut sources = vec![
        Source {
            from: program.to_owned(),
            to: "qemu-system-x86_64".into(),
        },
        Source {
            from: loader.clone(),
            to: "ld.so".into(),
        },
    ];
    for name in MODULES {
        let Some(module) = module(program, name) else {
            continue;
        };
        let output = Command::new(&loader).arg("--list").arg(&module).output();
        let output = output
            .map_err(|error| incomplete(format!("a list of {name}'s libraries ({error})")))?;
        note_libraries(&output.stdout, &mut None, &mut libraries)?;
        sources.push(Source {
            from: module,
            to: Path::new("modules").join(name),
        });
    }
    for (name, from) in libraries {
        sources.push(Source {
            from,
            to: Path::new("libraries").join(name),
        });
    }
    let folders = firmware_folders(program);
    for name in FIRMWARE {
        let file = folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|file| file.is_file());
        let from = file.ok_or_else(|| incomplete(format!("its firmware {name}")))?;
        sources.push(Source {
            from,
            to: Path::new("firmware").join(name),
        });
    }
    Ok(sources)
}

/// Reads the loader's list: `NAME => PATH (ADDRESS)` for a library, `PATH (ADDRESS)` for the loader itself.
fn note_libraries(
    list: &[u8],
    loader: &mut Option<PathBuf>,
    libraries: &mut BTreeMap<String, PathBuf>,
) -> Result<(), PinError> {
    for line in String::from_utf8_lossy(list).lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(name), Some("=>"), Some("not")) => {
                return Err(PinError::Incomplete(name.to_owned()));
            }
            (Some(name), Some("=>"), Some(path)) => {
                libraries.insert(name.to_owned(), path.into());
            }
            (Some(path), Some(_address), None) if path.starts_with('/') => {
                *loader = Some(path.into())
            }
            _ => {}
        }
    }
    Ok(())
}

fn module(program: &Path, name: &str) -> Option<PathBuf> {
    let prefix = program.parent()?.parent()?;
    ["lib/x86_64-linux-gnu/qemu", "lib64/qemu", "lib/qemu"]
        .iter()
        .map(|folder| prefix.join(folder).join(name))
        .find(|module| module.is_file())
}

fn firmware_folders(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new(program)
        .args(["-L", "help"])
        .output()
        .map(|output| output.stdout);
    String::from_utf8_lossy(&listed.unwrap_or_default())
        .lines()
        .map(PathBuf::from)
        .collect()
}
