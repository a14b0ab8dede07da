//! `roost doctor`: every layer of isolation and speed, on or off, with the remedy.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use fleet_api::Later;
use fleet_api::control::{Credential, GitCredentials, GitRemote};
use fleet_api::host::{Accelerator, Host, HostDescription};
use host_agent::LocalHost;
use model::WorkspaceId;

use crate::config::{Config, default_data};
use crate::data_folder::{DataFolder, DataFolderError};
use crate::host;
use crate::print;

/// File in which a running server says what it found.
pub const REPORT: &str = "doctor.json";

#[derive(Debug, Args)]
pub struct Doctor {
    /// The server's data folder
    #[arg(long, env = "ROOST_DATA")]
    data: Option<PathBuf>,
    /// Folder of the guest images
    #[arg(long, env = "ROOST_IMAGES")]
    images: Option<PathBuf>,
}

impl Doctor {
    pub async fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let path = self.data.unwrap_or_else(default_data);
        let mut config = Config::load(&path)?;
        config.images = self.images.or(config.images);
        let description = match DataFolder::open(&path) {
            Ok(data) => examine(&config, &data).await?,
            // A running server has looked already, and owns what would be looked at.
            Err(DataFolderError::InUse { .. }) => read_report(&path)?,
            Err(error) => return Err(error.into()),
        };
        if json {
            print::line(serde_json::to_string_pretty(&description)?)?;
        } else {
            print::bytes(in_words(&description).as_bytes())?;
        }
        let sound = description
            .layers
            .iter()
            .all(|layer| layer.on || !layer.isolation);
        Ok(if sound {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(2)
        })
    }
}

async fn examine(config: &Config, data: &DataFolder) -> anyhow::Result<HostDescription> {
    let host = LocalHost::new(host::config(config, data.path())?, Arc::new(NoCredentials)).await?;
    Ok(host.describe().await)
}

fn read_report(path: &Path) -> anyhow::Result<HostDescription> {
    let text = std::fs::read(path.join(REPORT))
        .context("Roost runs but has not looked at this machine yet; ask again in a moment")?;
    serde_json::from_slice(&text).context("what the running server wrote cannot be read")
}

fn in_words(host: &HostDescription) -> String {
    let accelerator = match host.accelerator {
        Accelerator::Kvm => "KVM",
        Accelerator::Tcg => "software emulation (TCG): slower, and a weaker boundary",
        Accelerator::Process => "none: processes instead of virtual machines, for tests only",
    };
    let mut text = format!(
        "roost {}, {} CPUs, {} MiB of memory, {} MiB of disk free\nvirtual machines by {accelerator}\n\n",
        host.version, host.vcpus, host.memory_mib, host.disk_free_mib
    );
    for layer in &host.layers {
        let mark = if layer.on { "✓" } else { "✗" };
        text += &format!("{mark} {}: {}\n", layer.name, layer.detail);
        if let (false, Some(remedy)) = (layer.on, &layer.remedy) {
            text += &format!("    to mend it: {remedy}\n");
        }
        if !layer.on && layer.isolation {
            text += "    an isolation layer: with it off, Roost listens on loopback only\n";
        }
    }
    text
}

/// Nobody clones anything while we look.
struct NoCredentials;

impl GitCredentials for NoCredentials {
    fn credential(&self, _: &WorkspaceId, _: &GitRemote) -> Later<'_, Option<Credential>> {
        Box::pin(async { None })
    }

    fn rejected(&self, _: &WorkspaceId, _: &GitRemote) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_api::host::Layer;

    #[test]
    fn what_is_off_comes_with_its_remedy() {
        let layer = |name: &str, on, isolation| Layer {
            name: name.into(),
            on,
            isolation,
            detail: "so it is".into(),
            remedy: Some("do this".into()),
        };
        let text = in_words(&HostDescription {
            id: "local".into(),
            vcpus: 2,
            memory_mib: 4096,
            memory_promised_mib: 0,
            disk_free_mib: 100,
            accelerator: Accelerator::Tcg,
            layers: vec![
                layer("network", true, true),
                layer("jail", false, true),
                layer("fuse", false, false),
            ],
            version: "0".into(),
        });
        assert!(text.contains(
            "✓ network: so it is\n✗ jail: so it is\n    to mend it: do this\n    an isolation"
        ));
        assert!(
            text.ends_with("✗ fuse: so it is\n    to mend it: do this\n"),
            "{text}"
        );
    }
}
