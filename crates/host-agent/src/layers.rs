//! The layers of isolation and speed that this host has, for `roost doctor`: each on or off, and what to do.

use std::path::Path;
use std::time::Duration;

use fleet_api::host::Layer;
use microvm::machine::Machine;
use microvm::spec::Accelerator;
use tokio::time::timeout;

use crate::admission::disk_room;
use crate::config::{Driver, NetworkMode};
use crate::failure::chain;
use crate::network::{namespace, resolver};
use crate::runner::Context;
use crate::{capacity, vmm_user};

/// A store that does not answer in so long is as good as away.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// All layers, in the order in which a person reads them.
pub async fn all(context: &Context) -> Vec<Layer> {
    let machine = context.machines.known().await;
    let mut layers = vec![
        virtual_machines(context, machine.as_ref()),
        vmm_user(),
        network(context),
    ];
    layers.extend(network_details(context).await);
    layers.push(cgroups(context));
    layers.push(images(context));
    layers.push(disk(context));
    layers.push(store(context).await);
    layers.push(memory(context));
    layers.push(device(
        "fuse",
        Path::new("/dev/fuse"),
        "snapshots will load from plain files",
        fuse_remedy(),
    ));
    layers.push(userfaultfd());
    layers
}

fn fuse_remedy() -> &'static str {
    if Path::new("/dev/fuse").exists() {
        "let this user open it: chmod 666 /dev/fuse, which is what distributions set (a container: its device rules)"
    } else {
        "modprobe fuse, or give the container --device /dev/fuse"
    }
}

fn on(name: &str, isolation: bool, detail: impl Into<String>) -> Layer {
    Layer {
        name: name.into(),
        on: true,
        isolation,
        detail: detail.into(),
        remedy: None,
    }
}

fn off(name: &str, isolation: bool, detail: impl Into<String>, remedy: impl Into<String>) -> Layer {
    Layer {
        name: name.into(),
        on: false,
        isolation,
        detail: detail.into(),
        remedy: Some(remedy.into()),
    }
}

fn virtual_machines(context: &Context, machine: Option<&Machine>) -> Layer {
    const NAME: &str = "hardware virtualisation";
    match (&context.config.driver, machine) {
        (Driver::Process { .. }, _) => off(
            NAME,
            true,
            "guests are plain processes: nothing is isolated",
            "use the driver qemu; this one is for tests",
        ),
        (Driver::Qemu { .. }, Some(machine)) if machine.accelerator == Accelerator::Kvm => {
            on(NAME, true, "KVM: a guest has booted under it")
        }
        (Driver::Qemu { .. }, Some(machine)) => off(
            NAME,
            true,
            format!(
                "software emulation (TCG): slower, and not a boundary of the same strength. {}",
                machine.why_not_kvm
            ),
            kvm_remedy(),
        ),
        (Driver::Qemu { .. }, None) => off(
            NAME,
            true,
            "not known yet: no QEMU or no guest images were found",
            "apt-get install qemu-system-x86, and ./dev images",
        ),
    }
}

fn kvm_remedy() -> &'static str {
    let device = Path::new("/dev/kvm");
    if !device.exists() {
        "run on a machine with virtualisation switched on, or give the container /dev/kvm (--device /dev/kvm)"
    } else if std::fs::File::options()
        .read(true)
        .write(true)
        .open(device)
        .is_err()
    {
        "add this user to the group kvm: usermod -aG kvm USER, then sign in again"
    } else {
        "this /dev/kvm cannot run an ordinary guest (nested virtualisation?): run on a machine whose own can"
    }
}

fn vmm_user() -> Layer {
    const NAME: &str = "unprivileged VMM";
    if vmm_user::possible() {
        on(
            NAME,
            true,
            "each virtual machine monitor runs as a user of its own, without any rights",
        )
    } else if rustix::process::geteuid().is_root() {
        off(
            NAME,
            true,
            "this user namespace has too few users: monitors run as its root",
            "run outside a user namespace, or map all users into it",
        )
    } else {
        off(
            NAME,
            true,
            "monitors run as the user that Roost runs as",
            "run Roost as root: it needs that to become others, and gives it up for each machine",
        )
    }
}

