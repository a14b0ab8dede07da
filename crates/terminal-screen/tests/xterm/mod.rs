//! Runs `compare.mjs` under node, with packages installed from the lock file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use terminal_screen::Repaint;

use crate::recordings::{Event, encode};

/// A place in a recording and the repaint that stands for everything before it.
pub struct Cut {
    pub event: usize,
    pub byte: usize,
    pub repaint: Repaint,
}

/// How equal cells must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Equality {
    Exact,
    /// A space and an empty cell that look the same count as equal.
    Visible,
}

/// What differs at each of `cuts` or at the end, one line per cut that differs.
pub fn compare(
    name: &str,
    events: &[Event],
    cuts: &[Cut],
    scrollback: usize,
    equality: Equality,
) -> anyhow::Result<Vec<String>> {
    let world = tempfile::tempdir()?;
    let (recording, cut_file) = (world.path().join(name), world.path().join("cuts"));
    std::fs::write(&recording, encode(events))?;
    let mut data: Vec<u8> = Vec::new();
    for cut in cuts {
        let Repaint { bytes, size, .. } = &cut.repaint;
        data.extend((cut.event as u32).to_le_bytes());
        data.extend((cut.byte as u32).to_le_bytes());
        data.extend(size.columns.to_le_bytes());
        data.extend(size.rows.to_le_bytes());
        data.extend((bytes.len() as u32).to_le_bytes());
        data.extend(bytes);
    }
    std::fs::write(&cut_file, data)?;
    let output = Command::new("node")
        .arg(installed()?.join("compare.mjs"))
        .args([&recording, &cut_file])
        .arg(scrollback.to_string())
        .arg(if equality == Equality::Exact {
            "exact"
        } else {
            "visible"
        })
        .output()
        .context("running node")?;
    ensure!(
        output.status.success(),
        "comparing {name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?
        .lines()
        .map(str::to_owned)
        .collect())
}

/// The folder of scripts beside their installed packages.
///
/// It is kept under `ROOST_CACHE`, named by its content, so that a clean clone need not fetch the packages again.
fn installed() -> anyhow::Result<&'static Path> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let result = INSTALLED.get_or_init(|| install().map_err(|error| format!("{error:#}")));
    result
        .as_deref()
        .map_err(|error| anyhow::anyhow!("installing the packages to compare with: {error}"))
}

fn install() -> anyhow::Result<PathBuf> {
    const FILES: [&str; 4] = [
        "package.json",
        "package-lock.json",
        "compare.mjs",
        "state.mjs",
    ];
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/xterm");
    let Some(cache) = std::env::var_os("ROOST_CACHE") else {
        if !source.join("node_modules").exists() {
            npm_ci(&source)?;
        }
        return Ok(source);
    };
    let mut content = Vec::new();
    for file in FILES {
        content.extend(std::fs::read(source.join(file))?);
    }
    let folder = Path::new(&cache).join(format!("terminal-screen-xterm-{:016x}", fnv(&content)));
    if !folder.exists() {
        std::fs::create_dir_all(&cache)?;
        let staging = tempfile::tempdir_in(&cache)?;
        for file in FILES {
            std::fs::copy(source.join(file), staging.path().join(file))?;
        }
        npm_ci(staging.path())?;
        // Another run may have been faster; its folder is as good.
        let renamed = std::fs::rename(staging.path(), &folder);
        ensure!(
            renamed.is_ok() || folder.exists(),
            "keeping the packages in {}",
            folder.display()
        );
    }
    Ok(folder)
}

fn npm_ci(folder: &Path) -> anyhow::Result<()> {
    let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
    let output = Command::new("npm")
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("running npm")?;
    ensure!(
        output.status.success(),
        "npm ci: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// FNV-1a; names a folder, nothing more.
fn fnv(data: &[u8]) -> u64 {
    data.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
    })
}
