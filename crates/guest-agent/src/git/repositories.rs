//! What each repository below the workspaces' folder has that is nowhere else.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guest_protocol::frames::{self, repositories::Repository};

use super::command::Git;
use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, Outcome};

/// Folders looked into, and how deep.
const MAX_FOLDERS: usize = 20_000;
const MAX_DEPTH: usize = 4;
/// How long Git may think about one question.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn serve(machine: &'static Machine, call: Call) -> Outcome {
    let found = find_all(machine).await?;
    let mut repositories = Vec::with_capacity(found.len());
    for path in found {
        repositories.push(look_at(machine, &path).await);
    }
    call.answer(Answer::Repositories(frames::Repositories { repositories }))
        .await
}

/// Those below the workspaces' folder.
pub async fn find_all(machine: &'static Machine) -> Result<Vec<PathBuf>, CallError> {
    let root = machine.workspaces();
    machine.threads.run_slowly(move || Ok(find(&root))).await
}

/// Repositories in the order of their paths; what lies within one is not looked for.
fn find(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = VecDeque::from([(root.to_owned(), 0)]);
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop_front() {
        seen += 1;
        if seen > MAX_FOLDERS {
            break;
        }
        if folder.join(".git").exists() {
            found.push(folder);
            continue;
        }
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let plain = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if plain && depth < MAX_DEPTH && entry.file_name() != "node_modules" {
                folders.push_back((entry.path(), depth + 1));
            }
        }
    }
    found.sort();
    found
}

async fn look_at(machine: &'static Machine, path: &Path) -> Repository {
    let mut repository = Repository {
        path: path.to_string_lossy().into_owned(),
        ..Repository::default()
    };
    if let Err(error) = fill(machine, path, &mut repository).await {
        repository.error = error;
    }
    repository
}

async fn fill(
    machine: &'static Machine,
    path: &Path,
    repository: &mut Repository,
) -> Result<(), String> {
    let status = [
        "status",
        "--porcelain=v2",
        "--branch",
        "-z",
        "--untracked-files=all",
    ];
    let status = Status::parse(&git(machine, path, &status).await?);
    repository.branch = status.branch;
    repository.uncommitted = status.changed;
    let remotes = git(machine, path, &["remote"]).await?;
    repository.no_remote = remotes.trim().is_empty();
    if status.has_commits {
        // HEAD too: a detached one is on no branch.
        let unpushed = [
            "rev-list",
            "--count",
            "HEAD",
            "--branches",
            "--not",
            "--remotes",
        ];
        let count = git(machine, path, &unpushed).await?;
        repository.unpushed = count
            .trim()
            .parse()
            .map_err(|_| "git counted oddly".to_owned())?;
    }
    let stashes = git(machine, path, &["stash", "list"]).await?;
    repository.stashes = stashes.lines().count() as u32;
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Status {
    branch: String,
    changed: u32,
    has_commits: bool,
}

impl Status {
    fn parse(text: &str) -> Self {
        let mut status = Self::default();
        let mut entries = text.split('\0').filter(|entry| !entry.is_empty());
        while let Some(entry) = entries.next() {
            if let Some(head) = entry.strip_prefix("# branch.head ") {
                status.branch = if head == "(detached)" {
                    String::new()
                } else {
                    head.into()
                };
            } else if let Some(commit) = entry.strip_prefix("# branch.oid ") {
                status.has_commits = commit != "(initial)";
            } else if !entry.starts_with('#') {
                status.changed += 1;
                if entry.starts_with("2 ") {
                    // A rename: its old name is an entry of its own.
                    entries.next();
                }
            }
        }
        status
    }
}

/// The error is a sentence.
async fn git(machine: &'static Machine, path: &Path, arguments: &[&str]) -> Result<String, String> {
    let git = Git::new(machine, path);
    match tokio::time::timeout(PATIENCE, git.ask(arguments)).await {
        Ok(Ok(answer)) => Ok(String::from_utf8_lossy(&answer).into_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("git {} did not come to an end", arguments[0])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_counts_files_and_not_old_names() {
        let text = "# branch.oid 1234\0# branch.head main\x001 .M N... 100644 100644 100644 a b x y\0\
            2 R. N... 100644 100644 100644 a b R100 new\0old\0? untracked\0";
        let expected = Status {
            branch: "main".into(),
            changed: 3,
            has_commits: true,
        };
        assert_eq!(Status::parse(text), expected);
    }
}
