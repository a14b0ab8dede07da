//! What an operator may set: defaults, then `config.toml` in the data folder, then environment and flags.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use host_agent::config::{AcceleratorChoice, GitPolicy, NetworkPolicy, Room, StorageConfig};
use model::{Limits, Size};
use serde::{Deserialize, Serialize};

/// The file in the data folder.
pub const FILE: &str = "config.toml";

/// Tried first when no port is asked for.
pub const DEFAULT_PORT: u16 = 7070;

/// All settings. Unknown ones are refused, since a misspelt one would be silently without effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address to listen on.
    pub address: IpAddr,
    /// Absent: 7070, or the next one that is free, and that one again the next time.
    pub port: Option<u16>,
    /// Host name of the main origin; the others are below it.
    pub domain: String,
    pub tls: Tls,
    /// Reverse proxies, addresses or networks, whose forwarding headers are believed.
    pub behind_proxy: Vec<String>,
    /// Listen beyond loopback though an isolation layer is off.
    pub allow_weak_isolation: bool,
    /// Stop the workspaces in order when the server ends; else they go on without it.
    pub stop_workspaces: bool,
    /// Folder of the guest images.
    pub images: Option<PathBuf>,
    /// Folder of the front end, instead of the one that is built in.
    pub web: Option<PathBuf>,
    /// `postgres://…`; absent: a file in the data folder.
    pub database: Option<String>,
    pub vm: Vm,
    pub limits: Limits,
    pub default_size: Size,
    pub room: Room,
    pub storage: StorageConfig,
    pub network: NetworkPolicy,
    pub git: GitPolicy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: IpAddr::from([127, 0, 0, 1]),
            port: None,
            domain: "localhost".into(),
            tls: Tls::Off {},
            behind_proxy: Vec::new(),
            allow_weak_isolation: false,
            stop_workspaces: false,
            images: None,
            web: None,
            database: None,
            vm: Vm::default(),
            limits: Limits::default(),
            default_size: Size::default(),
            room: Room::default(),
            storage: StorageConfig::default(),
            network: NetworkPolicy::default(),
            git: GitPolicy::default(),
        }
    }
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "mode", rename_all = "kebab-case")]
pub enum Tls {
    // With braces, since serde lets unknown fields of a bare variant pass.
    /// Plain HTTP: on loopback, or behind a declared proxy.
    Off {},
    /// From an authority of our own, which `roost trust` installs.
    Local {},
    /// The operator's, PEM.
    Files { certificate: PathBuf, key: PathBuf },
}

/// How virtual machines are run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vm {
    /// QEMU's program; absent: the one in `PATH`.
    pub qemu: Option<PathBuf>,
    pub accelerator: AcceleratorChoice,
    /// A guest agent run as a plain process instead of a virtual machine. Isolates nothing: tests only.
    pub process_agent: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a valid configuration: {problem}")]
    Invalid { path: PathBuf, problem: String },
}

impl Config {
    /// From the data folder, or the defaults when there is no file.
    pub fn load(data: &Path) -> Result<Self, ConfigError> {
        let path = data.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        toml::from_str(&text).map_err(|error| ConfigError::Invalid {
            path,
            problem: error.to_string(),
        })
    }
}

/// The data folder of this user: of the whole machine for root.
pub fn default_data() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/var/lib/roost".into();
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .unwrap_or_else(|| "/var/tmp".into())
        .join("roost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), text).unwrap();
        Config::load(folder.path())
    }

    #[test]
    fn settings_come_from_the_file() {
        let config = load(
            "domain = 'roost.example'\nport = 443\n[tls]\nmode = 'files'\ncertificate = '/c'\nkey = '/k'\n\
             [limits]\nmax_vcpus = 2\n",
        )
        .unwrap();
        assert_eq!(config.domain, "roost.example");
        assert_eq!(config.limits.max_vcpus, 2);
        assert_eq!(
            config.tls,
            Tls::Files {
                certificate: "/c".into(),
                key: "/k".into()
            }
        );
        assert_eq!(config.room, Room::default());
    }

    #[test]
    fn a_store_of_ones_own_is_named_in_the_file() {
        let config = load(
            "[storage]\npoints_every_minutes = 60\n[storage.store]\nkind = 's3'\nbucket = 'roost'\nregion = 'eu'\n",
        )
        .unwrap();
        assert!(config.storage.store.is_some_and(|store| store.is_remote()));
        assert_eq!(config.storage.points_every_minutes, 60);
        assert!(load("[storage.store]\nkind = 'folder'\npath = '/s'\nx = 1\n").is_err());
    }

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        for text in [
            "domian = 'x'",
            "[limits]\nmax_cpus = 2",
            "[tls]\nmode = 'off'\nx = 1",
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn no_file_means_the_defaults_and_they_can_be_written_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::load(folder.path()).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(load(&toml::to_string(&config).unwrap()).unwrap(), config);
    }
}
