//! A disk from elsewhere as a new workspace.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use control_api::upkeep::ImportEvent;
use futures::TryStreamExt;
use tokio_util::io::ReaderStream;

use crate::cli::api::Refused;
use crate::cli::lines::{Lines, bar};
use crate::cli::workspaces::settle;
use crate::cli::{Api, Output};

#[derive(Debug, Args)]
pub struct Import {
    /// A qcow2 file that stands alone, such as export writes, or the plain bytes of a disk
    file: PathBuf,
    /// Name of the new workspace; absent: made up
    #[arg(long, short)]
    name: Option<String>,
    /// Virtual CPUs
    #[arg(long)]
    cpus: Option<u32>,
    /// Memory in MiB
    #[arg(long)]
    memory: Option<u64>,
    /// Disk in GiB; absent: as large as the one in the file
    #[arg(long)]
    disk: Option<u64>,
    /// Do not wait until it is ready
    #[arg(long)]
    detach: bool,
}

impl Import {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        let reading = || format!("reading {}", self.file.display());
        let file = tokio::fs::File::open(&self.file)
            .await
            .with_context(reading)?;
        let length = file.metadata().await.with_context(reading)?.len();
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let sizes = [
            ("vcpus", self.cpus.map(u64::from)),
            ("memory_mib", self.memory),
            ("disk_gib", self.disk),
        ];
        for (key, value) in sizes {
            if let Some(value) = value {
                query.append_pair(key, &value.to_string());
            }
        }
        if let Some(name) = &self.name {
            query.append_pair("name", name);
        }
        let path = format!("/workspaces/import?{}", query.finish());
        let sent = bar(Some(length), output)?;
        let shown = sent.clone();
        let pieces = ReaderStream::with_capacity(file, 1 << 20)
            .inspect_ok(move |piece| shown.inc(piece.len() as u64));
        let answer = api.upload(&path, length, reqwest::Body::wrap_stream(pieces));
        let answer = answer.await;
        sent.finish_and_clear();
        let mut lines = Lines::new(answer?, output)?;
        while let Some(event) = lines.next().await? {
            match event {
                ImportEvent::Progress { done, of } => lines.progress(done, of),
                ImportEvent::Failed { problem } => return Err(Refused(Box::new(problem)).into()),
                ImportEvent::Made { workspace } => {
                    lines.clear();
                    return settle(api, *workspace, self.detach, output).await;
                }
            }
        }
        bail!("the answer did not come to its end: roost ls shows whether the workspace was made")
    }
}
