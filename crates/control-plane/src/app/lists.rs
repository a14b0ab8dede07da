//! Lists of workspaces and their filters.

use control_api::problem::{Kind, Problem};
use control_api::starts::Start;
use control_api::workspaces::{ListWorkspaces, Workspace};
use model::state::State;

use super::identity::Caller;
use super::{App, present};
use crate::fault::{Fault, Outcome};

const STATES: [&str; 7] = [
    "queued",
    "provisioning",
    "running",
    "stopping",
    "stopped",
    "failed",
    "deleting",
];

impl App {
    pub async fn list(&self, caller: &Caller, filter: &ListWorkspaces) -> Outcome<Vec<Workspace>> {
        let states: Vec<&str> = parts(filter.state.as_deref()).collect();
        if let Some(unknown) = states.iter().find(|state| !STATES.contains(state)) {
            let detail = format!(
                "There is no state {unknown:?}; the states are {}.",
                STATES.join(", ")
            );
            return Err(Problem::new(Kind::InvalidField, detail)
                .field("state")
                .into());
        }
        let text = filter.text.as_deref().unwrap_or_default().to_lowercase();
        let rows = self.store.workspaces_of(&caller.user.id).await?;
        let fits = |workspace: &Workspace, state: &State| {
            let url = workspace
                .repository
                .as_ref()
                .map(|repository| repository.url.to_lowercase());
            !matches!(state, State::Deleted { .. })
                && (states.is_empty() || states.contains(&state.name()))
                && parts(filter.label.as_deref()).all(|label| has_label(workspace, label))
                && filter
                    .tag
                    .as_ref()
                    .is_none_or(|tag| workspace.tags.contains(tag))
                && (workspace.name.as_str().contains(&text)
                    || url.is_some_and(|url| url.contains(&text)))
        };
        Ok(rows
            .iter()
            .map(|row| (present::workspace(row), row))
            .filter(|(workspace, row)| fits(workspace, &row.state))
            .map(|(workspace, _)| workspace)
            .collect())
    }

    /// The newest first.
    pub async fn starts_of(&self, caller: &Caller, name_or_id: &str) -> Outcome<Vec<Start>> {
        let row = self.own(caller, name_or_id).await?;
        let has_repository = row.repository.is_some();
        let starts = self.store.starts(&row.id).await?;
        Ok(starts
            .iter()
            .map(|start| present::start(&row.id, start, has_repository))
            .collect())
    }

    pub async fn start_of(&self, caller: &Caller, name_or_id: &str, epoch: u64) -> Outcome<Start> {
        let row = self.own(caller, name_or_id).await?;
        let start = self.store.start(&row.id, epoch).await?.ok_or_else(|| {
            Fault::new(
                Kind::NotFound,
                format!("Start {epoch} of this workspace is not known."),
            )
        })?;
        Ok(present::start(&row.id, &start, row.repository.is_some()))
    }
}

fn parts(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

fn has_label(workspace: &Workspace, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => workspace
            .labels
            .get(key)
            .is_some_and(|found| found == value),
        None => workspace.labels.contains_key(wanted),
    }
}
