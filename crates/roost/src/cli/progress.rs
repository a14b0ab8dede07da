//! Follows a start: a line per step on a terminal, or one JSON document per change.

use std::time::Duration;

use control_api::starts::{Start, StartList, StepState};
use control_api::workspaces::{CloneStatus, Workspace, WorkspaceState};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Api, Output};

/// How often the server is asked while something goes on.
const INTERVAL: Duration = Duration::from_millis(250);

/// Waits until a start is over, showing its steps; an error when it has failed.
pub async fn follow_start(api: &Api, id: &str, output: Output) -> anyhow::Result<Workspace> {
    let bar = if output.json {
        ProgressBar::hidden()
    } else {
        ProgressBar::new_spinner()
    };
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}")?);
    bar.enable_steady_tick(Duration::from_millis(100));
    let mut shown = Vec::new();
    let mut waiting = String::new();
    loop {
        let workspace = api.workspace(id).await?;
        let starts: StartList = api.get(&format!("/workspaces/{id}/starts")).await?;
        if let Some(start) = starts
            .starts
            .iter()
            .find(|start| start.epoch == workspace.epoch)
        {
            show(start, &mut shown, &bar);
        }
        // What it waits for may need somebody to do something.
        if workspace.detail != waiting && !workspace.ready {
            waiting.clone_from(&workspace.detail);
            if !waiting.is_empty() && workspace.state != WorkspaceState::Failed {
                bar.suspend(|| output.say(&waiting));
            }
        }
        if let Some(outcome) = outcome(&workspace) {
            bar.finish_and_clear();
            return outcome.map(|()| workspace);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn show(start: &Start, shown: &mut Vec<String>, bar: &ProgressBar) {
    for step in &start.steps {
        match step.state {
            StepState::Done | StepState::Failed if !shown.contains(&step.step) => {
                let mark = if step.state == StepState::Done {
                    "✓"
                } else {
                    "✗"
                };
                let seconds = step.took_ms.unwrap_or(0) as f64 / 1000.0;
                bar.println(format!("{mark} {} ({seconds:.1} s)", step.title));
                shown.push(step.step.clone());
            }
            StepState::Running => {
                let percent = step
                    .percent
                    .map(|percent| format!(" {percent} %"))
                    .unwrap_or_default();
                bar.set_message(format!("{}… {}{percent}", step.title, step.detail));
            }
            _ => {}
        }
    }
}

/// `None` while it goes on.
fn outcome(workspace: &Workspace) -> Option<anyhow::Result<()>> {
    if workspace.state == WorkspaceState::Failed {
        let failure = workspace.failure.as_ref();
        let (message, log) = failure.map_or((workspace.detail.as_str(), ""), |failure| {
            (failure.message.as_str(), failure.log.as_str())
        });
        return Some(Err(
            anyhow::anyhow!("{message}\n{log}").context("the start has failed")
        ));
    }
    if let CloneStatus::Failed { failure } = &workspace.clone {
        let error = anyhow::anyhow!("{}\n{}", failure.message, failure.log);
        return Some(Err(
            error.context("the machine runs, but the clone has failed")
        ));
    }
    workspace.ready.then_some(Ok(()))
}
