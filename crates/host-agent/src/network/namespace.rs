//! Makes and removes the networks of virtual machines, with `ip` and `nft`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::FlockOperation;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::config::NetworkPolicy;
use crate::network::resolver;
use crate::network::script::{self, Plan};

/// Where iproute2 keeps named namespaces.
const NAMESPACES: &str = "/run/netns";
/// Held while a link's addresses are chosen, by all host agents of this machine.
const LOCK: &str = "/run/roost-network.lock";

/// Why a network could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("{program} cannot be run: install {package}")]
    Program {
        program: &'static str,
        package: &'static str,
        source: io::Error,
    },
    #[error("the network could not be set up: {said}")]
    Refused { said: String },
    #[error(
        "no address is left in the pool {pool}: stop a workspace, or give network.pool a larger range"
    )]
    PoolFull { pool: String },
    #[error("{path} cannot be used")]
    File { path: PathBuf, source: io::Error },
}

/// One virtual machine's network, as its monitor needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// File of the namespace.
    pub namespace: PathBuf,
    /// The tap device in it.
    pub tap: String,
}

/// All networks of this host.
#[derive(Debug)]
pub struct Networks {
    policy: NetworkPolicy,
}

impl Networks {
    pub fn new(policy: NetworkPolicy) -> Self {
        Self { policy }
    }

    /// Makes the network called `name`, anew if something of it is there already.
    pub async fn create(&self, name: &str) -> Result<Network, NetworkError> {
        self.remove(name).await?;
        let made = self.make(name).await;
        if made.is_err()
            && let Err(error) = self.remove(name).await
        {
            tracing::warn!(network = name, %error, "a half-made network stays");
        }
        made
    }

    async fn make(&self, name: &str) -> Result<Network, NetworkError> {
        let (table, plan) = tokio::join!(ensure_host_table(), self.link(name));
        table?;
        let plan = plan?;
        let arguments = ["netns", "exec", name, "sh", "-e"];
        run(Tool::Ip, &arguments, &plan.inner_shell()).await?;
        forward_outside()?;
        Ok(self.existing(name))
    }

    /// Makes the namespace and its link to the host's, with addresses that nobody else has.
    async fn link(&self, name: &str) -> Result<Plan, NetworkError> {
        let start = name.bytes().fold(0_u32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(byte.into())
        });
        let resolver = resolver::find(&self.policy.nameservers);
        let _lock = lock().await?;
        let taken = connected_networks()?;
        let (host_end, inner_end) = script::links(self.policy.pool, start)
            .find(|(host_end, _)| !taken.contains(&(host_end.to_bits() & !3)))
            .ok_or_else(|| NetworkError::PoolFull {
                pool: self.policy.pool.to_string(),
            })?;
        let plan = Plan {
            name: name.into(),
            host_end,
            inner_end,
            pool: self.policy.pool,
            allow: self.policy.allow.clone(),
            resolver,
        };
        run(Tool::Ip, &["-batch", "-"], &plan.host_batch()).await?;
        fence_link(name)?;
        Ok(plan)
    }

    /// The network called `name`, which an earlier host agent has made.
    pub fn existing(&self, name: &str) -> Network {
        Network {
            namespace: Path::new(NAMESPACES).join(name),
            tap: script::TAP.into(),
        }
    }

    /// Removes the network called `name`, whatever of it is there. The virtual machine must have ended.
    pub async fn remove(&self, name: &str) -> Result<(), NetworkError> {
        let link = Path::new("/sys/class/net").join(name);
        let namespace = Path::new(NAMESPACES).join(name);
        if !link.exists() && !namespace.exists() {
            return Ok(());
        }
        // Complaints about what is not there are expected; what counts is whether it is gone.
        let removed = run(Tool::Ip, &["-force", "-batch", "-"], &script::removal(name)).await;
        if link.exists() || namespace.exists() {
            return Err(removed.err().unwrap_or_else(|| NetworkError::Refused {
                said: format!("{name} is still there after its removal"),
            }));
        }
        Ok(())
    }
}

/// Makes the host's own table, where it is not there (or no more).
pub async fn ensure_host_table() -> Result<(), NetworkError> {
    let listed = run(Tool::Nft, &["list", "table", "inet", "roost_host"], "").await;
    match listed {
        Ok(()) => Ok(()),
        Err(NetworkError::Refused { .. }) => {
            run(Tool::Nft, &["-f", "-"], &script::host_table()).await
        }
        Err(error) => Err(error),
    }
}

