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
    /// The room of others is given back once nothing was written for so long: who writes much is about to want it
    /// again, and room that is taken anew costs more than room that is there.
    pub quiet: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            send_after: Duration::from_secs(2),
            send_bytes: 256 << 20,
            tail_bytes: 512 << 20,
            local_bytes: 16 << 30,
            spare_bytes: 256 << 20,
            quiet: Duration::from_secs(10),
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
const WORTH_CLEANING: u64 = 256 << 20;

/// What these figures call for, if anything; `quiet` when nothing was written for a while.
pub fn chore(figures: &Figures, policy: &Policy, quiet: bool) -> Option<Chore> {
    let old = figures.age_ms >= policy.send_after.as_millis() as u64;
    if figures.age_ms > 0 && (old || figures.unsent >= policy.send_bytes) {
        return Some(Chore::Send);
    }
    // What nobody flushed goes too, once nothing comes after it.
    if quiet && figures.unsent > 0 {
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
    let spare = figures.free > policy.spare_bytes + policy.spare_bytes / 4;
    (quiet && spare).then_some(Chore::Punch)
}

/// Looks after one disk.
#[derive(Debug)]
pub struct Keeper {
    policy: Policy,
    /// What had been written when it was last seen to be more, and when that was.
    written: u64,
    since_ms: u64,
}

impl Keeper {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            written: 0,
            since_ms: 0,
        }
    }

    /// Does what is to be done next. Says what it was; `None`: nothing.
    pub fn turn(&mut self, disk: &Disk) -> Result<Option<Chore>> {
        let figures = disk.figures();
        let now_ms = disk.world.clock.now_ms();
        if figures.written != self.written {
            (self.written, self.since_ms) = (figures.written, now_ms);
        }
        let quiet = now_ms.saturating_sub(self.since_ms) >= self.policy.quiet.as_millis() as u64;
        let chore = chore(&figures, &self.policy, quiet);
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
        assert_eq!(chore(&idle, &policy, true), None);
        let fresh = Figures {
            age_ms: 100,
            unsent: MIB,
            ..idle
        };
        assert_eq!(chore(&fresh, &policy, false), None);
        let unflushed = Figures { age_ms: 0, ..fresh };
        assert_eq!(chore(&unflushed, &policy, false), None);
        assert_eq!(chore(&unflushed, &policy, true), Some(Chore::Send));
        let old = Figures {
            age_ms: 2000,
            tail: 513 * MIB,
            ..fresh
        };
        assert_eq!(chore(&old, &policy, true), Some(Chore::Send));
        let tail = Figures {
            age_ms: 0,
            unsent: 0,
            ..old
        };
        assert_eq!(chore(&tail, &policy, true), Some(Chore::Checkpoint));
        let large = Figures {
            log: policy.local_bytes + 10 * MIB,
            ..idle
        };
        assert_eq!(chore(&large, &policy, true), Some(Chore::Evict(11)));
        let sparse = Figures {
            log: 300 * MIB,
            live: 40 * MIB,
            sparse: 3,
            ..idle
        };
        assert_eq!(chore(&sparse, &policy, true), Some(Chore::Compact));
        let free = Figures {
            log: 500 * MIB,
            free: 400 * MIB,
            live: 90 * MIB,
            ..idle
        };
        assert_eq!(chore(&free, &policy, true), Some(Chore::Punch));
        assert_eq!(chore(&free, &policy, false), None);
        let freed = Figures {
            freed: 256 * MIB,
            log: 500 * MIB,
            live: 244 * MIB,
            ..idle
        };
        assert_eq!(chore(&freed, &policy, true), Some(Chore::Checkpoint));
    }
}
