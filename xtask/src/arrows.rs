//! Which crate may depend on which. A new arrow is a reviewed decision: it is added here, with its reason.

mod tests {
    use std::collections::BTreeMap;

    use crate::generate::root;

    /// Crate → crates of this workspace that it may depend on, tests included.
    const ARROWS: &[(&str, &[&str])] = &[
        ("model", &[]),
        ("control-api", &["model"]),
        ("http-api", &["control-api"]),
        ("fleet-api", &["model"]),
        ("guest-protocol", &[]),
        ("monitor-protocol", &[]),
        ("terminal-screen", &[]),
        // guest-protocol: tests ask a real guest.
        ("microvm", &["guest-protocol"]),
        ("storage", &[]),
        ("storage-crash", &["storage"]),
        ("disk-server", &["storage"]),
        // The monitor starts the VMM and the server of its disk, and carries streams to the agent. storage: points
        // and figures of the disk.
        (
            "vm-monitor",
            &[
                "monitor-protocol",
                "guest-protocol",
                "microvm",
                "disk-server",
                "storage",
            ],
        ),
        ("guest-agent", &["guest-protocol", "terminal-screen"]),
        // guest-protocol: the host sets the guest up and clones (docs/decisions/0003). vm-monitor, microvm:
        // what it writes into a monitor's folder, and the pinned VMM.
        (
            "host-agent",
            &[
                "model",
                "fleet-api",
                "monitor-protocol",
                "guest-protocol",
                "vm-monitor",
                "microvm",
                "disk-server",
                "storage",
            ],
        ),
        (
            "control-plane",
            &["model", "control-api", "http-api", "fleet-api"],
        ),
        // guest-protocol: programs' exec and files over HTTP are sessions of the gateway's own. It never
        // reads one that it carries.
        // control-api: the wire types of those requests.
        (
            "gateway",
            &[
                "model",
                "control-api",
                "http-api",
                "fleet-api",
                "guest-protocol",
            ],
        ),
        (
            "roost",
            &[
                "model",
                "control-api",
                "fleet-api",
                "guest-protocol",
                "control-plane",
                "host-agent",
                "gateway",
                "vm-monitor",
                "microvm",
                "disk-server",
                "storage",
            ],
        ),
        (
            "roost-tests",
            &["control-api", "guest-protocol", "model", "terminal-screen"],
        ),
        (
            "xtask",
            &[
                "control-api",
                "guest-protocol",
                "model",
                "roost-tests",
                "storage",
                "storage-crash",
            ],
        ),
    ];

    #[test]
    fn every_dependency_between_crates_is_in_the_table() {
        let output = std::process::Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let table: BTreeMap<_, _> = ARROWS.iter().copied().collect();
        for package in packages {
            let name = package["name"].as_str().unwrap();
            let allowed = table
                .get(name)
                .unwrap_or_else(|| panic!("{name} is not in the table"));
            for dependency in package["dependencies"].as_array().unwrap() {
                let ours = dependency.get("path").is_some_and(|path| !path.is_null());
                let to = dependency["name"].as_str().unwrap();
                assert!(
                    !ours || allowed.contains(&to),
                    "{name} → {to} is not in the table"
                );
            }
        }
    }
}
