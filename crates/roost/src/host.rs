//! The host agent's configuration from ours and from this process's surroundings.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use host_agent::HostConfig;
use host_agent::config::{Driver, Proxy};

use crate::config::Config;

/// Further certificate authorities, in files: what programs commonly take them from.
const CERTIFICATE_VARIABLES: [&str; 4] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

/// Larger files are whole trust stores, which every guest has already.
const LARGEST_EXTRA: usize = 64 * 1024;

pub fn config(config: &Config, data: &Path) -> anyhow::Result<HostConfig> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut host = HostConfig::new(data, program);
    host.images.clone_from(&config.images);
    host.driver = match &config.vm.process_agent {
        Some(agent) => {
            anyhow::ensure!(
                std::env::var_os(vm_monitor::ALLOW_PROCESS_DRIVER)
                    .is_some_and(|value| value == "1"),
                "the process driver isolates nothing and is for tests only"
            );
            Driver::Process {
                agent: agent.clone(),
            }
        }
        None => Driver::Qemu {
            program: config.vm.qemu.clone(),
            accelerator: config.vm.accelerator,
        },
    };
    host.room = config.room;
    host.network = config.network.clone();
    host.git = config.git.clone();
    host.proxy = Proxy::from_variables(|name| std::env::var(name).ok())?;
    host.extra_certificates = extra_certificates();
    Ok(host)
}

fn extra_certificates() -> Vec<String> {
    let files: BTreeSet<_> = CERTIFICATE_VARIABLES
        .iter()
        .filter_map(std::env::var_os)
        .collect();
    let texts = files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok());
    texts
        .filter(|text| text.len() <= LARGEST_EXTRA && text.contains("BEGIN CERTIFICATE"))
        .collect()
}
