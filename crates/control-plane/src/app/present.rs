//! Rows in the words of the API.

use control_api::points::Follows;
use control_api::starts::{Start, StartOutcome, Step, StepState};
use control_api::workspaces::{
    Action, CloneStatus, DesiredState, Failure, Repository, RepositoryReport, Workspace,
    WorkspaceState,
};
use fleet_api::host::{CloneState, Observed, RepositoryStatus, STEPS, StartFailure};
use model::WorkspaceId;
use model::state::{self, AfterStop, Desired, State};

use crate::store::starts::{StartRow, StepRow};
use crate::store::workspaces::WorkspaceRow;

/// Where repositories are in a workspace.
pub const FOLDER: &str = "/workspaces";

pub fn workspace(row: &WorkspaceRow) -> Workspace {
    let clone = clone_status(row);
    Workspace {
        id: row.id.clone(),
        name: row.name.clone(),
        owner: row.owner.clone(),
        state: state_name(&row.state),
        desired: match row.state.desired() {
            Desired::Running => DesiredState::Running,
            Desired::Stopped => DesiredState::Stopped,
            Desired::Deleted => DesiredState::Deleted,
        },
        ready: is_ready(row),
        detail: detail(row),
        failure: match &row.state {
            State::Failed { failure, .. } => Some(model_failure(failure)),
            State::Queued { .. }
            | State::Provisioning { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Stopped { .. }
            | State::Deleting { .. }
            | State::Deleted { .. } => None,
        },
        repository: row.repository.as_ref().map(|repository| Repository {
            url: repository.url.clone(),
            branch: repository.branch.clone(),
            folder: format!("{FOLDER}/{}", repository.folder),
        }),
        actions: actions(row, &clone),
        clone,
        needs_credentials: row.needs_credentials.clone(),
        unresponsive: matches!(
            row.observed,
            Some(Observed::Running {
                unresponsive: true,
                ..
            })
        ) && matches!(row.state, State::Running { .. }),
        paused: matches!(row.observed, Some(Observed::Paused { .. }))
            && matches!(
                row.state,
                State::Provisioning { .. } | State::Running { .. }
            ),
        size: row.size,
        forked_from: row
            .origin
            .as_ref()
            .filter(|origin| !origin.is_import())
            .map(|origin| Follows {
                workspace: Some(origin.workspace.clone()),
                number: origin.number,
            }),
        labels: row.labels.clone(),
        tags: row.tags.clone(),
        epoch: row.state.placement().epoch,
        host: row.host.clone(),
        open_path: format!("/open/{}", row.name),
        deadline_ms: row.state.deadline_ms(),
        created_ms: row.created_ms,
        changed_ms: row.changed_ms,
        used_ms: row.used_ms,
        generation: row.generation,
    }
}

pub fn state_name(state: &State) -> WorkspaceState {
    match state {
        State::Queued { .. } => WorkspaceState::Queued,
        State::Provisioning { .. } => WorkspaceState::Provisioning,
        State::Running { .. } => WorkspaceState::Running,
        State::Stopping { .. } => WorkspaceState::Stopping,
        State::Stopped { .. } => WorkspaceState::Stopped,
        State::Failed { .. } => WorkspaceState::Failed,
        State::Deleting { .. } => WorkspaceState::Deleting,
        State::Deleted { .. } => WorkspaceState::Deleted,
    }
}

/// The machine runs and nothing is under way in it.
pub fn is_ready(row: &WorkspaceRow) -> bool {
    matches!(row.state, State::Running { .. })
        && matches!(
            row.observed,
            Some(Observed::Running {
                clone: CloneState::Ready | CloneState::Failed { .. },
                ..
            })
        )
}

/// What there is to say, in words.
pub fn detail(row: &WorkspaceRow) -> String {
    let said = match &row.state {
        State::Queued { waiting, .. } => waiting.clone(),
        State::Failed { failure, .. } => Some(failure.message.clone()),
        State::Running {
            silent_since_ms: Some(_),
            ..
        } => Some("Its host does not answer at the moment.".into()),
        State::Running {
            silent_since_ms: None,
            ..
        } => match &row.observed {
            Some(Observed::Paused { reason, .. }) => Some(reason.clone()),
            Some(Observed::Running {
                clone: CloneState::Failed { failure },
                ..
            }) => Some(failure.message.clone()),
            Some(Observed::Running {
                unresponsive: true, ..
            }) => Some("The workspace does not answer. Stop and start it if that lasts.".into()),
            Some(_) | None => None,
        },
        State::Stopping {
            then: AfterStop::Start,
            ..
        } => Some("It starts again as soon as it has stopped.".into()),
        State::Stopping {
            then: AfterStop::Fail { failure },
            ..
        } => Some(failure.message.clone()),
        State::Provisioning { .. } => match &row.observed {
            Some(Observed::Paused { reason, .. }) => Some(reason.clone()),
            Some(_) | None => None,
        },
        State::Stopping {
            then: AfterStop::Rest,
            ..
        }
        | State::Stopped { .. }
        | State::Deleting { .. }
        | State::Deleted { .. } => None,
    };
    said.unwrap_or_else(|| row.detail.clone())
}

fn actions(row: &WorkspaceRow, clone: &CloneStatus) -> Vec<Action> {
    let mut actions = match &row.state {
        State::Queued { .. } | State::Provisioning { .. } | State::Running { .. } => {
            vec![Action::Stop, Action::Delete]
        }
        State::Stopping { .. } => vec![Action::Start, Action::Stop, Action::Delete],
        State::Stopped { .. } => vec![Action::Start, Action::Delete],
        State::Failed { .. } => vec![Action::Start, Action::Stop, Action::Delete],
        State::Deleting { .. } => vec![Action::Delete],
        State::Deleted { .. } => vec![],
    };
    if matches!(clone, CloneStatus::Failed { .. }) {
        actions.push(Action::RetryClone);
    }
    actions
}

fn clone_status(row: &WorkspaceRow) -> CloneStatus {
    match (&row.state, &row.repository, &row.observed) {
        (State::Running { .. }, Some(_), Some(Observed::Running { clone, .. })) => match clone {
            CloneState::Ready => CloneStatus::Ready,
            CloneState::Running => CloneStatus::Running,
            CloneState::Failed { failure } => CloneStatus::Failed {
                failure: host_failure(failure),
            },
        },
        _ => CloneStatus::None,
    }
}

pub fn report(status: &RepositoryStatus) -> RepositoryReport {
    RepositoryReport {
        path: status.path.clone(),
        branch: status.branch.clone(),
        uncommitted: status.uncommitted,
        unpushed: status.unpushed,
        stashes: status.stashes,
        no_remote: status.no_remote,
        error: status.error.clone(),
    }
}

pub fn model_failure(failure: &state::Failure) -> Failure {
    Failure {
        kind: failure.kind.name().into(),
        message: failure.message.clone(),
        log: failure.log.clone(),
    }
}

pub fn host_failure(failure: &StartFailure) -> Failure {
    Failure {
        kind: kind_name(failure),
        message: failure.message.clone(),
        log: failure.log.clone(),
    }
}

/// The host's own name of a kind, in kebab case.
pub fn kind_name(failure: &StartFailure) -> String {
    match serde_json::to_value(failure.kind) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(_) | Err(_) => "internal".into(),
    }
}

