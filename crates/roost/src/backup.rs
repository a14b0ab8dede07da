//! `roost backup`: everything of a data folder that cannot be made anew, in one file.
//!
//! ```text
//! database (a copy) ─┐
//! keys, authority    ├─► what is copied later may go meanwhile, so the store's files get second names first
//! records of disks   │   manifests, and then what they refer to: packs and indexes go an hour later at the soonest
//! images, store     ─┘   ─► one tar file, written from front to back; a list with check sums is its last entry
//! ```
//!
//! What is only in the log of a host is not in it: running workspaces are asked to send what they have first.

mod archive;
pub mod restore;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use control_plane::store::copy;
use host_agent::backup::{Stored, settle};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use self::archive::{Archive, Contents};
use crate::config::{Config, default_data};
use crate::data_folder::DataFolder;
use crate::host;
use crate::print;

/// The copy of the database.
const DATABASE: &str = "database";
/// Files of a data folder, and folders of them, that no new start makes as they were.
const KEPT: [&str; 4] = ["format", "config.toml", "keys", "tls"];
/// Of a workspace's folder. The last one is its disk, if it was not started since disks are what they are now.
const KEPT_OF_WORKSPACE: [&str; 3] = ["host.json", "disk.json", "disk.qcow2"];

#[derive(Debug, Args)]
pub struct Backup {
    /// Where to; `-` is standard output
    file: PathBuf,
    /// The server's data folder
    #[arg(long, env = "ROOST_DATA")]
    data: Option<PathBuf>,
    /// Leave the guest images out: for a machine that has the same ones
    #[arg(long)]
    without_images: bool,
}

impl Backup {
    pub async fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let path = self.data.clone().unwrap_or_else(default_data);
        let config = Config::load(&path)?;
        let data = DataFolder::visit(&path)?;
        let workspaces = settle(data.path(), host::storage(&config)?.store)
            .await
            .context("cannot look at the workspaces")?;
        let work = tempfile::Builder::new()
            .prefix("backup-")
            .tempdir_in(data.path())
            .context("cannot work in the data folder")?;
        let database = work.path().join(DATABASE);
        copy::copy(data.path(), config.database.as_deref(), &database)
            .await
            .context("cannot copy the database")?;
        let contents = self.contents(data.path(), work.path(), database)?;
        let written = if self.file == Path::new("-") {
            write(io::stdout().lock(), &contents).map(drop)
        } else {
            write_file(&self.file, &contents)
        };
        written.with_context(|| format!("cannot write {}", self.file.display()))?;
        report(&self.file, &contents, &workspaces, json)?;
        Ok(ExitCode::SUCCESS)
    }

    /// What goes in, in order. Small things first, the store last.
    fn contents(&self, data: &Path, work: &Path, database: PathBuf) -> anyhow::Result<Contents> {
        let mut contents = Contents::default();
        contents.file(DATABASE, database)?;
        for name in KEPT {
            contents.all(data, Path::new(name))?;
        }
        for workspace in names(&data.join("workspaces"))? {
            let folder = Path::new("workspaces").join(workspace);
            for name in KEPT_OF_WORKSPACE {
                contents.all(data, &folder.join(name))?;
            }
        }
        if !self.without_images {
            for image in names(&data.join("images"))? {
                // The others say how an image looked on this machine.
                let is_image = !["verified", "sums", "unfinished"]
                    .iter()
                    .any(|kind| image.contains(&format!(".{kind}")));
                if is_image {
                    contents.all(data, &Path::new("images").join(image))?;
                }
            }
        }
        link_store(&data.join("store"), &work.join("store"))?;
        contents.all(work, Path::new("store"))?;
        Ok(contents)
    }
}

/// Names in a folder, in order; none if it is not there.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    let names: io::Result<Vec<String>> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect();
    let mut names = names.with_context(|| format!("cannot read {}", folder.display()))?;
    names.sort();
    Ok(names)
}

/// Times that a store is looked at whose disks are replaced all the time.
const LOOKS: usize = 20;

