//! Saved work of a workspace: listed, saved, restored, taken away.

use control_api::work::{
    SaveOutcome, SavedRepository, SavedWork, WorkList, WorkName, WorkProblem, WorkRestored,
    WorkSaved,
};
use fleet_api::Download;
use fleet_api::work::{self, ListedWork};

use super::App;
use super::identity::Caller;
use crate::fault::Outcome;

impl App {
    /// What is saved; of a workspace that never ran: nothing.
    pub async fn work(&self, caller: &Caller, name_or_id: &str) -> Outcome<WorkList> {
        let row = self.own(caller, name_or_id).await?;
        if row.host.is_none() {
            return Ok(WorkList {
                work: Vec::new(),
                current: true,
                problems: Vec::new(),
            });
        }
        let host = self.host_of(&row)?;
        let listing = host.saved_work(&row.id, &row.organization).await?;
        Ok(WorkList {
            work: listing.saved.into_iter().map(present).collect(),
            current: listing.current,
            problems: listing.problems.into_iter().map(problem).collect(),
        })
    }

    pub async fn save_work(&self, caller: &Caller, name_or_id: &str) -> Outcome<WorkSaved> {
        let row = self.own(caller, name_or_id).await?;
        let saved = self.host_of(&row)?.save_work(&row.id).await?;
        Ok(WorkSaved {
            repositories: saved.into_iter().map(outcome).collect(),
        })
    }

    pub async fn restore_work(
        &self,
        caller: &Caller,
        name_or_id: &str,
        name: &WorkName,
    ) -> Outcome<WorkRestored> {
        let row = self.own(caller, name_or_id).await?;
        let restored = self
            .host_of(&row)?
            .restore_work(&row.id, &named(name))
            .await?;
        let (id, now) = (row.id.as_str(), self.world.now_ms());
        let detail = format!("{} {}", name.path, name.reference);
        self.store
            .record(&caller.user.id, "workspace.restore-work", id, &detail, now)
            .await?;
        Ok(WorkRestored {
            before: restored.before,
            files: restored.files,
        })
    }

    /// A git bundle, and what to call its file.
    pub async fn bundle_work(
        &self,
        caller: &Caller,
        name_or_id: &str,
        name: &WorkName,
    ) -> Outcome<(String, Download)> {
        let row = self.own(caller, name_or_id).await?;
        let host = self.host_of(&row)?;
        let bundle = host.bundle_work(&row.id, &row.organization, &named(name));
        Ok((file_name(row.name.as_str(), name), bundle.await?))
    }
}

fn named(name: &WorkName) -> work::WorkName {
    work::WorkName {
        path: name.path.clone(),
        reference: name.reference.clone(),
    }
}

fn present(listed: ListedWork) -> SavedWork {
    let summary = summary(&listed.saved);
    let ListedWork { saved, bundle } = listed;
    SavedWork {
        path: saved.name.path,
        reference: saved.name.reference,
        commit: saved.commit,
        branch: Some(saved.branch).filter(|branch| !branch.is_empty()),
        saved_ms: saved.saved_ms,
        reason: saved.reason,
        operation: Some(saved.operation).filter(|operation| !operation.is_empty()),
        files: saved.files,
        bytes: saved.bytes,
        insertions: saved.insertions,
        deletions: saved.deletions,
        bundle_bytes: bundle,
        summary,
    }
}

/// `3 files (+10 −2) on main, before a stop`.
fn summary(saved: &work::SavedWork) -> String {
    let (more, less) = (saved.insertions, saved.deletions);
    let files = match saved.files {
        0 => "no change".into(),
        1 => format!("1 file (+{more} −{less})"),
        files => format!("{files} files (+{more} −{less})"),
    };
    let place = match saved.branch.as_str() {
        "" => "on no branch".into(),
        branch => format!("on {branch}"),
    };
    let operation = match saved.operation.as_str() {
        "" => String::new(),
        operation => format!(" during a {operation}"),
    };
    let reason = match saved.reason.as_str() {
        "timer" => "saved by itself".into(),
        "stop" => "before a stop".into(),
        "restore" => "before a restore".into(),
        "asked" => "saved on request".into(),
        other => format!("saved for: {other}"),
    };
    format!("{files} {place}{operation}, {reason}")
}

fn problem(problem: work::WorkProblem) -> WorkProblem {
    WorkProblem {
        path: Some(problem.path).filter(|path| !path.is_empty()),
        message: problem.message,
    }
}

fn outcome(saved: work::WorkSaved) -> SavedRepository {
    let empty = SavedRepository {
        path: saved.path,
        outcome: SaveOutcome::Clean,
        reference: None,
        files: 0,
        stored: false,
        left_out: saved.left_out,
        error: None,
    };
    match saved.outcome {
        work::SaveOutcome::Clean => empty,
        work::SaveOutcome::Saved {
            reference,
            files,
            before,
            stored,
        } => SavedRepository {
            outcome: if before {
                SaveOutcome::Unchanged
            } else {
                SaveOutcome::Saved
            },
            reference: Some(reference),
            files,
            stored,
            ..empty
        },
        work::SaveOutcome::Failed { message } => SavedRepository {
            outcome: SaveOutcome::Failed,
            error: Some(message),
            ..empty
        },
    }
}

/// Of letters that every system takes.
fn file_name(workspace: &str, name: &WorkName) -> String {
    let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
    let text = format!("{workspace}-{}-{}", last(&name.path), last(&name.reference));
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let text: String = text
        .chars()
        .map(|letter| if plain(letter) { letter } else { '_' })
        .take(200)
        .collect();
    format!("{text}.bundle")
}

/// How much saved work goes with a workspace, as a sentence; empty: none.
pub fn goes_too(count: u64) -> String {
    match count {
        0 => String::new(),
        1 => " One state of uncommitted work that was saved is deleted too.".into(),
        count => format!(" {count} states of uncommitted work that were saved are deleted too."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_names_that_every_system_takes() {
        let name = |path: &str| WorkName {
            path: path.into(),
            reference: "refs/roost/wip/a/b/20260921T141320.123Z".into(),
        };
        assert_eq!(
            file_name("shop", &name("/workspaces/app")),
            "shop-app-20260921T141320.123Z.bundle"
        );
        assert_eq!(
            file_name("shop", &name("/workspaces/ä \"\r\n")),
            "shop-_____-20260921T141320.123Z.bundle"
        );
    }
}
