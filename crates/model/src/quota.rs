//! How much somebody may have. A quota stops growth and nothing else: what is there can always be used, taken away and
//! deleted, also beyond it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is not given is not limited. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    pub workspaces: Option<u64>,
    /// Sizes of all disks together, as guests see them.
    pub logical: Option<u64>,
    /// In the store, each byte once.
    pub stored: Option<u64>,
}

/// What there is, or what would be added to it. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub workspaces: u64,
    pub logical: u64,
    /// Mostly not known before it is there.
    pub stored: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    Workspaces,
    Logical,
    Stored,
}

/// What a quota does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    pub what: Limited,
    pub used: u64,
    pub more: u64,
    pub limit: u64,
}

impl Quota {
    /// Whether what is `used` may grow by `more`. What does not grow is not looked at, but for the store: whatever is
    /// added ends there.
    pub fn admit(&self, used: Amount, more: Amount) -> Result<(), Excess> {
        let within = |what, used: u64, more: u64, limit: Option<u64>| match limit {
            Some(limit) if used.saturating_add(more) > limit => Err(Excess {
                what,
                used,
                more,
                limit,
            }),
            Some(_) | None => Ok(()),
        };
        if more.workspaces > 0 {
            let (used, more) = (used.workspaces, more.workspaces);
            within(Limited::Workspaces, used, more, self.workspaces)?;
        }
        if more.logical > 0 {
            within(Limited::Logical, used.logical, more.logical, self.logical)?;
        }
        // A store that is full to the byte has no room either.
        let least = more.stored.max(1);
        within(Limited::Stored, used.stored, least, self.stored).map_err(|excess| Excess {
            more: more.stored,
            ..excess
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota {
        workspaces: Some(3),
        logical: Some(100),
        stored: Some(50),
    };

    fn amount(workspaces: u64, logical: u64, stored: u64) -> Amount {
        Amount {
            workspaces,
            logical,
            stored,
        }
    }

    #[test]
    fn what_may_grow_and_what_may_not() {
        let excess = |what, used, more, limit| {
            Err(Excess {
                what,
                used,
                more,
                limit,
            })
        };
        for (used, more, expected) in [
            (amount(2, 84, 49), amount(1, 16, 0), Ok(())),
            (
                amount(3, 0, 0),
                amount(1, 16, 0),
                excess(Limited::Workspaces, 3, 1, 3),
            ),
            (
                amount(2, 85, 0),
                amount(1, 16, 0),
                excess(Limited::Logical, 85, 16, 100),
            ),
            (
                amount(1, 16, 50),
                amount(1, 16, 0),
                excess(Limited::Stored, 50, 0, 50),
            ),
            // A file whose size is known.
            (
                amount(1, 16, 40),
                amount(1, 16, 11),
                excess(Limited::Stored, 40, 11, 50),
            ),
            // A point adds nothing but what it stores, also for somebody who is beyond the rest.
            (amount(9, 900, 49), amount(0, 0, 0), Ok(())),
            (
                amount(9, 900, 51),
                amount(0, 0, 0),
                excess(Limited::Stored, 51, 0, 50),
            ),
            // A disk grows that is one of too many workspaces.
            (amount(9, 80, 0), amount(0, 20, 0), Ok(())),
        ] {
            assert_eq!(QUOTA.admit(used, more), expected, "{used:?} + {more:?}");
        }
        let all = amount(u64::MAX, u64::MAX, u64::MAX);
        assert_eq!(Quota::default().admit(all, all), Ok(()));
    }
}
