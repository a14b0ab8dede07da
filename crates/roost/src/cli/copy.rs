//! `roost cp`: files between this machine and a workspace.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use guest_protocol::client::Session;
use guest_protocol::frames::{FileType, FileWrite, StreamClass};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::AsyncWriteExt;

use super::{Api, Output, guest};

#[derive(Debug, Args)]
pub struct Cp {
    /// A local path, or `WORKSPACE:PATH`
    source: String,
    /// The other side: one of both is a workspace's
    target: String,
}

/// One side of a copy.
#[derive(Debug, PartialEq)]
enum Place<'a> {
    Local(&'a Path),
    Guest { workspace: &'a str, path: &'a str },
}

fn place(text: &str) -> Place<'_> {
    match text.split_once(':') {
        // `./a:b` and `/a:b` are local, as with scp.
        Some((workspace, path)) if !workspace.is_empty() && !workspace.contains('/') => {
            Place::Guest { workspace, path }
        }
        _ => Place::Local(Path::new(text)),
    }
}

impl Cp {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        match (place(&self.source), place(&self.target)) {
            (Place::Local(from), Place::Guest { workspace, path }) => {
                let session = guest::session(api, workspace, StreamClass::Bulk).await?;
                upload(&session, from, &absolute(&session, path), output).await
            }
            (Place::Guest { workspace, path }, Place::Local(to)) => {
                let session = guest::session(api, workspace, StreamClass::Bulk).await?;
                download(&session, &absolute(&session, path), to, output).await
            }
            _ => anyhow::bail!("one side is local and the other is WORKSPACE:PATH"),
        }
    }
}

/// Relative paths are below the folder that the editor opens.
fn absolute(session: &Session, path: &str) -> String {
    if path.starts_with('/') {
        return path.into();
    }
    format!("{}/{path}", session.welcome().workspace)
}

async fn upload(session: &Session, from: &Path, to: &str, output: Output) -> anyhow::Result<()> {
    let mut targets = vec![(from.to_owned(), onto(session, from, to).await?)];
    while let Some((from, to)) = targets.pop() {
        let metadata = tokio::fs::metadata(&from)
            .await
            .with_context(|| format!("reading {}", from.display()))?;
        if metadata.is_dir() {
            session.make_directory(&to, true).await?;
            let mut entries = tokio::fs::read_dir(&from).await?;
            while let Some(entry) = entries.next_entry().await? {
                let name = entry.file_name();
                let name = name
                    .to_str()
                    .with_context(|| format!("{name:?} is not UTF-8"))?;
                targets.push((entry.path(), format!("{to}/{name}")));
            }
            continue;
        }
        let file = tokio::fs::File::open(&from)
            .await
            .with_context(|| format!("opening {}", from.display()))?;
        let bar = bar(output, &to, metadata.len());
        let write = FileWrite {
            path: to,
            create: true,
            overwrite: true,
            mode: mode(&metadata),
            make_parents: true,
            ..FileWrite::default()
        };
        session.write_file(write, bar.wrap_async_read(file)).await?;
        bar.finish_and_clear();
    }
    Ok(())
}

/// A folder as the target means: below it, under the source's name.
async fn onto(session: &Session, from: &Path, to: &str) -> anyhow::Result<String> {
    let to = to.trim_end_matches('/');
    match session.stat(to).await {
        Ok(info) if info.r#type() == FileType::Directory => {
            let name = from
                .file_name()
                .and_then(|name| name.to_str())
                .context("the source has no name")?;
            Ok(format!("{to}/{name}"))
        }
        _ => Ok(to.into()),
    }
}

fn mode(metadata: &std::fs::Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}

async fn download(session: &Session, from: &str, to: &Path, output: Output) -> anyhow::Result<()> {
    let name = Path::new(from)
        .file_name()
        .context("the source has no name")?;
    let target = if to.is_dir() {
        to.join(name)
    } else {
        to.to_owned()
    };
    let mut left: Vec<(String, PathBuf)> = vec![(from.into(), target)];
    while let Some((from, to)) = left.pop() {
        let info = session
            .stat(&from)
            .await
            .with_context(|| format!("looking at {from}"))?;
        if info.r#type() == FileType::Directory {
            tokio::fs::create_dir_all(&to).await?;
            for entry in session.list(&from).await? {
                anyhow::ensure!(
                    !entry.name.contains('/'),
                    "the workspace names a file {:?}",
                    entry.name
                );
                left.push((format!("{from}/{}", entry.name), to.join(&entry.name)));
            }
            continue;
        }
        let mut content = session.read_file(&from, 0, 0).await?;
        let mut file = tokio::fs::File::create(&to)
            .await
            .with_context(|| format!("writing {}", to.display()))?;
        let bar = bar(output, &from, info.size);
        while let Some(bytes) = content.next().await? {
            file.write_all(&bytes).await?;
            bar.inc(bytes.len() as u64);
        }
        file.flush().await?;
        let permissions = std::fs::Permissions::from_mode(info.mode & 0o777);
        file.set_permissions(permissions).await?;
        bar.finish_and_clear();
    }
    Ok(())
}

fn bar(output: Output, name: &str, bytes: u64) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}")
            .expect("the template is valid");
    ProgressBar::new(bytes)
        .with_style(style)
        .with_message(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_before_a_colon_is_a_workspace() {
        assert_eq!(
            place("demo:/etc/hosts"),
            Place::Guest {
                workspace: "demo",
                path: "/etc/hosts"
            }
        );
        assert_eq!(
            place("demo:"),
            Place::Guest {
                workspace: "demo",
                path: ""
            }
        );
        assert_eq!(place("./a:b"), Place::Local(Path::new("./a:b")));
        assert_eq!(place("plain"), Place::Local(Path::new("plain")));
    }
}