/// Whether this host lets us make what each network is made of.
pub async fn try_out() -> Result<(), NetworkError> {
    ensure_host_table().await?;
    let name = format!("roost-try{}", std::process::id() % 1_000_000);
    let input = format!("netns add {name}\nnetns exec {name} ip tuntap add dev tap0 mode tap\n");
    let made = run(Tool::Ip, &["-batch", "-"], &input).await;
    let removed = run(Tool::Ip, &["netns", "del", &name], "").await;
    made.and(removed)
}

#[derive(Clone, Copy)]
pub(crate) enum Tool {
    Ip,
    Nft,
}

/// Runs a tool with `input`; what it says when it fails is the error.
pub(crate) async fn run(tool: Tool, arguments: &[&str], input: &str) -> Result<(), NetworkError> {
    output(tool, arguments, input).await.map(drop)
}

/// All chains of the host's firewall, whosever they are.
pub(crate) async fn chains() -> Result<String, NetworkError> {
    output(Tool::Nft, &["list", "chains"], "").await
}

async fn output(tool: Tool, arguments: &[&str], input: &str) -> Result<String, NetworkError> {
    let (program, package) = match tool {
        Tool::Ip => ("ip", "iproute2"),
        Tool::Nft => ("nft", "nftables"),
    };
    let cannot = |source| NetworkError::Program {
        program,
        package,
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        // The tools lie in sbin, which is not in every user's path.
        .env("PATH", crate::tools_path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let mut stdin = child.stdin.take().expect("piped above");
    // One that fails early does not read it all; its exit code tells.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.map_err(cannot)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said
        .lines()
        .filter(|line| !line.is_empty())
        .take(3)
        .collect::<Vec<_>>()
        .join("; ");
    Err(NetworkError::Refused {
        said: if said.is_empty() {
            format!("{program} {}", output.status)
        } else {
            said
        },
    })
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> NetworkError {
    let path = path.to_owned();
    move |source| NetworkError::File { path, source }
}

async fn lock() -> Result<File, NetworkError> {
    let path = Path::new(LOCK);
    let open = move || {
        let file = File::options().create(true).append(true).open(path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    tokio::task::spawn_blocking(open)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(file_error(path))
}

/// First addresses of the networks that this host has routes to, as in `/proc/net/route`.
fn connected_networks() -> Result<Vec<u32>, NetworkError> {
    let path = Path::new("/proc/net/route");
    let text = std::fs::read_to_string(path).map_err(file_error(path))?;
    Ok(text
        .lines()
        .skip(1)
        .filter_map(|line| u32::from_str_radix(line.split_whitespace().nth(1)?, 16).ok())
        .map(u32::swap_bytes)
        .collect())
}

/// Settings of the host's end of a link.
fn fence_link(name: &str) -> Result<(), NetworkError> {
    for (setting, value, required) in [
        (
            format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"),
            "1",
            false,
        ),
        (
            format!("/proc/sys/net/ipv4/conf/{name}/forwarding"),
            "1",
            true,
        ),
        (
            format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"),
            "1",
            true,
        ),
    ] {
        let path = Path::new(&setting);
        if required || path.exists() {
            std::fs::write(path, value).map_err(file_error(path))?;
        }
    }
    Ok(())
}

/// Lets answers in from the outside: forwarding on the link of the default route, and on no other.
fn forward_outside() -> Result<(), NetworkError> {
    let path = Path::new("/proc/net/route");
    let routes = std::fs::read_to_string(path).map_err(file_error(path))?;
    for link in default_links(&routes) {
        let setting = format!("/proc/sys/net/ipv4/conf/{link}/forwarding");
        let path = Path::new(&setting);
        if std::fs::read_to_string(path).is_ok_and(|value| value.trim() != "1") {
            std::fs::write(path, "1").map_err(file_error(path))?;
        }
    }
    Ok(())
}

/// Links of default routes in the text of `/proc/net/route`.
pub(crate) fn default_links(routes: &str) -> Vec<&str> {
    let mut links: Vec<&str> = routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000"))
                .then(|| fields[0])
        })
        .collect();
    links.dedup();
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_names_the_outside() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n";
        assert_eq!(default_links(routes), ["eth0"]);
    }
}
