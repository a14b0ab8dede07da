//! From a workspace to this machine.
//!
//! What a workspace says is not believed: its names stay below the target, and nothing is written through a
//! link that it made.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use guest_protocol::client::Session;
use guest_protocol::frames::{FileInfo, FileType};
use tokio::io::AsyncWriteExt;

use super::{Copied, Output, bar};

/// One of those that are still to be copied.
struct Left {
    from: String,
    to: PathBuf,
    info: FileInfo,
    /// Named by the user; others were named by the workspace.
    named: bool,
}

pub async fn run(
    session: &Session,
    from: &str,
    to: &Path,
    follow: bool,
    output: Output,
) -> anyhow::Result<Copied> {
    let mut copied = Copied::default();
    let info = if follow {
        FileInfo {
            symlink: false,
            ..session.stat(from).await?
        }
    } else {
        session.stat_link(from).await?
    };
    let mut left = vec![Left {
        from: match from.trim_end_matches('/') {
            "" => "/".into(),
            from => from.into(),
        },
        to: onto(from, to)?,
        info,
        named: true,
    }];
    // Set last: a folder that may not be written to is filled before.
    let mut folders = Vec::new();
    while let Some(one) = left.pop() {
        let making = || format!("making {}", one.to.display());
        if one.info.symlink {
            link(&one).with_context(making)?;
            copied.links += 1;
            continue;
        }
        match one.info.r#type() {
            FileType::Directory => {
                if folder(&one).with_context(making)? {
                    folders.push((one.to.clone(), one.info.mode));
                }
                copied.folders += 1;
                for info in session.list(&one.from).await? {
                    left.push(inside(&one, info)?);
                }
            }
            FileType::File => {
                copied.bytes += file(session, &one, output).await?;
                copied.files += 1;
            }
            _ => copied.skipped.push(one.from),
        }
    }
    for (folder, mode) in folders.into_iter().rev() {
        std::fs::set_permissions(&folder, Permissions::from_mode(mode & 0o777))
            .with_context(|| format!("making {}", folder.display()))?;
    }
    Ok(copied)
}

/// A folder as the target means: below it, under the source's name.
fn onto(from: &str, to: &Path) -> anyhow::Result<PathBuf> {
    if !to.is_dir() {
        return Ok(to.to_owned());
    }
    let name = Path::new(from)
        .file_name()
        .context("the source has no name")?;
    Ok(to.join(name))
}

fn inside(folder: &Left, info: FileInfo) -> anyhow::Result<Left> {
    let name = &info.name;
    anyhow::ensure!(
        !name.is_empty() && name != "." && name != ".." && !name.contains('/'),
        "the workspace names a file {name:?}"
    );
    Ok(Left {
        from: format!("{}/{name}", folder.from),
        to: folder.to.join(name),
        info,
        named: false,
    })
}

fn link(one: &Left) -> std::io::Result<()> {
    if one.to.symlink_metadata().is_ok_and(|there| !there.is_dir()) {
        std::fs::remove_file(&one.to)?;
    }
    std::os::unix::fs::symlink(&one.info.link_target, &one.to)
}

/// Whether the folder was not there before.
fn folder(one: &Left) -> std::io::Result<bool> {
    match std::fs::create_dir(&one.to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let there = if one.named {
                std::fs::metadata(&one.to)?
            } else {
                std::fs::symlink_metadata(&one.to)?
            };
            if there.is_dir() {
                Ok(false)
            } else {
                Err(error)
            }
        }
        Err(error) => Err(error),
    }
}

/// Gives the number of bytes.
async fn file(session: &Session, one: &Left, output: Output) -> anyhow::Result<u64> {
    let writing = || format!("writing {}", one.to.display());
    let mut content = session.read_file(&one.from, 0, 0).await?;
    let mut target = Target::open(one).with_context(writing)?;
    let bar = bar(output, &one.from, one.info.size);
    let mut size = 0;
    while let Some(bytes) = content.next().await? {
        target.file.write_all(&bytes).await.with_context(writing)?;
        size += bytes.len() as u64;
        bar.inc(bytes.len() as u64);
    }
    target.finish(one).await.with_context(writing)?;
    bar.finish_and_clear();
    Ok(size)
}

/// The local file. It appears when it is whole; what is no ordinary file, such as `/dev/stdout`, is written to.
struct Target {
    file: tokio::fs::File,
    /// Takes the place of the path, which is where a link of the user's leads.
    beside: Option<(tempfile::TempPath, PathBuf)>,
}

impl Target {
    fn open(one: &Left) -> std::io::Result<Self> {
        let path = match one.named {
            true => one.to.canonicalize().unwrap_or_else(|_| one.to.clone()),
            false => one.to.clone(),
        };
        if one.named && std::fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
            let file = std::fs::File::options().write(true).open(&path)?;
            return Ok(Self {
                file: file.into(),
                beside: None,
            });
        }
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let temporary = tempfile::Builder::new()
            .prefix(".roost-cp-")
            .tempfile_in(folder)?;
        let (file, temporary) = temporary.into_parts();
        Ok(Self {
            file: file.into(),
            beside: Some((temporary, path)),
        })
    }

    async fn finish(mut self, one: &Left) -> std::io::Result<()> {
        self.file.flush().await?;
        let Some((temporary, path)) = self.beside else {
            return Ok(());
        };
        let mode = Permissions::from_mode(one.info.mode & 0o777);
        self.file.set_permissions(mode).await?;
        temporary.persist(path).map_err(|error| error.error)
    }
}
