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
    /// When more than this waits to be sent, bytes, whoever writes is slowed down: the more, the longer it is.
    pub backlog_bytes: u64,
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
            backlog_bytes: 8 << 30,
        }
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    Send,
    Checkpoint,
    /// Move what is live out of so many sparse groups.
    Compact(usize),
    /// Give up local copies, oldest first: of so many groups.
    Evict(usize),
    /// Give the room of free groups back.
    Punch,
}

const GROUP: u64 = super::format::GROUP_BYTES;
/// Groups that are moved at once: between two turns others get their turn, and where much is dead they are more.
const COMPACT: std::ops::RangeInclusive<u64> = 8..=64;
/// A log that is smaller is not cleaned.
const WORTH_CLEANING: u64 = 256 << 20;

/// What these figures call for, if anything; `quiet` when nothing was written for a while. Sending goes first, but not
/// twice in a row: beside somebody who never stops writing there always is something to send, and the log would grow.
pub fn chore(
    figures: &Figures,
    policy: &Policy,
    quiet: bool,
    last: Option<Chore>,
) -> Option<Chore> {
    let send = has_to_send(figures, policy, quiet).then_some(Chore::Send);
    let tidy = || tidying(figures, policy, quiet);
    match last {
        Some(Chore::Send) => tidy().or(send),
        _ => send.or_else(tidy),
    }
}

fn has_to_send(figures: &Figures, policy: &Policy, quiet: bool) -> bool {
    let old = figures.age_ms >= policy.send_after.as_millis() as u64;
    let much = figures.unsent >= policy.send_bytes;
    // What nobody flushed goes too, once nothing comes after it, or long before whoever writes is slowed down for it.
    let too_much = figures.unsent >= policy.backlog_bytes / 4;
    figures.age_ms > 0 && (old || much) || too_much || quiet && figures.unsent > 0
}

fn tidying(figures: &Figures, policy: &Policy, quiet: bool) -> Option<Chore> {
    if figures.tail >= policy.tail_bytes {
        return Some(Chore::Checkpoint);
    }
    let used = figures.log.saturating_sub(figures.free);
    if used > policy.local_bytes {
        let groups = ((used - policy.local_bytes) / GROUP + 1).min(64);
        return Some(Chore::Evict(groups as usize));
    }
    // More than half of what is used is dead.
    let worth = WORTH_CLEANING.max(figures.live * 2);
    if used > worth && figures.sparse > 0 {
        let groups = (used - worth) / GROUP / 16;
        return Some(Chore::Compact(
            groups.clamp(*COMPACT.start(), *COMPACT.end()) as usize,
        ));
    }
    if figures.freed >= policy.spare_bytes {
        return Some(Chore::Checkpoint);
    }
    let spare = figures.free > policy.spare_bytes + policy.spare_bytes / 4;
    (quiet && spare).then_some(Chore::Punch)
}

/// What each MiB that is written has to wait while so many bytes wait to be sent: nothing at first, then a millisecond
/// more for every 256 MiB, and never so much that the disk seems to stand still.
pub fn pace(unsent: u64, policy: &Policy) -> Duration {
    const STEP: u64 = 256 << 20;
    const LONGEST: Duration = Duration::from_millis(50);
    let steps = unsent.saturating_sub(policy.backlog_bytes) / STEP;
    Duration::from_millis(steps).min(LONGEST)
}

/// Looks after one disk.
#[derive(Debug)]
pub struct Keeper {
    policy: Policy,
    /// What had been written when it was last seen to be more, and when that was.
    written: u64,
    since_ms: u64,
    last: Option<Chore>,
}

impl Keeper {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            written: 0,
            since_ms: 0,
            last: None,
        }
    }

    /// Does what is to be done next. Says what it was; `None`: nothing.
    pub fn turn(&mut self, disk: &Disk) -> Result<Option<Chore>> {
        let figures = disk.figures();
        let now_ms = disk.world.clock.now_ms();
        disk.set_pace(pace(figures.unsent, &self.policy));
        if figures.written != self.written {
            (self.written, self.since_ms) = (figures.written, now_ms);
        }
        let quiet = now_ms.saturating_sub(self.since_ms) >= self.policy.quiet.as_millis() as u64;
        let chore = chore(&figures, &self.policy, quiet, self.last);
        self.last = chore;
        match chore {
            Some(Chore::Send) => {
                disk.upload(disk.cut()?, None)?;
            }
            Some(Chore::Checkpoint) => disk.checkpoint()?,
            Some(Chore::Compact(groups)) => {
                disk.compact(groups)?;
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
        assert_eq!(chore(&idle, &policy, true, None), None);
        let fresh = Figures {
            age_ms: 100,
            unsent: MIB,
            ..idle
        };
        assert_eq!(chore(&fresh, &policy, false, None), None);
        let unflushed = Figures { age_ms: 0, ..fresh };
        assert_eq!(chore(&unflushed, &policy, false, None), None);
        assert_eq!(chore(&unflushed, &policy, true, None), Some(Chore::Send));
        let heap = Figures {
            unsent: policy.backlog_bytes / 4,
            ..unflushed
        };
        assert_eq!(chore(&heap, &policy, false, None), Some(Chore::Send));
        let old = Figures {
            age_ms: 2000,
            tail: 513 * MIB,
            ..fresh
        };
        assert_eq!(chore(&old, &policy, true, None), Some(Chore::Send));
        let sent = Some(Chore::Send);
        assert_eq!(chore(&old, &policy, true, sent), Some(Chore::Checkpoint));
        let short = Figures { tail: 0, ..old };
        assert_eq!(chore(&short, &policy, true, sent), Some(Chore::Send));
        let tail = Figures {
            age_ms: 0,
            unsent: 0,
            ..old
        };
        assert_eq!(chore(&tail, &policy, true, None), Some(Chore::Checkpoint));
        let large = Figures {
            log: policy.local_bytes + 10 * MIB,
            ..idle
        };
        assert_eq!(chore(&large, &policy, true, None), Some(Chore::Evict(11)));
        let sparse = Figures {
            log: 300 * MIB,
            live: 40 * MIB,
            sparse: 3,
            ..idle
        };
        assert_eq!(chore(&sparse, &policy, true, None), Some(Chore::Compact(8)));
        let dead = Figures {
            log: 700 * MIB,
            ..sparse
        };
        let compact = Some(Chore::Compact(27));
        assert_eq!(chore(&dead, &policy, true, None), compact);
        let free = Figures {
            log: 500 * MIB,
            free: 400 * MIB,
            live: 90 * MIB,
            ..idle
        };
        assert_eq!(chore(&free, &policy, true, None), Some(Chore::Punch));
        assert_eq!(chore(&free, &policy, false, None), None);
        let freed = Figures {
            freed: 256 * MIB,
            log: 500 * MIB,
            live: 244 * MIB,
            ..idle
        };
        assert_eq!(chore(&freed, &policy, true, None), Some(Chore::Checkpoint));
    }

    #[test]
    fn whoever_writes_faster_than_is_sent_is_slowed_down_and_never_stopped() {
        let policy = Policy::default();
        let wait = |gib: u64| pace(gib << 30, &policy).as_millis();
        assert_eq!([0, 8, 9, 10, 100].map(wait), [0, 0, 4, 8, 50]);
    }
}
