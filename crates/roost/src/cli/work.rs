//! `roost work`: uncommitted work that was saved by itself.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::{Args, Subcommand};
use control_api::work::{
    SaveOutcome, SavedRepository, SavedWork, WorkList, WorkName, WorkRestored, WorkSaved,
};
use reqwest::Method;
use serde_json::json;

use super::api::path_segment;
use super::keep::{Saved, keep};
use super::output::table;
use super::{Api, Output};

/// What every name of saved work starts with.
const PREFIX: &str = "refs/roost/wip/";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roost work list shop                                       what is saved, the newest first
  roost work restore shop main/20260921T141320.123Z          the files as they were then
  roost work bundle shop main/20260921T141320.123Z           a git bundle, also when it does not run
  git fetch FILE.bundle 'refs/roost/wip/*:refs/roost/wip/*'   that work in a clone of your own

Work that is in no commit is saved once a minute where something has changed, and before a stop. A restore changes \
files only, and saves what is there first.")]
pub struct Work {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what is saved of a workspace, running or not
    List { workspace: String },
    /// Save uncommitted work of a running workspace now
    Save { workspace: String },
    /// Make a working tree as it was saved; what is there is saved first
    Restore(Named),
    /// Take saved work away as a git bundle
    Bundle {
        #[command(flatten)]
        named: Named,
        /// File to write, `-` for standard output; absent: named after the work, here
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Named {
    workspace: String,
    /// As `roost work list` shows it
    name: String,
    /// Which repository, if several have work of this name
    #[arg(long)]
    path: Option<String>,
}

impl Work {
    pub fn workspace(&self) -> &str {
        match &self.command {
            Command::List { workspace } | Command::Save { workspace } => workspace,
            Command::Restore(named) | Command::Bundle { named, .. } => &named.workspace,
        }
    }

    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        match self.command {
            Command::List { workspace } => list(api, &workspace, output).await,
            Command::Save { workspace } => save(api, &workspace, output).await,
            Command::Restore(named) => restore(api, &named, output).await,
            Command::Bundle {
                named,
                output: file,
            } => bundle(api, &named, file, output).await,
        }
    }
}

fn below(workspace: &str) -> String {
    format!("/workspaces/{}/work", path_segment(workspace))
}

fn short(reference: &str) -> &str {
    reference.strip_prefix(PREFIX).unwrap_or(reference)
}

async fn list(api: &Api, workspace: &str, output: Output) -> anyhow::Result<()> {
    let list: WorkList = api.get(&below(workspace)).await?;
    for problem in &list.problems {
        let path = problem.path.as_deref().unwrap_or(workspace);
        output.say(&format!("{path}: {}", problem.message));
    }
    output.print(&list, |list| {
        if list.work.is_empty() {
            return "Nothing is saved: all work is committed, or the workspace has no repository."
                .into();
        }
        let head = ["NAME", "REPOSITORY", "STORED", "WHAT"]
            .map(String::from)
            .to_vec();
        let lines = list.work.iter().map(line);
        table(&std::iter::once(head).chain(lines).collect::<Vec<_>>())
    })
}

fn line(work: &SavedWork) -> Vec<String> {
    let stored = match work.bundle_bytes {
        Some(bytes) => format!("{} KiB", bytes.div_ceil(1024)),
        None => "disk only".into(),
    };
    vec![
        short(&work.reference).into(),
        work.path.clone(),
        stored,
        work.summary.clone(),
    ]
}

async fn save(api: &Api, workspace: &str, output: Output) -> anyhow::Result<()> {
    let path = format!("{}/save", below(workspace));
    let saved: WorkSaved = api.post(&path, &json!({})).await?;
    output.print(&saved, |saved| {
        if saved.repositories.is_empty() {
            return "There is no repository in the workspace.".into();
        }
        let lines = saved.repositories.iter().map(told);
        lines.collect::<Vec<_>>().join("\n")
    })?;
    let failed = saved
        .repositories
        .iter()
        .filter(|one| one.outcome == SaveOutcome::Failed);
    match failed.count() {
        0 => Ok(()),
        count => bail!("{count} of the repositories could not be saved"),
    }
}

fn told(repository: &SavedRepository) -> String {
    let path = &repository.path;
    let name = short(repository.reference.as_deref().unwrap_or_default());
    let place = if repository.stored {
        ""
    } else {
        ", on the workspace's disk only"
    };
    let what = match repository.outcome {
        SaveOutcome::Clean => "nothing to save".into(),
        SaveOutcome::Saved => format!("saved as {name}{place}"),
        SaveOutcome::Unchanged => format!("saved before as {name}{place}"),
        SaveOutcome::Failed => repository.error.clone().unwrap_or_default(),
    };
    let left_out = match &repository.left_out[..] {
        [] => String::new(),
        names => format!("; left out: {}", names.join(", ")),
    };
    format!("{path}: {what}{left_out}")
}

async fn restore(api: &Api, named: &Named, output: Output) -> anyhow::Result<()> {
    let name = find(api, named).await?;
    let path = format!("{}/restore", below(&named.workspace));
    let restored: WorkRestored = api.post(&path, &name).await?;
    output.print(&restored, |restored| {
        let files = match restored.files {
            1 => "1 file".into(),
            files => format!("{files} files"),
        };
        format!(
            "{}: {files} restored. What was there is saved as {}: restore that to go back.",
            name.path,
            short(&restored.before)
        )
    })
}

/// Which saved work a name means.
async fn find(api: &Api, named: &Named) -> anyhow::Result<WorkName> {
    let workspace = &named.workspace;
    let list: WorkList = api.get(&below(workspace)).await?;
    let mut found: Vec<&SavedWork> = list
        .work
        .iter()
        .filter(|work| short(&work.reference) == short(&named.name))
        .filter(|work| named.path.as_ref().is_none_or(|path| *path == work.path))
        .collect();
    let Some(work) = found.pop() else {
        bail!(
            "nothing is saved as {}: `roost work list {workspace}` shows what is",
            named.name
        );
    };
    ensure!(
        found.is_empty(),
        "several repositories have work of this name: add --path, such as --path {}",
        work.path
    );
    Ok(WorkName {
        path: work.path.clone(),
        reference: work.reference.clone(),
    })
}

async fn bundle(
    api: &Api,
    named: &Named,
    file: Option<PathBuf>,
    output: Output,
) -> anyhow::Result<()> {
    let name = find(api, named).await?;
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("path", &name.path)
        .append_pair("reference", &name.reference)
        .finish();
    let path = format!("{}/bundle?{query}", below(&named.workspace));
    let response = api.send(Method::GET, &path, None::<&()>).await?;
    let Some(Saved { path: file, bytes }) = keep(response, file, "work.bundle", output).await?
    else {
        return Ok(());
    };
    let told = json!({
        "file": file,
        "bytes": bytes,
        "path": name.path,
        "reference": name.reference,
    });
    output.print(&told, |_| {
        let shown = file.display();
        format!(
            "{shown} ({} KiB). In a clone of the repository: git fetch {shown} 'refs/roost/wip/*:refs/roost/wip/*'",
            bytes.div_ceil(1024)
        )
    })
}
