//! Commands on workspaces as a whole.

use anyhow::Context;
use clap::Args;
use control_api::problem::Kind;
use control_api::starts::StartList;
use control_api::workspaces::{
    Console, CreateWorkspace, DeletePreview, Figures, LargestFolders, Workspace, WorkspaceState,
};
use model::Size;
use reqwest::Method;

use super::api::{Refused, path_segment};
use super::output::{bytes, table};
use super::progress::follow_start;
use super::{Api, Output};
use crate::print;

#[derive(Debug, Args)]
pub struct Ls {
    /// Only those in these states, separated by commas
    #[arg(long)]
    state: Option<String>,
    /// Only those with these labels: `key=value` or `key`, separated by commas
    #[arg(long)]
    label: Option<String>,
    /// Only those with this in their name or repository
    text: Option<String>,
}

impl Ls {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        let filters = [
            ("state", self.state),
            ("label", self.label),
            ("text", self.text),
        ];
        let mut query = url::form_urlencoded::Serializer::new(String::from("?"));
        for (key, value) in filters {
            if let Some(value) = value {
                query.append_pair(key, &value);
            }
        }
        let list = api.workspaces(&query.finish()).await?;
        output.print(&list, |list| {
            let head = ["NAME", "STATE", "REPOSITORY", "SIZE"]
                .map(String::from)
                .to_vec();
            let lines = list.iter().map(line);
            table(&std::iter::once(head).chain(lines).collect::<Vec<_>>())
        })
    }
}

fn line(workspace: &Workspace) -> Vec<String> {
    let repository = workspace
        .repository
        .as_ref()
        .map_or("–", |repository| &repository.url);
    let size = workspace.size;
    vec![
        workspace.name.to_string(),
        state(workspace),
        repository.to_owned(),
        format!("{} CPU, {} MiB", size.vcpus, size.memory_mib),
    ]
}

/// A state in the API's own word.
fn state(workspace: &Workspace) -> String {
    match serde_json::to_value(workspace.state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[derive(Debug, Args)]
pub struct Create {
    /// Git URL; absent: an empty workspace
    repository: Option<String>,
    #[arg(long, short)]
    branch: Option<String>,
    /// Absent: made up from the repository's
    #[arg(long, short)]
    name: Option<String>,
    /// Virtual CPUs
    #[arg(long)]
    cpus: Option<u32>,
    /// Memory in MiB
    #[arg(long)]
    memory: Option<u64>,
    /// Disk in GiB
    #[arg(long)]
    disk: Option<u64>,
    /// `key=value`, any number of times
    #[arg(long, value_parser = key_value)]
    label: Vec<(String, String)>,
    /// Do not wait until it is ready
    #[arg(long)]
    detach: bool,
}

impl Create {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        let usual = Size::default();
        let sized = self.cpus.is_some() || self.memory.is_some() || self.disk.is_some();
        let request = CreateWorkspace {
            name: self.name,
            repository: self.repository,
            branch: self.branch,
            size: sized.then(|| Size {
                vcpus: self.cpus.unwrap_or(usual.vcpus),
                memory_mib: self.memory.unwrap_or(usual.memory_mib),
                disk_gib: self.disk.unwrap_or(usual.disk_gib),
            }),
            labels: self.label.into_iter().collect(),
            tags: Vec::new(),
            fork: None,
        };
        let made: Workspace = api.post("/workspaces", &request).await?;
        settle(api, made, self.detach, output).await
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("a label is written key=value".into()),
    }
}

/// Shows the start unless nobody wants to wait, then the workspace.
pub async fn settle(
    api: &Api,
    begun: Workspace,
    detach: bool,
    output: Output,
) -> anyhow::Result<()> {
    let workspace = match detach {
        true => begun,
        false => follow_start(api, begun.id.as_str(), output).await?,
    };
    let url = format!("{}{}", api.url(), workspace.open_path);
    output.print(&workspace, |workspace| {
        format!("{} is {}: {url}", workspace.name, state(workspace))
    })
}

#[derive(Debug, Args)]
pub struct Start {
    pub workspace: String,
    /// Do not wait until it is ready
    #[arg(long)]
    detach: bool,
}

impl Start {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        let path = format!("/workspaces/{}/start", path_segment(&self.workspace));
        let begun: Workspace = api.post(&path, &serde_json::json!({})).await?;
        settle(api, begun, self.detach, output).await
    }
}

#[derive(Debug, Args)]
pub struct Stop {
    pub workspace: String,
    /// Do not wait until it has stopped
    #[arg(long)]
    detach: bool,
}

