//! Saving one repository: a commit of its working tree, made beside its index and branches.

use std::fs;

use guest_protocol::frames::wip_saved;

use super::changes::{self, Changes, Choice};
use super::repository::Repository;
use super::saved::{self, Note, Saved};
use super::scratch::Scratch;
use crate::figures::now_ms;
use crate::git::command::{Git, GitError};
use crate::session::CallError;

/// Names in an answer, and their bytes.
const MAX_NAMED: usize = 100;
const MAX_NAMED_BYTES: usize = 32 * 1024;
/// Of a reason, characters.
const MAX_REASON: usize = 100;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub reason: String,
    /// Also where nothing is uncommitted.
    pub always: bool,
    /// Also while git is at work.
    pub regardless: bool,
    /// Nothing is done where this is still the fingerprint.
    pub unless: Option<u64>,
}

/// What was done.
pub enum Done {
    /// The fingerprint was the one that was named.
    Unchanged,
    /// Nothing is uncommitted but what is left out.
    Clean {
        fingerprint: u64,
        left_out: Vec<String>,
    },
    Saved(Box<Kept>),
}

/// What is saved, just now or before.
pub struct Kept {
    pub fingerprint: u64,
    pub saved: Saved,
    pub changed: bool,
    pub left_out: Vec<String>,
    /// Has an index of what was saved, with fresh information on the files.
    pub scratch: Scratch,
}

impl Done {
    pub fn fingerprint(&self) -> Option<u64> {
        match self {
            Self::Unchanged => None,
            Self::Clean { fingerprint, .. } => Some(*fingerprint),
            Self::Saved(kept) => Some(kept.fingerprint),
        }
    }

    /// For an answer, without the path.
    pub fn describe(self) -> wip_saved::Repository {
        match self {
            Self::Unchanged => wip_saved::Repository::default(),
            Self::Clean { left_out, .. } => wip_saved::Repository {
                left_out: shortened(left_out),
                ..wip_saved::Repository::default()
            },
            Self::Saved(kept) => wip_saved::Repository {
                reference: kept.saved.reference,
                commit: kept.saved.commit,
                changed: kept.changed,
                files: kept.saved.note.files,
                bytes: kept.saved.note.bytes,
                left_out: shortened(kept.left_out),
                ..wip_saved::Repository::default()
            },
        }
    }
}

/// Saves a repository. The caller has its turn.
pub async fn save(repository: &Repository, asked: Asked) -> Result<Done, CallError> {
    if !asked.regardless {
        repository.check_lock(false).await?;
    }
    let time_ms = now_ms();
    let git = repository.git.clone().at(time_ms);
    let changes = Changes::parse(&git.ask(&changes::STATUS).await?);
    let (fingerprint, changes, choice) = look(repository, changes, asked.unless).await?;
    let Some(choice) = choice else {
        return Ok(Done::Unchanged);
    };
    if changes.is_empty() && !asked.always {
        return Ok(Done::Clean {
            fingerprint,
            left_out: choice.left_out,
        });
    }
    let scratch = Scratch::new(repository.machine).await?;
    scratch.copy_index(&repository.index).await?;
    let git = git.with_index(scratch.index());
    let staged = if changes.conflicts {
        String::new()
    } else {
        git.line(&["write-tree"]).await?
    };
    let tree = tree(&git, &choice).await?;
    let base = if changes.head.is_empty() {
        empty_tree(&tree).to_owned()
    } else {
        let tree_of_head = format!("{}^{{tree}}", changes.head);
        git.line(&["rev-parse", "--verify", &tree_of_head]).await?
    };
    if tree == base && (staged == base || changes.conflicts) && !asked.always {
        return Ok(Done::Clean {
            fingerprint,
            left_out: choice.left_out,
        });
    }
    let kept = |saved, changed| {
        Done::Saved(Box::new(Kept {
            fingerprint,
            saved,
            changed,
            left_out: choice.left_out,
            scratch,
        }))
    };
    let known = repository.saved().await?;
    let last = known
        .iter()
        .find(|saved| saved.branch() == changes.branch)
        .filter(|saved| saved.tree == tree)
        .filter(|saved| saved.note.head == changes.head && saved.note.index == staged);
    if let Some(last) = last {
        return Ok(kept(last.clone(), false));
    }
    let mut note = Note {
        reason: reason(&asked.reason),
        operation: repository.operation().await?,
        head: changes.head,
        index: staged,
        ..Note::default()
    };
    measure(repository, &git, &base, &tree, &mut note).await?;
    let commit = commit(&git, &tree, &note).await?;
    let reference = saved::reference(&changes.branch, time_ms);
    let create = format!("create {reference} {commit}\n");
    git.feed(&["update-ref", "--stdin"], create.as_bytes())
        .await?;
    let saved = Saved {
        reference,
        commit,
        tree,
        time_ms,
        note,
    };
    forget(&git, &saved, known).await;
    Ok(kept(saved, true))
}

