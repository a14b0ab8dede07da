//! Deletion, and what it would lose.

use std::time::Duration;

use control_api::problem::{Kind, Problem};
use control_api::workspaces::{DeletePreview, Knowledge};
use fleet_api::host::{Observed, RepositoryStatus};
use model::state::{Event, State};

use super::identity::Caller;
use super::work::goes_too;
use super::{App, present};
use crate::fault::Outcome;
use crate::store::workspaces::{Report, WorkspaceRow};

/// A guest that is busy gets so long to say what is in it.
const PATIENCE: Duration = Duration::from_secs(10);

impl App {
    /// What would be lost now, as well as it can be known.
    pub async fn delete_preview(
        &self,
        caller: &Caller,
        name_or_id: &str,
    ) -> Outcome<DeletePreview> {
        let row = self.own(caller, name_or_id).await?;
        self.preview(&row).await
    }

    /// Without `force` only when nothing would be lost.
    pub async fn delete(
        &self,
        caller: &Caller,
        name_or_id: &str,
        force: bool,
    ) -> Outcome<WorkspaceRow> {
        let row = self.own(caller, name_or_id).await?;
        if !force && !matches!(row.state, State::Deleting { .. }) {
            let preview = self.preview(&row).await?;
            if preview.loses_work {
                let detail = format!("{} Delete it with force to lose that.", preview.summary);
                let mut problem = Problem::new(Kind::UnsavedWork, detail);
                problem.repositories = preview.repositories;
                return Err(problem.into());
            }
        }
        self.ask(&caller.user.id, &row.id, &Event::Delete, "workspace.delete")
            .await
    }

    async fn preview(&self, row: &WorkspaceRow) -> Outcome<DeletePreview> {
        let mut preview = self.preview_of_repositories(row).await?;
        preview.saved_work = match preview.knowledge {
            Knowledge::NeverRan => Some(0),
            Knowledge::Current | Knowledge::LastKnown | Knowledge::Unknown => {
                self.count_saved_work(row).await
            }
        };
        preview
            .summary
            .push_str(&goes_too(preview.saved_work.unwrap_or(0)));
        Ok(preview)
    }

    /// None: its host does not say.
    async fn count_saved_work(&self, row: &WorkspaceRow) -> Option<u64> {
        let host = row.host.as_deref().and_then(|host| self.hosts.get(host))?;
        let listing = host.saved_work(&row.id, &row.organization);
        let listing = tokio::time::timeout(PATIENCE, listing).await.ok()?.ok()?;
        Some(listing.saved.len() as u64)
    }

    async fn preview_of_repositories(&self, row: &WorkspaceRow) -> Outcome<DeletePreview> {
        let runs = matches!(row.state, State::Running { .. })
            && matches!(row.observed, Some(Observed::Running { .. }));
        if runs && let Some(report) = self.look_inside(row).await? {
            return Ok(describe(Some(&report), Knowledge::Current));
        }
        if !row.state.placement().disk && !matches!(row.observed, Some(Observed::Running { .. })) {
            return Ok(describe(None, Knowledge::NeverRan));
        }
        // What was seen before it ran again says nothing of what was done since.
        let last = row
            .report
            .as_ref()
            .filter(|_| matches!(row.state, State::Stopped { .. }));
        Ok(match last {
            Some(report) => describe(Some(report), Knowledge::LastKnown),
            None => describe(None, Knowledge::Unknown),
        })
    }

    /// Asks the guest about its repositories and keeps the answer. None: it does not say.
    pub async fn look_inside(&self, row: &WorkspaceRow) -> Outcome<Option<Report>> {
        let host = row.host.as_deref().and_then(|host| self.hosts.get(host));
        let Some(host) = host else { return Ok(None) };
        let Ok(Ok(repositories)) = tokio::time::timeout(PATIENCE, host.repositories(&row.id)).await
        else {
            return Ok(None);
        };
        let report = Report {
            repositories,
            seen_ms: self.world.now_ms(),
        };
        self.change(&row.id, |row, _| {
            row.report = Some(report.clone());
            Ok(Vec::new())
        })
        .await?;
        Ok(Some(report))
    }
}

fn describe(report: Option<&Report>, knowledge: Knowledge) -> DeletePreview {
    let repositories = report
        .map(|report| report.repositories.as_slice())
        .unwrap_or_default();
    let losses: Vec<String> = repositories.iter().filter_map(loss).collect();
    let summary = match (knowledge, losses.is_empty()) {
        (Knowledge::NeverRan, _) => "It never ran, so there is nothing to lose.".into(),
        (Knowledge::Unknown, _) => {
            "Nobody can tell what is in it; start it to see uncommitted and unpushed work.".into()
        }
        (Knowledge::Current | Knowledge::LastKnown, true) => {
            "Its repositories have nothing that is not pushed. Files outside of them are deleted."
                .into()
        }
        (Knowledge::Current | Knowledge::LastKnown, false) => {
            format!("{}.", losses.join("; "))
        }
    };
    DeletePreview {
        loses_work: !losses.is_empty() || knowledge == Knowledge::Unknown,
        knowledge,
        seen_ms: report.map(|report| report.seen_ms),
        repositories: repositories.iter().map(present::report).collect(),
        saved_work: None,
        summary,
    }
}

fn loss(repository: &RepositoryStatus) -> Option<String> {
    let count = |number: u32, one: &str, more: &str| {
        (number > 0).then(|| format!("{number} {}", if number == 1 { one } else { more }))
    };
    let mut parts: Vec<String> = [
        count(
            repository.uncommitted,
            "uncommitted file",
            "uncommitted files",
        ),
        count(repository.unpushed, "unpushed commit", "unpushed commits"),
        count(repository.stashes, "stash", "stashes"),
        repository.no_remote.then(|| "no remote to push to".into()),
        repository
            .error
            .as_ref()
            .map(|error| format!("git cannot tell ({error})")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let last = parts.pop()?;
    let rest = parts.join(", ");
    let what = if rest.is_empty() {
        last
    } else {
        format!("{rest} and {last}")
    };
    Some(format!("{} has {what}", repository.path))
}