impl Stop {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        let wait = if self.detach { "" } else { "?wait=stopped" };
        let path = format!("/workspaces/{}/stop{wait}", path_segment(&self.workspace));
        let workspace: Workspace = api.post(&path, &serde_json::json!({})).await?;
        output.print(&workspace, |workspace| {
            format!("{} is {}.", workspace.name, state(workspace))
        })
    }
}

#[derive(Debug, Args)]
pub struct Rm {
    #[arg(required = true)]
    pub workspaces: Vec<String>,
    /// Delete though work would be lost
    #[arg(long, short)]
    force: bool,
    /// Do not wait until nothing of them is left
    #[arg(long)]
    detach: bool,
}

impl Rm {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        for name in &self.workspaces {
            let path = format!("/workspaces/{}", path_segment(name));
            if !self.force {
                let preview: DeletePreview = api.get(&format!("{path}/delete-preview")).await?;
                anyhow::ensure!(
                    !preview.loses_work,
                    "{name} is not deleted: {}\nRepeat with --force to delete it all the same.",
                    preview.summary
                );
            }
            api.send(
                Method::DELETE,
                &format!("{path}?force={}", self.force),
                None::<&()>,
            )
            .await?;
        }
        for name in &self.workspaces {
            if !self.detach && is_gone(api, name).await? {
                output.say(&format!("{name} is deleted."));
            } else {
                output.say(&format!("{name} is being deleted."));
            }
        }
        if output.json {
            return print::line(serde_json::json!({ "deleted": self.workspaces }));
        }
        Ok(())
    }
}

/// Waits until nothing of a workspace is left. False: that takes longer than the server waits.
async fn is_gone(api: &Api, name: &str) -> anyhow::Result<bool> {
    let path = format!("/workspaces/{}?wait=deleted", path_segment(name));
    match api.get::<Workspace>(&path).await {
        Ok(workspace) => Ok(workspace.state == WorkspaceState::Deleted),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(Refused(problem)) if problem.kind() == Some(Kind::NotFound) => Ok(true),
            _ => Err(error),
        },
    }
}

#[derive(Debug, Args)]
pub struct Logs {
    pub workspace: String,
    /// Only the console of the machine
    #[arg(long)]
    console: bool,
}

impl Logs {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        let path = format!("/workspaces/{}", path_segment(&self.workspace));
        if self.console {
            let console: Console = api.get(&format!("{path}/console")).await?;
            return output.print(&console, |console| console.text.clone());
        }
        let starts: StartList = api.get(&format!("{path}/starts")).await?;
        output.print(&starts, |starts| {
            let Some(start) = starts.starts.first() else {
                return "It has not been started yet.".into();
            };
            let mut text = String::new();
            for step in &start.steps {
                let took = step
                    .took_ms
                    .map(|took| format!(" ({} ms)", took))
                    .unwrap_or_default();
                text += &format!("{}: {:?}{took}\n", step.title, step.state);
                for log in step
                    .log
                    .lines()
                    .chain(step.failure.iter().map(|failure| failure.message.as_str()))
                {
                    text += &format!("    {log}\n");
                }
            }
            text.trim_end().to_owned()
        })
    }
}

#[derive(Debug, Args)]
pub struct Du {
    pub workspace: String,
}

impl Du {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        let path = format!("/workspaces/{}", path_segment(&self.workspace));
        let largest: LargestFolders = api.get(&format!("{path}/largest-folders")).await?;
        let figures: Figures = api.get(&format!("{path}/figures")).await?;
        output.print(&largest, |largest| {
            let lines: Vec<_> = largest
                .folders
                .iter()
                .map(|folder| vec![bytes(folder.bytes), folder.path.clone()])
                .collect();
            let (used, total) = (bytes(figures.disk_used), bytes(figures.disk_total));
            format!("{}\n{used} of {total} are used.", table(&lines))
        })
    }
}

#[derive(Debug, Args)]
pub struct Open {
    pub workspace: String,
}

impl Open {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        let workspace = api.workspace(&self.workspace).await?;
        let url = format!("{}{}", api.url(), workspace.open_path);
        let opened = tokio::process::Command::new("xdg-open")
            .arg(&url)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .await;
        if !opened.is_ok_and(|status| status.success()) {
            output.say("No browser could be started here; open this address in yours:");
        }
        output
            .print(&serde_json::json!({ "url": url }), |_| url.clone())
            .context("printing the address")
    }
}
