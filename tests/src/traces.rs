//! What a workspace may leave behind on its host, and must not.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Processes, namespaces, interfaces, mounts, cgroups and files that belong to a server's workspaces.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traces(pub BTreeSet<String>);

impl Traces {
    /// Looks at everything; `data` is the server's folder.
    pub fn look(data: &Path) -> Self {
        let mut found = BTreeSet::new();
        let text = data.to_string_lossy().into_owned();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !name
                .to_string_lossy()
                .bytes()
                .all(|byte| byte.is_ascii_digit())
            {
                continue;
            }
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&text) && !line.contains(" up ") {
                found.insert(format!("process: {line}"));
            }
        }
        for folder in ["workspaces", "run"] {
            for entry in std::fs::read_dir(data.join(folder))
                .into_iter()
                .flatten()
                .flatten()
            {
                found.insert(format!(
                    "file: {folder}/{}",
                    entry.file_name().to_string_lossy()
                ));
            }
        }
        for (kind, arguments) in [
            ("namespace", ["netns", "list"].as_slice()),
            ("interface", ["-brief", "link"].as_slice()),
        ] {
            for line in said("ip", arguments)
                .lines()
                .filter(|line| line.contains("roost"))
            {
                found.insert(format!(
                    "{kind}: {}",
                    line.split_whitespace().next().unwrap_or_default()
                ));
            }
        }
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        found.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&text))
                .map(|line| format!("mount: {line}")),
        );
        Self(found)
    }

    /// What is here and was not in `before`.
    pub fn since(&self, before: &Self) -> BTreeSet<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}
