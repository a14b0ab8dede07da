//! `roost trust`: the local certificate authority, and how a browser comes to believe it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::Args;
use gateway::tls::authority::{Authority, certificate_path};

use crate::config::{Config, default_data};
use crate::print;

/// Where Debian and its relatives take further authorities from.
const SYSTEM: &str = "/usr/local/share/ca-certificates/roost-local-authority.crt";

#[derive(Debug, Args)]
pub struct Trust {
    /// The server's data folder
    #[arg(long, env = "ROOST_DATA")]
    data: Option<PathBuf>,
    /// Install it for this machine's programs; needs root
    #[arg(long)]
    install: bool,
    /// Take it back out
    #[arg(long, conflicts_with = "install")]
    remove: bool,
}

/// Where the authority lies in a data folder.
pub fn folder(data: &Path) -> PathBuf {
    data.join("tls")
}

impl Trust {
    pub fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let data = self.data.unwrap_or_else(default_data);
        let config = Config::load(&data)?;
        Authority::open(&folder(&data), &config.domain)?;
        let certificate = certificate_path(&folder(&data));
        if self.install {
            fs::copy(&certificate, SYSTEM)
                .with_context(|| format!("cannot write {SYSTEM}; run this as root"))?;
            update()?;
        } else if self.remove {
            fs::remove_file(SYSTEM).with_context(|| format!("cannot remove {SYSTEM}"))?;
            update()?;
        }
        if json {
            let installed = Path::new(SYSTEM).exists();
            print::line(serde_json::json!({ "certificate": certificate, "installed": installed }))?;
            return Ok(ExitCode::SUCCESS);
        }
        print::line(format_args!(
            "The authority's certificate: {}\n\
             It signs for {} and names below it only.\n\n\
             This machine's programs:  sudo roost trust --install --data {}\n\
             Chromium on Linux:        certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n roost -i {}\n\
             Firefox:                  Settings, Privacy & Security, View Certificates, Authorities, Import\n\
             macOS:                    security add-trusted-cert -k ~/Library/Keychains/login.keychain-db FILE\n\
             Windows:                  certutil -user -addstore Root FILE",
            certificate.display(),
            config.domain,
            data.display(),
            certificate.display(),
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn update() -> anyhow::Result<()> {
    let status = Command::new("update-ca-certificates")
        .status()
        .context("cannot run update-ca-certificates; install the package ca-certificates")?;
    if !status.success() {
        bail!("update-ca-certificates failed: {status}");
    }
    Ok(())
}
