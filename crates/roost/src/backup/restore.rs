//! `roost restore`: a data folder from a backup, checked before anybody may use it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Args;
use control_plane::store::copy::{Database, bring_back};

use super::archive::{CONTENTS, FORMAT, HEAD, Hashing, Head, Listed, Part};
use super::{DATABASE, bar, show};
use crate::config::Config;
use crate::host;
use crate::print;

/// Larger ones of the archive's own entries are none.
const LARGEST_TEXT: u64 = 1 << 30;

#[derive(Debug, Args)]
pub struct Restore {
    /// What `roost backup` wrote; `-` is standard input
    file: PathBuf,
    /// The data folder that is made; it must be empty, or not be there
    #[arg(long)]
    data: PathBuf,
}

impl Restore {
    pub fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let data = &self.data;
        if fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some()) {
            bail!(
                "{} is not empty: name a folder that is, or that is not there",
                data.display()
            );
        }
        let parent = data
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        // Beside it, and it gets its name when all of it is found right.
        let work = tempfile::Builder::new()
            .prefix(".roost-restore-")
            .tempdir_in(parent)
            .with_context(|| format!("cannot work in {}", parent.display()))?;
        let files = if self.file == Path::new("-") {
            unpack(io::stdin().lock(), work.path())
        } else {
            File::open(&self.file)
                .map_err(anyhow::Error::from)
                .and_then(|file| unpack(io::BufReader::with_capacity(1 << 20, file), work.path()))
        };
        let files = files.with_context(|| format!("cannot restore {}", self.file.display()))?;
        let progress = bar("verified");
        let store = host::storage(&Config::load(work.path())?)?.store;
        let damage = host_agent::backup::verify(work.path(), store, &mut |done, all| {
            show(&progress, done, all);
        });
        progress.finish_and_clear();
        let damage = damage.context("cannot read the store")?;
        for found in &damage {
            print::remark(format_args!(
                "{} was damaged when it was backed up ({}): blocks {} of {} cannot be read",
                found.object, found.detail, found.blocks, found.version
            ));
        }
        host_agent::backup::at_rest(work.path()).context("cannot read the workspaces' records")?;
        place_database(work.path())?;
        rustix::fs::syncfs(File::open(work.path())?)?;
        if data.exists() {
            fs::remove_dir(data).with_context(|| format!("cannot replace {}", data.display()))?;
        }
        fs::rename(work.path(), data)
            .with_context(|| format!("cannot name the folder {}", data.display()))?;
        File::open(parent)?.sync_all()?;
        if json {
            let answer =
                serde_json::json!({ "data": data, "files": files, "damaged": damage.len() });
            print::line(answer)?;
        } else {
            print::line(format_args!(
                "{files} files, all as they were. Start the server with: roost up --data {}\n\
                 The one that the backup is of must not run any more: both would be the same server.",
                data.display()
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the settings say that the database is.
fn place_database(data: &Path) -> anyhow::Result<()> {
    let config = Config::load(data)?;
    let copy = data.join(DATABASE);
    match Database::of(data, config.database.as_deref()) {
        Database::Sqlite(path) => {
            ensure!(
                !path.exists(),
                "the settings say that the database is {}, which is there: move it away first",
                path.display()
            );
            fs::copy(&copy, &path)
                .with_context(|| format!("cannot write the database {}", path.display()))?;
        }
        Database::Postgres(url) => {
            bring_back(&url, &copy).context("cannot bring the database back into PostgreSQL")?;
        }
    }
    Ok(fs::remove_file(copy)?)
}

/// Writes every file, and compares all of them with the list at the end. Says how many they are.
fn unpack(archive: impl Read, into: &Path) -> anyhow::Result<usize> {
    let mut archive = tar::Archive::new(archive);
    let mut written: HashMap<String, Part> = HashMap::new();
    let mut listed: Option<Vec<Listed>> = None;
    for (number, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        let name = entry
            .path()?
            .to_str()
            .context("a name is no text")?
            .to_owned();
        if number == 0 {
            ensure!(name == HEAD, "it is no backup of Roost's");
            let head: Head = serde_json::from_slice(&text(&mut entry)?)?;
            ensure!(
                head.format <= FORMAT,
                "it was written by Roost {}, which is newer: restore it with that version",
                head.version
            );
            continue;
        }
        if name == CONTENTS {
            listed = Some(serde_json::from_slice(&text(&mut entry)?)?);
            continue;
        }
        let (path, offset) = match name.rsplit_once('@') {
            Some((path, offset)) => (path, u64::from_str_radix(offset, 16)?),
            None => (&name[..], 0),
        };
        let plain = |part| matches!(part, Component::Normal(_));
        ensure!(
            Path::new(path).components().all(plain),
            "{name} is no name of a data folder's"
        );
        let part = write(&mut entry, &into.join(path), offset)
            .with_context(|| format!("cannot write {path}"))?;
        written.insert(name, part);
    }
    let listed = listed.context("its end is missing: it was cut off")?;
    for file in &listed {
        let has_one = file.parts.len() == 1;
        for part in &file.parts {
            let name = if has_one && part.offset == 0 {
                file.path.clone()
            } else {
                format!("{}@{:016x}", file.path, part.offset)
            };
            ensure!(
                written.remove(&name).as_ref() == Some(part),
                "{name} is damaged or missing in it"
            );
        }
        OpenOptions::new()
            .write(true)
            .open(into.join(&file.path))?
            .set_len(file.length)?;
    }
    if let Some(name) = written.keys().next() {
        bail!("{name} does not belong to it");
    }
    Ok(listed.len())
}

fn text(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    entry.take(LARGEST_TEXT).read_to_end(&mut text)?;
    Ok(text)
}

fn write(from: &mut impl Read, path: &Path, offset: u64) -> anyhow::Result<Part> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path.parent().context("it has no folder")?)?;
    // Virtual machines run as users of their own, and read images.
    let is_image = path
        .parent()
        .is_some_and(|folder| folder.ends_with("images"));
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    if is_image {
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    file.seek(io::SeekFrom::Start(offset))?;
    let mut hashing = Hashing::new(from);
    io::copy(&mut hashing, &mut file)?;
    Ok(Part {
        offset,
        length: hashing.length,
        blake3: hashing.sum(),
    })
}