fn network(context: &Context) -> Layer {
    const NAME: &str = "network namespaces";
    match (&context.networks, context.config.network.mode) {
        (Some(_), _) => on(
            NAME,
            false,
            "each guest has a network of its own, with NAT to the outside",
        ),
        (None, NetworkMode::Off) => off(
            NAME,
            false,
            "guests have no network, as configured; git works",
            "network.mode = \"auto\"",
        ),
        (None, NetworkMode::Auto) => {
            let (detail, remedy) = lacking();
            off(
                NAME,
                false,
                format!("guests have no network but git: {detail}"),
                remedy,
            )
        }
    }
}

/// What is missing for namespaces, and what to do about it.
fn lacking() -> (&'static str, &'static str) {
    let has = |program: &str| {
        std::env::split_paths(&crate::tools_path()).any(|folder| folder.join(program).exists())
    };
    if !rustix::process::geteuid().is_root() {
        (
            "Roost does not run as root",
            "run Roost as root, or with the container flags of the compose file",
        )
    } else if !Path::new("/dev/net/tun").exists() {
        (
            "there is no /dev/net/tun",
            "load the kernel module tun, or give the container --device /dev/net/tun",
        )
    } else if !has("ip") {
        ("the program ip is missing", "apt-get install iproute2")
    } else if !has("nft") {
        ("the program nft is missing", "apt-get install nftables")
    } else {
        (
            "namespaces, tap devices or nftables are denied",
            "give the container the capabilities NET_ADMIN and SYS_ADMIN",
        )
    }
}

async fn network_details(context: &Context) -> Vec<Layer> {
    if context.networks.is_none() {
        return Vec::new();
    }
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let outside = namespace::default_links(&routes);
    let chains = namespace::chains().await.unwrap_or_default();
    let outside = match (outside.first(), dropping(&chains)) {
        (None, _) => off(
            "outside",
            false,
            "this host has no default route: guests reach nothing outside",
            "give the host a default route; guests have it at once",
        ),
        (Some(_), Some(table)) => off(
            "outside",
            false,
            format!(
                "the host's own firewall ({table}) drops what is forwarded, as Docker sets it up"
            ),
            "iptables -I FORWARD -i roost-+ -j ACCEPT; iptables -I FORWARD -o roost-+ -j ACCEPT \
             (with Docker: in DOCKER-USER); Roost's own table keeps guests from the host and each other",
        ),
        (Some(_), None) => on(
            "outside",
            false,
            format!("guests leave by {}", outside.join(", ")),
        ),
    };
    let names = match resolver::find(&context.config.network.nameservers) {
        Some(resolver) => on(
            "names",
            false,
            format!("guests' DNS is answered by {resolver}"),
        ),
        None => off(
            "names",
            false,
            "this host's resolver listens on loopback alone, which guests do not reach",
            "name a resolver for guests: network.nameservers = [\"9.9.9.9\"]",
        ),
    };
    let mut layers = vec![outside, names];
    layers.extend(proxy(context));
    layers
}

/// Nothing to say where there is no proxy.
fn proxy(context: &Context) -> Option<Layer> {
    const NAME: &str = "proxy";
    let (proxy, allow) = (&context.config.proxy, &context.config.network.allow);
    if proxy.http.is_none() && proxy.https.is_none() {
        return None;
    }
    let Some(beyond) = proxy.beyond_guests(allow) else {
        return Some(on(NAME, false, "guests use the host's proxy"));
    };
    let host = beyond.host_str().unwrap_or_default();
    Some(off(
        NAME,
        false,
        format!("guests do without the proxy at {host}: private addresses are closed to them"),
        format!("network.allow = [\"{host}\"], if guests may reach every port there"),
    ))
}

/// The table of a chain that drops what is forwarded unless something accepts it, in `nft list chains`.
fn dropping(chains: &str) -> Option<&str> {
    let mut table = "";
    for line in chains.lines() {
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches([' ', '{']);
        } else if line.contains("hook forward") && line.contains("policy drop") {
            return Some(table);
        }
    }
    None
}

fn cgroups(context: &Context) -> Layer {
    const NAME: &str = "resource limits";
    match &context.cgroups {
        Some(cgroups) => on(NAME, true, format!("control groups {}", cgroups.detail())),
        None => off(
            NAME,
            true,
            format!(
                "a machine may take more than its share: {}",
                crate::cgroups::Cgroups::find().err().unwrap_or_default()
            ),
            "run Roost as root with a writable /sys/fs/cgroup (a container: --cgroupns=host and a writable mount)",
        ),
    }
}

