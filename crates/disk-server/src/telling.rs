//! What a server tells its monitor.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use storage::disk::{Disk, Figures};
use storage::{Result, StorageError};

use crate::protocol::{Said, Trouble, Troubles};

/// Who is told.
pub struct Monitor {
    said: Mutex<Telling>,
}

struct Telling {
    control: UnixStream,
    troubles: Troubles,
    figures: Option<(Figures, u64)>,
}

impl Monitor {
    pub fn new(control: UnixStream) -> Self {
        Self {
            said: Mutex::new(Telling {
                control,
                troubles: Troubles::default(),
                figures: None,
            }),
        }
    }

    pub fn say(&self, said: &Said) {
        self.telling().say(said);
    }

    fn telling(&self) -> std::sync::MutexGuard<'_, Telling> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn done(&self, id: u64, outcome: Result<u64>) {
        let (version, failure) = match outcome {
            Ok(version) => (version, None),
            Err(error) => (0, Some(chain(&error))),
        };
        self.say(&Said::Done {
            id,
            version,
            failure,
        });
    }

    pub fn figures(&self, disk: &Disk) {
        let now = (disk.figures(), disk.manifest().version.number);
        let mut telling = self.telling();
        if telling.figures != Some(now) {
            telling.figures = Some(now);
            let (figures, version) = now;
            telling.say(&Said::Figures { figures, version });
        }
    }

    pub fn door(&self, error: Option<&StorageError>) {
        self.trouble(|troubles| troubles.door = error.map(trouble));
    }

    pub fn keeping(&self, error: Option<&StorageError>) {
        let fenced = matches!(error, Some(StorageError::Fenced { .. }));
        self.trouble(|troubles| {
            troubles.store = error.map(trouble);
            troubles.fenced |= fenced;
        });
    }

    fn trouble(&self, change: impl FnOnce(&mut Troubles)) {
        let mut telling = self.telling();
        let before = telling.troubles.clone();
        change(&mut telling.troubles);
        if telling.troubles != before {
            let trouble = telling.troubles.clone();
            tracing::warn!(?trouble, "trouble");
            telling.say(&Said::Trouble { trouble });
        }
    }
}

impl Telling {
    fn say(&mut self, said: &Said) {
        let mut line = serde_json::to_vec(said).expect("it has no keys but texts");
        line.push(b'\n');
        // Nobody there: it is about to be noticed.
        let _ = self.control.write_all(&line);
    }
}

fn trouble(error: &StorageError) -> Trouble {
    let full = match error {
        StorageError::File { source, .. } => source.kind() == io::ErrorKind::StorageFull,
        _ => false,
    };
    Trouble {
        reason: chain(error),
        full,
    }
}

/// An error and everything that led to it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| {
        format!("{text}: {source}")
    })
}
