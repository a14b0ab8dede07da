//! Bugs on purpose, so that the crash tests can be seen to find them. Only there with the feature
//! `planted-bugs`, which no product build has; even then a bug is planted by a call, for one thread.

/// A way to lose data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A flush returns without having synced.
    AckWithoutSync,
    /// A group of the log is used again although the last checkpoint needs it.
    ReuseBeforeCheckpoint,
    /// Groups count as sent before a version names them.
    CommitBeforeStore,
    /// After a failed sync the next one is believed.
    BelieveNextSync,
    /// A checkpoint points to what was not synced.
    CheckpointBeforeLog,
    /// A version that somebody else wrote counts as one's own.
    IgnoreFence,
    /// What a disk had before it went back is opened again.
    KeepLeft,
}

impl Bug {
    pub const ALL: [Self; 7] = [
        Self::AckWithoutSync,
        Self::ReuseBeforeCheckpoint,
        Self::CommitBeforeStore,
        Self::BelieveNextSync,
        Self::CheckpointBeforeLog,
        Self::IgnoreFence,
        Self::KeepLeft,
    ];
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug for this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(not(feature = "planted-bugs"))]
mod switch {
    pub(crate) const fn is(_: super::Bug) -> bool {
        false
    }
}

pub(crate) use switch::is;
#[cfg(feature = "planted-bugs")]
pub use switch::plant;
