//! From this machine into a workspace.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use guest_protocol::client::Session;
use guest_protocol::frames::{FileType, FileWrite};

use super::{Copied, Output, bar};

/// Says that a source is missing before anybody is asked for a workspace.
pub fn check(from: &Path, follow: bool) -> anyhow::Result<()> {
    look(from, follow).map(drop)
}

pub async fn run(
    session: &Session,
    from: &Path,
    to: &str,
    follow: bool,
    output: Output,
) -> anyhow::Result<Copied> {
    let mut copied = Copied::default();
    let to = onto(session, from, to).await?;
    let mut left = vec![(from.to_owned(), to, follow)];
    while let Some((from, to, follow)) = left.pop() {
        let metadata = look(&from, follow)?;
        if metadata.is_dir() {
            session.make_directory(&to, true).await?;
            copied.folders += 1;
            left.extend(inside(&from, &to)?);
        } else if metadata.is_symlink() {
            link(session, &from, &to).await?;
            copied.links += 1;
        } else if metadata.is_file() {
            copied.bytes += file(session, &from, &to, &metadata, output).await?;
            copied.files += 1;
        } else {
            copied.skipped.push(from.display().to_string());
        }
    }
    Ok(copied)
}

fn look(path: &Path, follow: bool) -> anyhow::Result<Metadata> {
    let looked = if follow {
        std::fs::metadata(path)
    } else {
        std::fs::symlink_metadata(path)
    };
    looked.with_context(|| format!("reading {}", path.display()))
}

/// A folder as the target means: below it, under the source's name.
async fn onto(session: &Session, from: &Path, to: &str) -> anyhow::Result<String> {
    let to = to.trim_end_matches('/');
    // Also of `.` and `..`, which have names, too.
    let name = || from.canonicalize().ok()?.file_name().map(PathBuf::from);
    match session.stat(to).await {
        Ok(info) if info.r#type() == FileType::Directory => {
            let name = from
                .file_name()
                .map(PathBuf::from)
                .or_else(name)
                .context("the source has no name")?;
            Ok(format!("{to}/{}", text(&name)?))
        }
        _ => Ok(to.into()),
    }
}

fn inside(from: &Path, to: &str) -> anyhow::Result<Vec<(PathBuf, String, bool)>> {
    let reading = || format!("reading {}", from.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(from).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        let name = path.file_name().map(Path::new).unwrap_or(&path);
        let target = format!("{to}/{}", text(name)?);
        entries.push((path, target, false));
    }
    Ok(entries)
}

async fn link(session: &Session, from: &Path, to: &str) -> anyhow::Result<()> {
    let target = std::fs::read_link(from).with_context(|| format!("reading {}", from.display()))?;
    if let Some((parent, _)) = to.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
        session.make_directory(parent, true).await?;
    }
    Ok(session.link(to, text(&target)?).await?)
}

/// Gives the number of bytes.
async fn file(
    session: &Session,
    from: &Path,
    to: &str,
    metadata: &Metadata,
    output: Output,
) -> anyhow::Result<u64> {
    let file = tokio::fs::File::open(from)
        .await
        .with_context(|| format!("opening {}", from.display()))?;
    let bar = bar(output, to, metadata.len());
    let write = FileWrite {
        path: to.into(),
        create: true,
        overwrite: true,
        mode: metadata.permissions().mode() & 0o777,
        make_parents: true,
        ..FileWrite::default()
    };
    let written = session.write_file(write, bar.wrap_async_read(file)).await;
    bar.finish_and_clear();
    Ok(written?.size)
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
