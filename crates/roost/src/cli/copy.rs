//! `roost cp`: files between this machine and a workspace.
//!
//! - [`upload`], [`download`]: the two directions. Both go over a guest session, so no limit that a proxy sets
//!   on the size of a request is in their way.

mod download;
mod upload;

use std::path::Path;

use clap::Args;
use guest_protocol::client::Session;
use guest_protocol::frames::StreamClass;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Api, Output, guest};

#[derive(Debug, Args)]
#[command(after_help = "\
Folders are copied with all that is in them. A symbolic link is copied as a link. Onto a folder means: into it, \
under the name of the source. Permissions go along. Relative paths in a workspace are below the folder that the \
editor opens.")]
pub struct Cp {
    /// A local path, or `WORKSPACE:PATH`
    source: String,
    /// The other side: one of both is a workspace's
    target: String,
    /// Where the source itself is a link, copy what it leads to
    #[arg(long, short = 'L')]
    follow: bool,
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

/// What was copied.
#[derive(Debug, Default, Serialize)]
struct Copied {
    files: u64,
    folders: u64,
    links: u64,
    bytes: u64,
    /// Neither files, folders nor links: sockets, pipes, devices.
    skipped: Vec<String>,
}

impl Cp {
    /// The workspace that one side names.
    pub fn workspace(&self) -> Option<&str> {
        [&self.source, &self.target]
            .into_iter()
            .find_map(|side| match place(side) {
                Place::Guest { workspace, .. } => Some(workspace),
                Place::Local(_) => None,
            })
    }

    pub async fn run(&self, api: &Api, output: Output) -> anyhow::Result<()> {
        let copied = match (place(&self.source), place(&self.target)) {
            (Place::Local(from), Place::Guest { workspace, path }) => {
                upload::check(from, self.follow)?;
                let session = guest::session(api, workspace, StreamClass::Bulk).await?;
                upload::run(
                    &session,
                    from,
                    &absolute(&session, path),
                    self.follow,
                    output,
                )
                .await?
            }
            (Place::Guest { workspace, path }, Place::Local(to)) => {
                let session = guest::session(api, workspace, StreamClass::Bulk).await?;
                download::run(&session, &absolute(&session, path), to, self.follow, output).await?
            }
            _ => anyhow::bail!("one side is local and the other is WORKSPACE:PATH"),
        };
        for path in &copied.skipped {
            output.say(&format!(
                "{path} is left out: it is neither a file, a folder nor a link."
            ));
        }
        if output.json {
            return output.print(&copied, |_| String::new());
        }
        output.say(&copied.in_words());
        Ok(())
    }
}

impl Copied {
    fn in_words(&self) -> String {
        let count = |number, one: &str, many: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            number => Some(format!("{number} {many}")),
        };
        let parts: Vec<String> = [
            count(self.files, "file", "files"),
            count(self.folders, "folder", "folders"),
            count(self.links, "link", "links"),
        ]
        .into_iter()
        .flatten()
        .collect();
        format!(
            "Copied {}, {}.",
            if parts.is_empty() {
                "nothing".into()
            } else {
                parts.join(", ")
            },
            HumanBytes(self.bytes)
        )
    }
}

/// Relative paths are below the folder that the editor opens.
fn absolute(session: &Session, path: &str) -> String {
    if path.starts_with('/') {
        return path.into();
    }
    format!("{}/{path}", session.welcome().workspace)
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

    #[test]
    fn what_was_copied_is_told_in_words() {
        let copied = Copied {
            files: 3,
            folders: 1,
            bytes: 2048,
            ..Copied::default()
        };
        assert_eq!(copied.in_words(), "Copied 3 files, 1 folder, 2.00 KiB.");
    }
}
