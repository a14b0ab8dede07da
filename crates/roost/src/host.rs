//! The host agent's configuration from ours and from this process's surroundings.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use host_agent::HostConfig;
use host_agent::config::{Driver, Proxy, StorageConfig};

use crate::config::Config;

/// Further certificate authorities, in files: what programs commonly take them from.
const CERTIFICATE_VARIABLES: [&str; 4] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

/// What Debian's trust store is made of; guests have that already.
const DISTRIBUTED: &str = "/usr/share/ca-certificates/mozilla";

/// More than this of what is left is not somebody's own authorities but a whole trust store of another make.
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
    host.storage = storage(config)?;
    host.network = config.network.clone();
    host.git = config.git.clone();
    host.proxy = Proxy::from_variables(|name| std::env::var(name).ok())?;
    host.extra_certificates = extra_certificates();
    Ok(host)
}

/// Where disks are kept, with the keys to it.
pub fn storage(config: &Config) -> anyhow::Result<StorageConfig> {
    let read = |name: &str| std::env::var(name).ok();
    let storage = config.storage.clone().with_variables(read);
    match storage.problem() {
        Some(problem) => anyhow::bail!("config.toml: {problem}"),
        None => Ok(storage),
    }
}

fn extra_certificates() -> Vec<String> {
    let files: BTreeSet<_> = CERTIFICATE_VARIABLES
        .iter()
        .filter_map(std::env::var_os)
        .collect();
    let distributed = std::fs::read_dir(DISTRIBUTED).into_iter().flatten();
    let distributed: BTreeSet<_> = distributed
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .flat_map(|text| certificates(&text))
        .collect();
    let mut extra = BTreeSet::new();
    for text in files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
    {
        let own: BTreeSet<_> = certificates(&text)
            .into_iter()
            .filter(|certificate| !distributed.contains(certificate))
            .collect();
        if own.iter().map(String::len).sum::<usize>() <= LARGEST_EXTRA {
            extra.extend(own);
        }
    }
    extra.into_iter().collect()
}

/// Each certificate of a PEM file, in one spelling.
fn certificates(pem: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    pem.split(BEGIN)
        .skip(1)
        .filter_map(|part| part.split_once(END))
        .map(|(body, _)| {
            let lines: Vec<_> = body.split_whitespace().collect();
            format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::certificates;

    #[test]
    fn certificates_are_found_whatever_is_written_around_them() {
        let one = "-----BEGIN CERTIFICATE-----\nAAAA\nBB==\n-----END CERTIFICATE-----\n";
        let crlf = one.replace('\n', "\r\n");
        let key = "-----BEGIN PRIVATE KEY-----\nKEY\n-----END PRIVATE KEY-----\n";
        assert_eq!(
            certificates(&format!("# ours\n{crlf}{key}{one}")),
            [one, one]
        );
        assert!(certificates("-----BEGIN CERTIFICATE-----\ncut").is_empty());
        assert!(certificates(key).is_empty());
    }
}
