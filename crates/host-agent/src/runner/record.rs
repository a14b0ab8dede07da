//! What of a workspace is on disk, `host.json` in its folder, so that a restarted host agent takes it up.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fleet_api::host::{CloneState, RunSpec, StartFailure};
use serde::{Deserialize, Serialize};

use crate::runner::state::{Health, State, Then};

/// Version of the file that this code writes.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub format: u32,
    /// The last that was wanted.
    pub spec: RunSpec,
    pub stage: Stage,
    /// Of the host when it was written: no machine survives another boot.
    pub boot: String,
    /// Attempts to clone, over all starts.
    #[serde(default)]
    pub clone_attempts: u32,
    /// Where the repository goes, absolute, as the guest of this start has it.
    #[serde(default)]
    pub guest_folder: Option<String>,
}

/// How far it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum Stage {
    Starting,
    Running {
        #[serde(flatten)]
        clone: CloneState,
    },
    Stopping,
    Stopped,
    Failed {
        failure: StartFailure,
    },
    Deleting,
}

impl Stage {
    /// Of a state; nothing is written of one that is absent.
    pub fn of(state: &State) -> Option<Self> {
        Some(match state {
            State::Absent => return None,
            State::Stopped { .. } => Self::Stopped,
            State::Failed { failure, .. } => Self::Failed {
                failure: failure.clone(),
            },
            State::Starting { .. } => Self::Starting,
            State::Running { clone, .. } => Self::Running {
                clone: clone.clone(),
            },
            State::Stopping {
                then: Then::Rest, ..
            } => Self::Stopping,
            State::Stopping {
                then: Then::Delete, ..
            }
            | State::Deleting { .. } => Self::Deleting,
        })
    }

    /// The state to go on from when there is no machine (any more).
    pub fn without_machine(&self, epoch: u64) -> State {
        match self {
            Self::Starting | Self::Running { .. } | Self::Stopping | Self::Stopped => {
                State::Stopped { epoch }
            }
            Self::Failed { failure } => State::Failed {
                epoch,
                failure: failure.clone(),
            },
            Self::Deleting => State::Deleting {
                epoch,
                problem: None,
            },
        }
    }

    /// The state to go on from when the machine runs.
    pub fn with_machine(&self, epoch: u64) -> State {
        match self {
            Self::Starting => State::Starting { epoch },
            Self::Running { clone } => State::Running {
                epoch,
                clone: clone.clone(),
                health: Health::Answers,
            },
            Self::Stopping | Self::Stopped | Self::Failed { .. } => State::Stopping {
                epoch,
                then: Then::Rest,
            },
            Self::Deleting => State::Stopping {
                epoch,
                then: Then::Delete,
            },
        }
    }
}

/// Reads a record; an error for one of a later version.
pub fn read(path: &Path) -> io::Result<Record> {
    let record: Record = serde_json::from_slice(&std::fs::read(path)?)?;
    if record.format > FORMAT {
        let text = format!("{} was written by a later version of Roost", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(record)
}

/// Replaces the record in one step, so that a reader sees the old one or the new, also after a loss of power;
/// durable when it returns.
pub fn write(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let (file, unfinished) = unfinished(path, record)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The same, but after a loss of power the old one may be there: for what is then no longer true anyway.
pub fn replace(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let (_, unfinished) = unfinished(path, record)?;
    std::fs::rename(&unfinished, path)
}

/// The new record, under a name of its own.
fn unfinished(path: &Path, record: &impl Serialize) -> io::Result<(File, PathBuf)> {
    let unfinished = path.with_extension("unfinished");
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(&serde_json::to_vec_pretty(record)?)?;
    Ok((file, unfinished))
}

/// Identifies this boot of the host.
pub fn this_boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_first_version_stays_readable() {
        let text = include_str!("fixtures/host.json");
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(record.spec.epoch, 7);
        assert!(matches!(
            record.stage,
            Stage::Running {
                clone: CloneState::Failed { .. }
            }
        ));
        let again = serde_json::to_value(&record).unwrap();
        assert_eq!(
            again,
            serde_json::from_str::<serde_json::Value>(text).unwrap()
        );
    }

    #[test]
    fn a_record_of_a_later_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.json");
        let mut record: Record = serde_json::from_str(include_str!("fixtures/host.json")).unwrap();
        write(&path, &record).unwrap();
        assert_eq!(read(&path).unwrap(), record);
        record.format = FORMAT + 1;
        write(&path, &record).unwrap();
        assert!(
            read(&path)
                .unwrap_err()
                .to_string()
                .contains("later version")
        );
    }
}
