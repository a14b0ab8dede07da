//! One repository: that it can be saved, where its parts lie, and what has been saved of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use guest_protocol::frames::failure;

use super::saved::{self, Saved};
use crate::git::command::{Git, GitError};
use crate::machine::Machine;
use crate::session::{CallError, During};
use crate::user;

/// A lock of the index that is younger belongs to a git at work, which leaves the working tree half done.
const AT_WORK: Duration = Duration::from_secs(30);

pub struct Repository {
    pub machine: &'static Machine,
    pub git: Git,
    /// The working tree.
    pub root: PathBuf,
    /// Git's own folder.
    pub dir: PathBuf,
    pub index: PathBuf,
}

impl Repository {
    /// Of the user's, with a working tree.
    pub async fn open(
        machine: &'static Machine,
        path: &Path,
        idle: bool,
    ) -> Result<Self, CallError> {
        let git = Git::new(machine, path).idle(idle);
        let folder = path.to_owned();
        let there =
            move || fs::metadata(&folder).during(|| format!("looking at {}", folder.display()));
        machine.threads.run(there).await?;
        let where_it_lies = [
            "rev-parse",
            "--path-format=absolute",
            "--is-bare-repository",
            "--absolute-git-dir",
            "--git-path",
            "index",
        ];
        let answer = match git.line(&where_it_lies).await {
            Err(GitError::Failed { complaint, .. }) => {
                let message = format!("{} is no repository: {complaint}", path.display());
                return Err(CallError::not_found(message));
            }
            answer => answer?,
        };
        let lines: Vec<&str> = answer.lines().collect();
        let &[bare, dir, index] = lines.as_slice() else {
            return Err(CallError::invalid("its path is not one that git can name"));
        };
        if bare == "true" {
            return Err(CallError::invalid(
                "it is a bare repository: there is no working tree",
            ));
        }
        let root = git.line(&["rev-parse", "--show-toplevel"]).await?;
        let repository = Self {
            machine,
            git,
            root: root.into(),
            dir: dir.into(),
            index: index.into(),
        };
        let (owner, folders) = (
            machine.user.uid,
            [repository.root.clone(), repository.dir.clone()],
        );
        machine
            .threads
            .run(move || {
                for folder in folders {
                    let owned_by = fs::metadata(&folder)
                        .during(|| format!("looking at {}", folder.display()))?
                        .uid();
                    if owned_by != owner {
                        let message = format!(
                            "{} belongs to {}: chown it to have it saved",
                            folder.display(),
                            user::name_of(owned_by)
                        );
                        return Err(CallError::failed(failure::Kind::Permission, message));
                    }
                }
                Ok(())
            })
            .await?;
        Ok(repository)
    }

    /// What has been saved, the newest first.
    pub async fn saved(&self) -> Result<Vec<Saved>, CallError> {
        let listing = ["for-each-ref", saved::FORMAT, saved::PREFIX];
        let listing = self.git.ask(&listing).await?;
        Ok(saved::parse(&String::from_utf8_lossy(&listing)))
    }

    /// The one of that name.
    pub async fn find(&self, reference: &str) -> Result<Saved, CallError> {
        let mut saved = self.saved().await?.into_iter();
        saved
            .find(|saved| saved.reference == reference)
            .ok_or_else(|| CallError::not_found(format!("{reference} is not saved here")))
    }

    /// Fails while git is at work, or with `any` while there is a lock at all.
    pub async fn check_lock(&self, any: bool) -> Result<(), CallError> {
        let lock = self.index.with_extension("lock");
        let work = move || {
            let Ok(own) = fs::symlink_metadata(&lock) else {
                return Ok(());
            };
            let age = own
                .modified()
                .ok()
                .and_then(|at| SystemTime::now().duration_since(at).ok())
                .unwrap_or_default();
            if !any && age > AT_WORK {
                return Ok(());
            }
            let message = format!(
                "git is at work, as {} says: try again, or remove it if no git runs",
                lock.display()
            );
            Err(CallError::busy(message))
        };
        self.machine.threads.run(work).await
    }

    /// What is under way, with what tells it from others of its kind; empty: nothing.
    pub async fn operation(&self) -> Result<String, CallError> {
        let dir = self.dir.clone();
        let work = move || {
            for (name, head) in [
                ("merge", "MERGE_HEAD"),
                ("cherry-pick", "CHERRY_PICK_HEAD"),
                ("revert", "REVERT_HEAD"),
            ] {
                if let Ok(commits) = fs::read_to_string(dir.join(head)) {
                    let commits: Vec<&str> = commits.split_whitespace().collect();
                    return Ok(format!("{name} {}", commits.join(" ")));
                }
            }
            let rebase = ["rebase-merge", "rebase-apply"]
                .iter()
                .any(|name| dir.join(name).exists());
            Ok(if rebase {
                "rebase".into()
            } else {
                String::new()
            })
        };
        self.machine.threads.run(work).await
    }
}