/// A timeline, with the steps that are still to come.
pub fn start(workspace: &WorkspaceId, row: &StartRow, has_repository: bool) -> Start {
    let outcome = match row.outcome.as_str() {
        "running" => StartOutcome::Running,
        "failed" => StartOutcome::Failed,
        "cancelled" => StartOutcome::Cancelled,
        _ => StartOutcome::InProgress,
    };
    let over = matches!(outcome, StartOutcome::Failed | StartOutcome::Cancelled);
    let mut steps = Vec::new();
    for (name, title) in STEPS {
        match row.steps.iter().find(|step| step.step == name) {
            Some(found) => steps.push(step(found, over)),
            None if name == "clone" && !has_repository => {}
            None => steps.push(Step {
                step: name.into(),
                title: title.into(),
                state: match outcome {
                    StartOutcome::InProgress => StepState::Waiting,
                    StartOutcome::Running if name == "clone" => StepState::Waiting,
                    StartOutcome::Running | StartOutcome::Failed | StartOutcome::Cancelled => {
                        StepState::Skipped
                    }
                },
                began_ms: None,
                took_ms: None,
                percent: None,
                detail: String::new(),
                failure: None,
                log: String::new(),
            }),
        }
    }
    let other = |step: &&StepRow| STEPS.iter().all(|(name, _)| *name != step.step);
    steps.extend(
        row.steps
            .iter()
            .filter(other)
            .map(|found| step(found, over)),
    );
    Start {
        workspace: workspace.clone(),
        epoch: row.epoch,
        began_ms: row.began_ms,
        ended_ms: row.ended_ms,
        outcome,
        failure: row.failure.as_ref().map(model_failure),
        steps,
    }
}

/// `over`: its start has ended without success.
pub fn step(row: &StepRow, over: bool) -> Step {
    let title = STEPS.iter().find(|(name, _)| *name == row.step);
    Step {
        step: row.step.clone(),
        title: title.map_or_else(|| row.step.clone(), |(_, title)| (*title).into()),
        state: match (&row.failure, row.took_ms) {
            (Some(_), _) => StepState::Failed,
            (None, Some(_)) => StepState::Done,
            (None, None) if over => StepState::Skipped,
            (None, None) => StepState::Running,
        },
        began_ms: Some(row.began_ms),
        took_ms: row.took_ms,
        percent: row.percent,
        detail: row.detail.clone(),
        failure: row.failure.as_ref().map(host_failure),
        log: row.log.clone(),
    }
}
