//! What a server's workspaces may leave behind on its host, and must not.
//!
//! Other servers may run on the machine, so only what carries a name of this server's counts: the path of its
//! data folder, the ids of its workspaces, and the short names that the host derives from them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// Folders where programs put what is not theirs to keep.
const SHARED: [&str; 5] = ["/tmp", "/var/tmp", "/dev/shm", "/run", "/run/netns"];
/// Tables that have rows for each workspace. Names stay reserved and the audit log is never shortened; a key of
/// idempotency outlives its workspace on purpose, for a day.
const TABLES: [(&str, &str); 3] = [
    ("workspaces", "SELECT COUNT(*) FROM workspaces"),
    ("starts", "SELECT COUNT(*) FROM starts"),
    ("start_steps", "SELECT COUNT(*) FROM start_steps"),
];

/// Looks for traces of one server's workspaces.
#[derive(Debug)]
pub struct Traces {
    data: PathBuf,
    /// Files of the data folder that were there before any workspace.
    before: BTreeSet<String>,
    /// Ids and short names of all workspaces seen so far.
    names: BTreeSet<String>,
}

impl Traces {
    /// For the server on `data`, which has no workspace yet.
    pub fn of(data: &Path) -> Self {
        Self {
            data: data.into(),
            before: files(data),
            names: BTreeSet::new(),
        }
    }

    /// Remembers what the workspaces that run now are called on the host.
    pub fn learn(&mut self) -> anyhow::Result<()> {
        for folder in ["workspaces", "run"] {
            for entry in std::fs::read_dir(self.data.join(folder))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    self.names.insert(name);
                }
            }
        }
        Ok(())
    }

    /// Everything on this machine that belongs to the workspaces learnt.
    pub async fn found(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        self.processes(&mut found);
        for (kind, program, arguments) in [
            ("namespace", "ip", ["netns", "list"]),
            ("interface", "ip", ["-brief", "link"]),
            ("firewall", "nft", ["list", "ruleset"]),
        ] {
            let said = said(program, &arguments);
            let lines = said.lines().filter(|line| self.is_ours(line));
            found.extend(lines.map(|line| format!("{kind}: {}", line.trim())));
        }
        let mounts = std::fs::read_to_string("/proc/mounts")?;
        let mounts = mounts.lines().filter(|line| self.is_ours(line));
        found.extend(mounts.map(|line| format!("mount: {line}")));
        self.groups(Path::new("/sys/fs/cgroup"), 4, &mut found);
        for folder in SHARED {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if self.is_ours(&entry.file_name().to_string_lossy()) {
                    found.insert(format!("file: {}", entry.path().display()));
                }
            }
        }
        let files = files(&self.data);
        found.extend(
            files
                .difference(&self.before)
                .map(|path| format!("file: {path}")),
        );
        self.rows(&mut found).await?;
        Ok(found)
    }

    /// Waits until nothing is found; the error lists what is.
    pub async fn gone(&self, seconds: u64) -> anyhow::Result<()> {
        crate::until("nothing is left behind", seconds, async || {
            let found = self.found().await?;
            anyhow::ensure!(found.is_empty(), "left behind: {found:#?}");
            Ok(Some(()))
        })
        .await
    }

    fn is_ours(&self, text: &str) -> bool {
        self.names.iter().any(|name| text.contains(name.as_str()))
    }

    /// Processes by their arguments, and by the files of workspaces that they hold open.
    fn processes(&self, found: &mut BTreeSet<String>) {
        let folders = ["workspaces/", "run/"].map(|folder| self.data.join(folder));
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let process = entry.file_name().to_string_lossy().into_owned();
            if !process.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if self.is_ours(&line) {
                found.insert(format!("process: {process} {line}"));
            }
            let open = std::fs::read_dir(entry.path().join("fd"));
            let open = open.into_iter().flatten().flatten();
            for path in open.filter_map(|entry| std::fs::read_link(entry.path()).ok()) {
                if folders.iter().any(|folder| path.starts_with(folder)) {
                    found.insert(format!("open file: {} by {process}", path.display()));
                }
            }
        }
    }

    fn groups(&self, folder: &Path, depth: u32, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if self.is_ours(&entry.file_name().to_string_lossy()) {
                found.insert(format!("control group: {}", entry.path().display()));
            } else if depth > 1 {
                self.groups(&entry.path(), depth - 1, found);
            }
        }
    }

    async fn rows(&self, found: &mut BTreeSet<String>) -> anyhow::Result<()> {
        let options = SqliteConnectOptions::new()
            .filename(self.data.join("roost.db"))
            .read_only(true);
        let mut database = SqliteConnection::connect_with(&options)
            .await
            .context("opening the database")?;
        for (table, count) in TABLES {
            let count: i64 = sqlx::query_scalar(count).fetch_one(&mut database).await?;
            if count > 0 {
                found.insert(format!("rows: {count} in {table}"));
            }
        }
        Ok(database.close().await?)
    }
}

/// Parts of the path of a disk's version: `store/TENANT/disks/DISK/VERSION`.
const VERSION_DEPTH: usize = 5;

/// Paths below the data folder that could be a workspace's. The VMM and the images are kept for all of them, and
/// the database and the log change all the time.
fn files(data: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![data.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let below = path.strip_prefix(data).unwrap_or(&path);
            let first = below.components().next();
            let first = first.map(|first| first.as_os_str().to_string_lossy().into_owned());
            let first = first.unwrap_or_default();
            let is_kept = ["vmm", "images", "machine.json", "server.log"].contains(&first.as_str());
            // Packs go with the next collections; of versions none may be left.
            let is_pack = first == "store" && below.components().count() < VERSION_DEPTH;
            let is_pack = is_pack || below.components().any(|part| part.as_os_str() == "packs");
            if is_kept || first.starts_with("roost.db") {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path.clone());
            }
            if !is_pack {
                found.insert(below.display().to_string());
            }
        }
    }
    found
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}