/// Gives every file of the store that matters a second name. What a version needs goes when others have replaced it, so
/// all of it is there if the version still is when everything has its name; the others are looked at again.
fn link_store(store: &Path, into: &Path) -> anyhow::Result<()> {
    for _ in 0..LOOKS {
        for kind in ["disks", "indexes", "packs"] {
            for tenant in names(store)? {
                let (from, into) = (store.join(&tenant), into.join(&tenant));
                link_all(&from.join(kind), &into.join(kind))?;
            }
        }
        if !unlink_replaced(store, into)? {
            return Ok(());
        }
    }
    anyhow::bail!("the disks change too fast to be copied: try again when there is less to do");
}

/// Takes the versions out that are no longer in the store. Says whether there were any.
fn unlink_replaced(store: &Path, into: &Path) -> anyhow::Result<bool> {
    let mut found = false;
    for tenant in names(into)? {
        let disks = Path::new(&tenant).join("disks");
        for disk in names(&into.join(&disks))? {
            for version in names(&into.join(&disks).join(&disk))? {
                let version = disks.join(&disk).join(version);
                if !store.join(&version).exists() {
                    fs::remove_file(into.join(version))?;
                    found = true;
                }
            }
        }
    }
    Ok(found)
}

fn link_all(from: &Path, into: &Path) -> anyhow::Result<()> {
    for name in names(from)? {
        let (from, into) = (from.join(&name), into.join(&name));
        if from.is_dir() {
            link_all(&from, &into)?;
        // What is being written has a number behind its name.
        } else if !name.contains('#') {
            let folder = into.parent().expect("it was joined");
            let linked = fs::create_dir_all(folder).and_then(|()| fs::hard_link(&from, &into));
            match linked {
                // It was replaced, or nobody needed it; or it has its second name.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
                    ) => {}
                linked => linked.with_context(|| format!("cannot link {}", from.display()))?,
            }
        }
    }
    Ok(())
}

/// There is no half a backup under the name: it gets it when it is whole.
fn write_file(path: &Path, contents: &Contents) -> anyhow::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let attempt = || -> anyhow::Result<()> {
        // It has keys in it.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        write(io::BufWriter::with_capacity(1 << 20, file), contents)?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&unfinished, path)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        Ok(File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?)
    };
    attempt().inspect_err(|_| {
        let _ = fs::remove_file(&unfinished);
    })
}

fn write<W: Write>(out: W, contents: &Contents) -> anyhow::Result<W> {
    let bar = bar("backed up");
    let mut archive = Archive::new(out, |done, all| show(&bar, done, all))?;
    archive.write(contents)?;
    bar.finish_and_clear();
    archive.finish()
}

/// Shown where somebody looks on; in a pipe it is not there.
fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bytes} of {total_bytes} {msg} {wide_bar} {eta}");
    bar.with_style(style.expect("a constant template"))
        .with_message(what)
}

fn show(bar: &ProgressBar, done: u64, all: u64) {
    bar.set_length(all);
    bar.set_position(done);
}

fn report(
    file: &Path,
    contents: &Contents,
    workspaces: &[Stored],
    json: bool,
) -> anyhow::Result<()> {
    let (files, bytes) = (contents.files(), contents.bytes());
    // The archive itself may be what standard output has.
    if json && file != Path::new("-") {
        let workspaces: Vec<_> = workspaces
            .iter()
            .map(|stored| {
                json!({
                    "name": stored.workspace,
                    "stored_ms": stored.newest_ms,
                    "settled": stored.settled,
                })
            })
            .collect();
        return print::line(
            json!({ "file": file, "files": files, "bytes": bytes, "workspaces": workspaces }),
        );
    }
    for stored in workspaces {
        let name = &stored.workspace;
        match stored.newest_ms {
            _ if stored.settled => print::remark(format_args!("{name}: as it is now")),
            Some(written_ms) => {
                let seconds = now_ms().saturating_sub(written_ms) / 1000;
                print::remark(format_args!("{name}: as it was stored {seconds} s ago"));
            }
            None => print::remark(format_args!("{name}: nothing is stored of its disk yet")),
        }
    }
    print::remark(format_args!(
        "{files} files, {} MB. The backup has the keys to everything in it: keep it as you keep those.",
        bytes / 1_000_000
    ));
    Ok(())
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
