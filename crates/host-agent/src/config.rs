//! Everything that a host agent is told, read once by whoever starts it and handed in by value.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use disk_server::DoorChoice;
use serde::{Deserialize, Serialize};
use storage::spec::StoreSpec;
use url::Url;

use crate::address::{Range, is_private};

/// What a host is to be. [`HostConfig::new`] has the defaults of one machine.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Of this host in the fleet.
    pub id: String,
    /// Where workspaces, images and sockets lie; must be short enough for Unix socket paths.
    pub data: PathBuf,
    /// Folder of a built image set, with its `manifest.json`; absent: no virtual machine can start.
    pub images: Option<PathBuf>,
    /// This program; run as `PROGRAM vm-monitor …` for each virtual machine.
    pub program: PathBuf,
    pub driver: Driver,
    pub storage: StorageConfig,
    pub room: Room,
    /// Between looks for saved work that the store does not have.
    pub work_every: Duration,
    pub network: NetworkPolicy,
    pub git: GitPolicy,
    pub proxy: Proxy,
    /// Certificate authorities beyond the platform's, PEM: trusted by the git relay and inside guests.
    pub extra_certificates: Vec<String>,
}

/// What runs the guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A virtual machine of QEMU.
    Qemu {
        /// QEMU's program; absent: the distribution's.
        program: Option<PathBuf>,
        accelerator: AcceleratorChoice,
    },
    /// The guest agent as a plain process, isolating nothing: tests only.
    Process { agent: PathBuf },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AcceleratorChoice {
    /// KVM where a guest really boots under it, otherwise software emulation.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Software emulation, even where there is KVM.
    Tcg,
}

/// How much of the host workspaces may take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Room {
    /// Memory that is never promised, MiB.
    pub memory_reserve_mib: u64,
    /// What a virtual machine takes beyond its guest's memory, MiB.
    pub memory_overhead_mib: u64,
    /// Virtual CPUs that may be promised for each real one.
    pub vcpus_per_cpu: u32,
    /// Below this much free space nothing starts, MiB.
    pub disk_reserve_mib: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            memory_reserve_mib: 1024,
            memory_overhead_mib: 96,
            vcpus_per_cpu: 16,
            disk_reserve_mib: 2048,
        }
    }
}

/// Where disks are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Where what workspaces write goes within seconds; absent: the folder `store` beside the rest.
    pub store: Option<StoreSpec>,
    /// How virtual machines get to their disks.
    pub door: DoorChoice,
    /// So often a point in time is taken of what runs and has written since the last; 0: never by itself.
    pub points_every_minutes: u32,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            store: None,
            door: DoorChoice::Auto,
            points_every_minutes: 15,
        }
    }
}

impl StorageConfig {
    /// With the keys of a store from the variables that its own tools read, where the file has none.
    pub fn with_variables(mut self, read: impl Fn(&str) -> Option<String>) -> Self {
        if let Some(StoreSpec::S3(s3)) = &mut self.store {
            for (key, variable) in [
                (&mut s3.access_key_id, "AWS_ACCESS_KEY_ID"),
                (&mut s3.secret_access_key, "AWS_SECRET_ACCESS_KEY"),
            ] {
                if key.is_empty() {
                    *key = read(variable).unwrap_or_default();
                }
            }
        }
        self
    }

    /// What keeps it from being used, for whoever wrote it.
    pub fn problem(&self) -> Option<&'static str> {
        match &self.store {
            Some(StoreSpec::S3(s3)) if s3.bucket.is_empty() => {
                Some("storage.store.bucket is missing")
            }
            Some(StoreSpec::S3(s3))
                if s3.access_key_id.is_empty() || s3.secret_access_key.is_empty() =>
            {
                Some(
                    "the store's keys are missing: set storage.store.access_key_id and secret_access_key, or \
                     AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                )
            }
            Some(StoreSpec::S3(_) | StoreSpec::Folder { .. }) | None => None,
        }
    }
}

/// How guests reach the outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkPolicy {
    pub mode: NetworkMode,
    /// A /30 of it links each virtual machine's namespace with the host's.
    pub pool: Range,
    /// Private ranges that guests may reach all the same. Never opens the host itself.
    pub allow: Vec<Range>,
    /// Resolvers of the guests; empty: the host's own.
    pub nameservers: Vec<IpAddr>,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self {
            mode: NetworkMode::Auto,
            pool: "10.213.0.0/16".parse().expect("a constant range"),
            allow: Vec::new(),
            nameservers: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// A namespace for each virtual machine where the host can, otherwise no outside.
    #[default]
    Auto,
    /// No network in guests; git still works, through the relay.
    Off,
}

/// What git in guests may reach through the relay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GitPolicy {
    /// Servers at private addresses that are allowed: `host`, `host:port`, an address or a range.
    pub allow: Vec<String>,
}

/// How this host reaches the outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// For `http://` remotes.
    pub http: Option<Url>,
    /// For `https://` remotes.
    pub https: Option<Url>,
    /// Reached without a proxy: names, `.domains`, addresses, ranges, `*`.
    pub without: Vec<String>,
}

