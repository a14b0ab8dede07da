//! What a disk needs done while it is used: sending, checkpoints, cleaning. Rules alone; whoever calls
//! [`Keeper::turn`] owns the thread.

use std::time::Duration;

use super::{Disk, Figures};
use crate::error::Result;

/// When to do what.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What was flushed is sent when the oldest of it is this old.
    pub send_after: Duration,
    /// Or when so many bytes wait.
    pub send_bytes: u64,
    /// The log's tail that an opening has to read, bytes.
    pub tail_bytes: u64,
    /// The log's size on this host above which copies that the store has are given up, bytes.
    pub local_bytes: u64,
    /// Free groups that keep their room, bytes.
    pub spare_bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            send_after: Duration::from_secs(2),
            send_bytes: 32 << 20,
            tail_bytes: 256 << 20,
            local_bytes: 16 << 30,
            spare_bytes: 256 << 20,
        }
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    Send,
    Checkpoint,
    /// Move what is live out of sparse groups.
    Compact,
    /// Give up local copies, oldest first: of so many groups.
    Evict(usize),
    /// Give the room of free groups back.
    Punch,
}

const GROUP: u64 = super::format::GROUP_BYTES;
/// Groups that are moved at once: between two turns others get their turn.
const COMPACT: usize = 8;
/// A log that is smaller is not cleaned.
const WORTH_CLEANING: u64 = 64 << 20;

/// What these figures call for, if anything.
pub fn chore(figures: &Figures, policy: &Policy) -> Option<Chore> {
    let old = figures.age_ms >= policy.send_after.as_millis() as u64;
    if figures.age_ms > 0 && (old || figures.unsent >= policy.send_bytes) {
        return Some(Chore::Send);
    }
    if figures.tail >= policy.tail_bytes {
        return Some(Chore::Checkpoint);
    }
    let used = figures.log.saturating_sub(figures.free);
    if used > policy.local_bytes {
        let groups = ((used - policy.local_bytes) / GROUP + 1).min(64);
        return Some(Chore::Evict(groups as usize));
    }
    // More than half of what is used is dead.
    if used > WORTH_CLEANING.max(figures.live * 2) && figures.sparse > 0 {
        return Some(Chore::Compact);
    }
    if figures.freed >= policy.spare_bytes {
        return Some(Chore::Checkpoint);
    }
    (figures.free > policy.spare_bytes + policy.spare_bytes / 4).then_some(Chore::Punch)
}

/// Looks after one disk.
#[derive(Debug)]
pub struct Keeper {
    policy: Policy,
}

impl Keeper {
    pub fn new(policy: Policy) -> Self {
        Self { policy }
    }

    /// Does what is to be done next. Says what it was; `None`: nothing.
    pub fn turn(&self, disk: &Disk) -> Result<Option<Chore>> {
        let chore = chore(&disk.figures(), &self.policy);
        match chore {
            Some(Chore::Send) => {
                disk.upload(disk.cut()?, None)?;
            }
            Some(Chore::Checkpoint) => disk.checkpoint()?,
            Some(Chore::Compact) => {
                disk.compact(COMPACT)?;
            }
            Some(Chore::Evict(groups)) => {
                let given_up = disk.evict(groups)?;
                // What can be given up is what the last checkpoint knows to be sent.
                if given_up == 0 {
                    disk.checkpoint()?;
                }
            }
            Some(Chore::Punch) => {
                disk.punch((self.policy.spare_bytes / GROUP) as usize)?;
            }
            None => {}
        }
        Ok(chore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_most_urgent_comes_first() {
        let policy = Policy::default();
        let idle = Figures {
            log: 100 * MIB,
            live: 90 * MIB,
            ..Figures::default()
        };
        assert_eq!(chore(&idle, &policy), None);
        let fresh = Figures {
            age_ms: 100,
            unsent: MIB,
            ..idle
        };
        assert_eq!(chore(&fresh, &policy), None);
        let old = Figures {
            age_ms: 2000,
            tail: 300 * MIB,
            ..fresh
        };
        assert_eq!(chore(&old, &policy), Some(Chore::Send));
        let tail = Figures { age_ms: 0, ..old };
        assert_eq!(chore(&tail, &policy), Some(Chore::Checkpoint));
        let large = Figures {
            log: policy.local_bytes + 10 * MIB,
            ..idle
        };
        assert_eq!(chore(&large, &policy), Some(Chore::Evict(11)));
        let sparse = Figures {
            live: 40 * MIB,
            sparse: 3,
            ..idle
        };
        assert_eq!(chore(&sparse, &policy), Some(Chore::Compact));
        let free = Figures {
            log: 500 * MIB,
            free: 400 * MIB,
            live: 90 * MIB,
            ..idle
        };
        assert_eq!(chore(&free, &policy), Some(Chore::Punch));
        let freed = Figures {
            freed: 256 * MIB,
            log: 500 * MIB,
            live: 244 * MIB,
            ..idle
        };
        assert_eq!(chore(&freed, &policy), Some(Chore::Checkpoint));
    }
}
