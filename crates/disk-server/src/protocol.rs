//! What supervisor and server say to each other: a line of JSON for each message. Both are of one build.

use serde::{Deserialize, Serialize};
use storage::disk::Figures;
use storage::manifest::Point;

/// What the server is asked. `id` comes back with the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    pub id: u64,
    pub what: Ask,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// A point in time: now. Answered when it is in the store.
    Point { point: Point },
    /// Make the disk this large.
    Grow { blocks: u32 },
    /// Send everything that was written so far. Answered when the store has it.
    Settle,
    /// Give up a version that was kept under a name.
    Forget { version: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "kebab-case")]
pub enum Said {
    /// The disk is open and its door answered.
    Ready,
    /// It cannot be opened; the server ends.
    Failed {
        reason: String,
    },
    Figures {
        figures: Figures,
        /// Newest version in the store.
        version: u64,
    },
    Trouble {
        trouble: Troubles,
    },
    /// All of an image is on this host.
    Whole,
    /// What was asked with this number is settled as of now; it is done later.
    Begun {
        id: u64,
    },
    Done {
        id: u64,
        /// What it led to.
        version: u64,
        /// Why it was not done.
        failure: Option<String>,
    },
}

/// What does not go as it should.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Troubles {
    /// The guest waits for its disk.
    pub door: Option<Trouble>,
    /// What the guest writes does not get to the store.
    pub store: Option<Trouble>,
    /// The disk is another placement's by now: this VM must not go on.
    pub fenced: bool,
}

/// For a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub reason: String,
    /// The host's disk has no room.
    pub full: bool,
}