fn images(context: &Context) -> Layer {
    const NAME: &str = "guest images";
    if matches!(context.config.driver, Driver::Process { .. }) {
        return on(NAME, false, "not needed by this driver");
    }
    match &context.config.images {
        Some(folder) if folder.join("manifest.json").exists() => {
            on(NAME, false, folder.display().to_string())
        }
        Some(folder) => off(
            NAME,
            false,
            format!("{} has no image set", folder.display()),
            "./dev images",
        ),
        None => off(
            NAME,
            false,
            "none are configured",
            "./dev images, or set ROOST_IMAGES to the folder of a built set",
        ),
    }
}

fn disk(context: &Context) -> Layer {
    let free = capacity::disk_free(context.folders.data()) >> 20;
    let room = &context.config.room;
    let promised = context.ledger.promised(room);
    let reserve = room.disk_reserve_mib + promised.suspend_mib;
    let detail = format!("{free} MiB free in {}", context.folders.data().display());
    if disk_room(free, 0, promised, room).is_ok() {
        on("disk space", false, detail)
    } else {
        let text = format!("{detail}; {reserve} MiB must stay free, so nothing starts");
        off(
            "disk space",
            false,
            text,
            "delete workspaces or files, or move the data folder to a larger disk",
        )
    }
}

async fn store(context: &Context) -> Layer {
    const NAME: &str = "store";
    let disks = context.disks.clone();
    let place = disks.place();
    if !disks.is_remote() {
        let text = format!("{place}: what workspaces write is as safe as this host's disk");
        return on(NAME, false, text);
    }
    let checked = tokio::task::spawn_blocking(move || disks.check());
    let problem = match timeout(STORE_ANSWERS_WITHIN, checked).await {
        Ok(Ok(Ok(()))) => {
            let text = format!("{place}: what workspaces write is there within seconds");
            return on(NAME, false, text);
        }
        Ok(Ok(Err(error))) => chain(&error),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!(
            "it has not answered within {} s",
            STORE_ANSWERS_WITHIN.as_secs()
        ),
    };
    off(
        NAME,
        false,
        format!("{place}: {problem}. Workspaces go on; what they write is on this host alone"),
        "see to it that the store can be reached with the keys in storage.store; what waits is sent by itself then",
    )
}

fn memory(context: &Context) -> Layer {
    let room = &context.config.room;
    let total = capacity::measure(context.folders.data()).memory_mib;
    let promised = context.ledger.promised(room).memory_mib;
    let detail = format!(
        "{total} MiB, {promised} promised to workspaces, {} kept for the host",
        room.memory_reserve_mib
    );
    if total > room.memory_reserve_mib + room.memory_overhead_mib {
        on("memory", false, detail)
    } else {
        off(
            "memory",
            false,
            detail,
            "a smaller room.memory_reserve_mib, or more memory",
        )
    }
}

fn device(name: &str, path: &Path, without: &str, remedy: &str) -> Layer {
    match std::fs::File::options().read(true).write(true).open(path) {
        Ok(_) => on(name, false, format!("{} can be used", path.display())),
        Err(error) => off(
            name,
            false,
            format!("{}: {error}; {without}", path.display()),
            remedy,
        ),
    }
}

fn userfaultfd() -> Layer {
    const NAME: &str = "userfaultfd";
    let allowed = std::fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd");
    let allowed = allowed.is_ok_and(|value| value.trim() == "1");
    let device = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/userfaultfd")
        .is_ok();
    if rustix::process::geteuid().is_root() || allowed || device {
        on(NAME, false, "can be used")
    } else {
        off(
            NAME,
            false,
            "is denied to this user; checkpoints will copy more than they need",
            "give this user /dev/userfaultfd (chgrp kvm /dev/userfaultfd; chmod g+rw), or run as root",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_that_drops_what_is_forwarded_is_found() {
        let chains = "table inet roost_host {\n\tchain forward {\n\t\ttype filter hook forward priority -5; policy accept;\n\t}\n}\n\
            table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
        assert_eq!(dropping(chains), Some("ip filter"));
        assert_eq!(
            dropping(&chains.replace("policy drop", "policy accept")),
            None
        );
    }
}