impl Proxy {
    /// The usual variables for a guest, as far as it can reach the proxies. `allow` are the private addresses that
    /// guests may go to.
    pub fn for_guests(&self, allow: &[Range]) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        for (name, proxy) in [("HTTP_PROXY", &self.http), ("HTTPS_PROXY", &self.https)] {
            if let Some(proxy) = proxy.as_ref().filter(|proxy| reached(proxy, allow)) {
                variables.push((name.to_owned(), proxy.to_string()));
                variables.push((name.to_lowercase(), proxy.to_string()));
            }
        }
        if !variables.is_empty() {
            let mut without = self.without.clone();
            without.extend(["localhost", "127.0.0.1"].map(String::from));
            variables.push(("NO_PROXY".into(), without.join(",")));
            variables.push(("no_proxy".into(), without.join(",")));
        }
        variables
    }

    /// The first proxy that guests do not reach.
    pub fn beyond_guests(&self, allow: &[Range]) -> Option<&Url> {
        let mut proxies = [&self.http, &self.https].into_iter().flatten();
        proxies.find(|proxy| !reached(proxy, allow))
    }

    /// From the usual variables (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, or in small letters).
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let read = |name: &str| {
            variable(&name.to_lowercase())
                .or_else(|| variable(name))
                .filter(|value| !value.is_empty())
        };
        let url = |name: &str| -> Result<Option<Url>, ProxyError> {
            let Some(text) = read(name) else {
                return Ok(None);
            };
            let full = if text.contains("://") {
                text.clone()
            } else {
                format!("http://{text}")
            };
            match Url::parse(&full) {
                Ok(url) if url.scheme() == "http" && url.has_host() => Ok(Some(url)),
                _ => Err(ProxyError {
                    variable: name.into(),
                }),
            }
        };
        let without = read("NO_PROXY").unwrap_or_default();
        Ok(Self {
            http: url("HTTP_PROXY")?,
            https: url("HTTPS_PROXY")?,
            without: without
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(Into::into)
                .collect(),
        })
    }
}

/// Whether guests get through to it: not to the host's own loopback, nor to private addresses unless allowed. Of a
/// name nothing is known here.
fn reached(proxy: &Url, allow: &[Range]) -> bool {
    let host = proxy.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => !is_private(address) || allow.iter().any(|range| range.contains(address)),
        Err(_) => host != "localhost",
    }
}

/// Does not repeat the value, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is not the URL of an HTTP proxy, such as http://proxy.example:3128")]
pub struct ProxyError {
    pub variable: String,
}

impl HostConfig {
    /// The defaults of one machine, with the data folder and the program given.
    pub fn new(data: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        Self {
            id: "local".into(),
            data: data.into(),
            images: None,
            program: program.into(),
            driver: Driver::Qemu {
                program: None,
                accelerator: AcceleratorChoice::Auto,
            },
            storage: StorageConfig::default(),
            room: Room::default(),
            work_every: Duration::from_secs(60),
            network: NetworkPolicy::default(),
            git: GitPolicy::default(),
            proxy: Proxy::default(),
            extra_certificates: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_needs_its_keys_and_takes_them_from_variables() {
        let text = r#"{ "store": { "kind": "s3", "bucket": "b", "region": "r" } }"#;
        let config: StorageConfig = serde_json::from_str(text).unwrap();
        assert!(config.problem().unwrap().contains("AWS_ACCESS_KEY_ID"));
        let config = config.with_variables(|name| Some(format!("of {name}")));
        assert_eq!(config.problem(), None);
        let Some(StoreSpec::S3(s3)) = &config.store else {
            panic!("{config:?}")
        };
        assert_eq!(s3.secret_access_key, "of AWS_SECRET_ACCESS_KEY");
        assert!(!format!("{config:?}").contains("of AWS"));
        let misspelt = text.replace("region", "regoin");
        assert!(serde_json::from_str::<StorageConfig>(&misspelt).is_err());
    }

    #[test]
    fn a_proxy_comes_from_the_usual_variables() {
        let proxy = Proxy::from_variables(|name| match name {
            "HTTPS_PROXY" => Some("proxy.example:3128".into()),
            "no_proxy" => Some("localhost, .internal,,10.0.0.0/8".into()),
            _ => None,
        })
        .unwrap();
        assert_eq!(proxy.https.unwrap().as_str(), "http://proxy.example:3128/");
        assert_eq!(proxy.http, None);
        assert_eq!(proxy.without, ["localhost", ".internal", "10.0.0.0/8"]);
        let error = Proxy::from_variables(|_| Some("socks5://user:secret@x".into())).unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn a_proxy_is_given_to_guests_that_get_through_to_it() {
        let given = |proxy: &str, allow: &str| {
            let allow: Vec<Range> = allow
                .split_whitespace()
                .map(|range| range.parse().unwrap())
                .collect();
            let proxy = Proxy {
                https: Some(proxy.parse().unwrap()),
                ..Proxy::default()
            };
            let given = !proxy.for_guests(&allow).is_empty();
            assert_eq!(proxy.beyond_guests(&allow).is_none(), given);
            given
        };
        assert!(given("http://proxy.example:3128", ""));
        assert!(given("http://198.51.99.7:3128", ""));
        assert!(!given("http://localhost:3128", "10.0.0.0/8"));
        assert!(!given("http://127.0.0.1:3128", ""));
        assert!(!given("http://[::1]:3128", ""));
        assert!(!given("http://10.1.2.3:3128", "10.1.2.4"));
        assert!(given("http://10.1.2.3:3128", "10.1.2.3"));
    }
}
