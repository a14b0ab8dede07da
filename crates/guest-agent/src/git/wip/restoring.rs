//! Making a working tree as it was saved, after saving what is there.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use guest_protocol::frames::{WipRestored, failure};

use super::changes;
use super::repository::Repository;
use super::saved::Saved;
use super::saving::{self, Asked, Done, Kept};
use crate::git::command::{Git, GitError};
use crate::session::CallError;

/// Paths in a message.
const MAX_NAMED: usize = 5;
/// The mode that stands for one.
const SUBMODULE: &str = "160000";

/// The present state, and what differs from it.
pub struct Prepared {
    kept: Box<Kept>,
    differences: Vec<Difference>,
}

/// Saves the present state, and looks at what would be lost all the same. The caller has the repository's turn.
pub async fn prepare(repository: &Repository, wanted: &Saved) -> Result<Prepared, CallError> {
    repository.check_lock(true).await?;
    let operation = repository.operation().await?;
    let head = repository
        .git
        .line(&["rev-parse", "--verify", "-q", "HEAD"]);
    // Fails on a branch without commits.
    let head = head.await.unwrap_or_default();
    let same = wanted.note.operation == operation && wanted.note.head == head;
    if !operation.is_empty() && !same {
        let name = operation.split(' ').next().unwrap_or_default();
        return Err(conflict(format!(
            "a {name} is under way, and this was saved outside of it: finish it or end it with \
             `git {name} --abort`, then restore"
        )));
    }
    let asked = Asked {
        reason: "restore".into(),
        always: true,
        ..Asked::default()
    };
    let Done::Saved(kept) = saving::save(repository, asked).await? else {
        return Err(CallError::broken());
    };
    let differences = differences(&repository.git, &kept.saved.tree, &wanted.tree).await?;
    let (root, all) = (repository.root.clone(), differences.clone());
    let in_the_way = repository
        .machine
        .threads
        .run_slowly(move || Ok(in_the_way(&root, &all)))
        .await?;
    if !in_the_way.is_empty() {
        let named = in_the_way[..in_the_way.len().min(MAX_NAMED)].join(", ");
        let count = in_the_way.len();
        return Err(conflict(format!(
            "{count} paths would be overwritten that cannot be saved first, being ignored, too large or \
             repositories: {named}; move them away, then restore"
        )));
    }
    Ok(Prepared { kept, differences })
}

/// Changes the files. Git looks at all of them before it changes one, and at whether they are still as saved.
pub async fn finish(
    repository: &Repository,
    prepared: Prepared,
    wanted: &Saved,
) -> Result<WipRestored, CallError> {
    let Prepared { kept, differences } = prepared;
    let git = repository.git.with_index(kept.scratch.index());
    let switch = [
        "read-tree",
        "-m",
        "-u",
        "--no-sparse-checkout",
        &kept.saved.tree,
        &wanted.tree,
    ];
    match git.ask(&switch).await {
        Ok(_) => {}
        Err(GitError::Failed { complaint, .. }) => {
            return Err(conflict(format!(
                "files have changed meanwhile, or cannot be written: {complaint}"
            )));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(WipRestored {
        before: kept.saved.reference,
        before_commit: kept.saved.commit,
        files: differences.iter().filter(|one| !one.submodule).count() as u32,
    })
}

fn conflict(message: String) -> CallError {
    CallError::failed(failure::Kind::Conflict, message)
}

/// A path that differs between two trees.
#[derive(Clone, Debug)]
struct Difference {
    name: Vec<u8>,
    kind: Kind,
    /// On one side at least.
    submodule: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Added,
    Deleted,
    /// Such as a file that becomes a symbolic link.
    Retyped,
    Changed,
}

async fn differences(git: &Git, from: &str, to: &str) -> Result<Vec<Difference>, GitError> {
    let arguments = ["diff-tree", "-r", "-z", "--raw", "--no-renames", from, to];
    let answer = git.ask(&arguments).await?;
    let mut entries = answer.split(|byte| *byte == 0);
    let mut differences = Vec::new();
    while let (Some(about), Some(name)) = (entries.next(), entries.next()) {
        let about = changes::text(about);
        differences.push(Difference {
            name: name.into(),
            kind: match about.rsplit(' ').next() {
                Some("A") => Kind::Added,
                Some("D") => Kind::Deleted,
                Some("T") => Kind::Retyped,
                _ => Kind::Changed,
            },
            submodule: about.contains(SUBMODULE),
        });
    }
    Ok(differences)
}

/// What lies where something is to be written and is not among what was saved.
fn in_the_way(root: &Path, differences: &[Difference]) -> Vec<String> {
    let known: HashSet<&[u8]> = differences
        .iter()
        .filter(|one| one.kind == Kind::Deleted)
        .map(|one| one.name.as_slice())
        .collect();
    let mut found = Vec::new();
    for one in differences {
        let path = changes::below(root, &one.name);
        let own = fs::symlink_metadata(&path).ok();
        let folder = own.as_ref().is_some_and(fs::Metadata::is_dir);
        match one.kind {
            // A submodule comes as an empty folder and leaves what is in one alone.
            Kind::Added if folder && one.submodule => {}
            Kind::Added if folder => unknown_within(root, &path, &known, &mut found),
            Kind::Added if own.is_some() => found.push(changes::text(&one.name)),
            // The file would take the place of a submodule's content.
            Kind::Retyped if folder => unknown_within(root, &path, &known, &mut found),
            Kind::Added | Kind::Deleted | Kind::Retyped | Kind::Changed => {}
        }
        if one.kind != Kind::Added {
            continue;
        }
        let folders = path.ancestors().skip(1);
        for folder in folders.take_while(|folder| *folder != root) {
            let file = fs::symlink_metadata(folder).is_ok_and(|own| !own.is_dir());
            let name = relative(root, folder);
            if file && !known.contains(name) {
                found.push(changes::text(name));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn unknown_within(root: &Path, folder: &Path, known: &HashSet<&[u8]>, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        found.push(changes::text(relative(root, folder)));
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unknown_within(root, &path, known, found);
        } else if !known.contains(relative(root, &path)) {
            found.push(changes::text(relative(root, &path)));
        }
    }
}

fn relative<'a>(root: &Path, path: &'a Path) -> &'a [u8] {
    let path = path.strip_prefix(root).unwrap_or(path);
    path.as_os_str().as_encoded_bytes()
}
