//! A control group for each virtual machine: what it may take of memory, CPU and processes.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use model::Size;

/// What a VMM may take beyond its guest's memory, MiB: translated code, buffers, cached disk blocks.
const BESIDE_GUEST_MIB: u64 = 512;
/// Threads of a VMM and what serves it.
const MAX_PROCESSES: u32 = 256;

/// The hierarchies of this host that we may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// One for all controllers; the folder is ours.
    Unified { folder: PathBuf },
    /// One for each controller (memory, cpu, pids), as far as they are there.
    Separate { folders: Vec<(Controller, PathBuf)> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }
}

impl Cgroups {
    /// Takes what this host offers; the error says why there is nothing to take.
    pub fn find() -> Result<Self, String> {
        Self::find_in(Path::new("/sys/fs/cgroup"))
    }

    fn find_in(mount: &Path) -> Result<Self, String> {
        if mount.join("cgroup.controllers").exists() {
            return unified(mount);
        }
        let folders: Vec<_> = Controller::ALL
            .into_iter()
            .filter_map(|controller| {
                let folder = mount.join(controller.name()).join("roost");
                make(&folder).ok()?;
                // It may be there from a server that ran as root.
                rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).ok()?;
                Some((controller, folder))
            })
            .collect();
        if folders
            .iter()
            .any(|(controller, _)| *controller == Controller::Memory)
        {
            Ok(Self::Separate { folders })
        } else {
            Err(format!(
                "no memory controller can be used below {}",
                mount.display()
            ))
        }
    }

    /// What was found, for a person.
    pub fn detail(&self) -> String {
        match self {
            Self::Unified { folder } => format!("version 2, {}", folder.display()),
            Self::Separate { folders } => {
                let names: Vec<_> = folders
                    .iter()
                    .map(|(controller, _)| controller.name())
                    .collect();
                format!("version 1: {}", names.join(", "))
            }
        }
    }

    /// Makes the group called `name` and gives the folders that its VMM is to join.
    pub fn create(&self, name: &str, size: Size) -> io::Result<Vec<PathBuf>> {
        let memory = (size.memory_mib + BESIDE_GUEST_MIB) << 20;
        match self {
            Self::Unified { folder } => {
                let group = folder.join(name);
                make(&group)?;
                fs::write(group.join("memory.max"), memory.to_string())?;
                // All of a machine or nothing: half of one is of no use.
                fs::write(group.join("memory.oom.group"), "1")?;
                fs::write(
                    group.join("cpu.weight"),
                    (100 * size.vcpus).min(10_000).to_string(),
                )?;
                fs::write(group.join("pids.max"), MAX_PROCESSES.to_string())?;
                Ok(vec![group])
            }
            Self::Separate { folders } => folders
                .iter()
                .map(|(controller, folder)| {
                    let group = folder.join(name);
                    make(&group)?;
                    let (file, value) = match controller {
                        Controller::Memory => ("memory.limit_in_bytes", memory),
                        Controller::Cpu => ("cpu.shares", u64::from(1024 * size.vcpus)),
                        Controller::Pids => ("pids.max", u64::from(MAX_PROCESSES)),
                    };
                    fs::write(group.join(file), value.to_string())?;
                    Ok(group)
                })
                .collect(),
        }
    }

    /// Removes the group called `name`, whatever of it is there, once its processes have ended.
    pub async fn remove(&self, name: &str) -> io::Result<()> {
        for group in self.groups(name) {
            // The kernel lets go of an ended process a moment after it has been reaped.
            let mut attempts = 0;
            loop {
                match fs::remove_dir(&group) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy && attempts < 50 => {
                        attempts += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn groups(&self, name: &str) -> Vec<PathBuf> {
        match self {
            Self::Unified { folder } => vec![folder.join(name)],
            Self::Separate { folders } => folders
                .iter()
                .map(|(_, folder)| folder.join(name))
                .collect(),
        }
    }
}

fn unified(mount: &Path) -> Result<Cgroups, String> {
    let folder = mount.join("roost");
    let refused = |error: io::Error| format!("{} cannot be made: {error}", folder.display());
    let controllers = "+memory +cpu +pids";
    let hand_down = |folder: &Path| {
        fs::write(folder.join("cgroup.subtree_control"), controllers).map_err(|error| {
            format!(
                "{} does not hand down its controllers: {error}",
                folder.display()
            )
        })
    };
    hand_down(mount)?;
    make(&folder).map_err(refused)?;
    hand_down(&folder)?;
    Ok(Cgroups::Unified { folder })
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_controllers_it_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let why = Cgroups::find_in(folder.path()).unwrap_err();
        assert!(why.contains("memory controller"), "{why}");
        fs::write(folder.path().join("cgroup.controllers"), "").unwrap();
        fs::create_dir(folder.path().join("cgroup.subtree_control")).unwrap();
        let why = Cgroups::find_in(folder.path()).unwrap_err();
        assert!(why.contains("does not hand down"), "{why}");
    }

    #[tokio::test]
    async fn a_group_has_limits_and_goes_away() {
        let Ok(cgroups) = Cgroups::find() else {
            eprintln!("skipped: no control groups here");
            return;
        };
        let name = format!("test-{}", std::process::id());
        let size = Size {
            vcpus: 2,
            memory_mib: 512,
            disk_gib: 16,
        };
        let folders = cgroups.create(&name, size).unwrap();
        let limits = ["memory.max", "memory.limit_in_bytes"]
            .iter()
            .find_map(|file| fs::read_to_string(folders[0].join(file)).ok());
        assert_eq!(limits.unwrap().trim(), (1024_u64 << 20).to_string());
        cgroups.remove(&name).await.unwrap();
        assert!(folders.iter().all(|folder| !folder.exists()));
        cgroups.remove(&name).await.unwrap();
    }
}