/// No choice: the fingerprint is the one that was known.
async fn look(
    repository: &Repository,
    changes: Changes,
    known: Option<u64>,
) -> Result<(u64, Changes, Option<Choice>), CallError> {
    let (root, index) = (repository.root.clone(), repository.index.clone());
    let work = move || {
        let fingerprint = changes.fingerprint(&root, &index);
        let choice = (known != Some(fingerprint)).then(|| changes::choose(&root, &changes));
        Ok((fingerprint, changes, choice))
    };
    repository.machine.threads.run_slowly(work).await
}

async fn tree(git: &Git, choice: &Choice) -> Result<String, GitError> {
    let remove = ["update-index", "--force-remove", "-z", "--stdin"];
    let add = [
        "update-index",
        "--add",
        "--remove",
        "--replace",
        "-z",
        "--stdin",
    ];
    for (arguments, names) in [(&remove[..], &choice.remove), (&add[..], &choice.add)] {
        if !names.is_empty() {
            let mut input = names.join(&0);
            input.push(0);
            git.feed(arguments, &input).await?;
        }
    }
    git.line(&["write-tree"]).await
}

async fn commit(git: &Git, tree: &str, note: &Note) -> Result<String, GitError> {
    let mut parents = Vec::new();
    if !note.head.is_empty() {
        parents.push(note.head.clone());
    }
    if !note.index.is_empty() {
        let index = commit_tree(git, &note.index, &parents, "Index of work in progress\n").await?;
        parents.push(index);
    }
    commit_tree(git, tree, &parents, &note.message()).await
}

async fn commit_tree(
    git: &Git,
    tree: &str,
    parents: &[String],
    message: &str,
) -> Result<String, GitError> {
    let mut arguments = vec!["commit-tree", "--no-gpg-sign", tree, "-F", "-"];
    for parent in parents {
        arguments.extend(["-p", parent]);
    }
    let commit = git.feed(&arguments, message.as_bytes()).await?;
    Ok(String::from_utf8_lossy(&commit).trim_end().to_owned())
}

/// Counts what differs from HEAD.
async fn measure(
    repository: &Repository,
    git: &Git,
    base: &str,
    tree: &str,
    note: &mut Note,
) -> Result<(), CallError> {
    let difference = [
        "diff-tree",
        "-r",
        "-z",
        "--numstat",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "--ignore-submodules=all",
        base,
        tree,
    ];
    let difference = git.ask(&difference).await?;
    let mut paths = Vec::new();
    for entry in difference.split(|byte| *byte == 0) {
        let mut fields = entry.splitn(3, |byte| *byte == b'\t');
        let (Some(insertions), Some(deletions), Some(name)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        // Binary files have no lines.
        let lines = |count: &[u8]| changes::text(count).parse().unwrap_or(0);
        note.insertions += lines(insertions);
        note.deletions += lines(deletions);
        paths.push(changes::below(&repository.root, name));
    }
    note.files = paths.len() as u32;
    let work = move || {
        let own = paths
            .iter()
            .filter_map(|path| fs::symlink_metadata(path).ok());
        Ok(own.filter(|own| !own.is_dir()).map(|own| own.len()).sum())
    };
    note.bytes = repository.machine.threads.run_slowly(work).await?;
    Ok(())
}

/// Git knows it without its being there.
fn empty_tree(like: &str) -> &'static str {
    if like.len() == 40 {
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    } else {
        "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"
    }
}

fn shortened(mut names: Vec<String>) -> Vec<String> {
    let mut bytes = 0;
    names.truncate(MAX_NAMED);
    names.retain(|name| {
        bytes += name.len();
        bytes <= MAX_NAMED_BYTES
    });
    names
}

/// Fit for a commit's subject.
fn reason(asked: &str) -> String {
    let words: Vec<&str> = asked.split_whitespace().collect();
    let reason: String = words.join(" ").chars().take(MAX_REASON).collect();
    if reason.is_empty() {
        "asked".into()
    } else {
        reason
    }
}

/// Old references go; their objects go with git's own collection.
async fn forget(git: &Git, newest: &Saved, mut known: Vec<Saved>) {
    known.insert(0, newest.clone());
    let gone: String = saved::superseded(&known, newest.time_ms)
        .into_iter()
        .map(|saved| format!("delete {} {}\n", saved.reference, saved.commit))
        .collect();
    if !gone.is_empty()
        && let Err(error) = git.feed(&["update-ref", "--stdin"], gone.as_bytes()).await
    {
        // Another git has the lock: there is a next time.
        tracing::debug!(%error, "old work in progress stays");
    }
}
