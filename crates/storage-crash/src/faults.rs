//! What can go wrong where: the whole table. A step that is not in it fails the run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::chance::Chance;

/// A step of the code under test: what it does, to which kind of thing.
pub type Step = (&'static str, &'static str);

/// What can happen at a step instead of what should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process is gone, before the step or with a part of it done.
    Kill,
    /// The power is gone: what was not synced may be lost, sector by sector.
    PowerCut,
    /// It did not happen, and says so.
    Refused,
    /// It happened, and says that it did not.
    DoneButRefused,
    /// What is read is not what is there.
    WrongBytes,
    /// A sync failed: what was not durable never will be, though it can still be read.
    LostBySync,
}

use Fault::{DoneButRefused, Kill, LostBySync, PowerCut, Refused, WrongBytes};

/// Every step, with all that can happen there.
pub const TABLE: &[(Step, &[Fault])] = &[
    (("open", "log"), &[Kill, PowerCut, Refused]),
    (("open", "map"), &[Kill, PowerCut, Refused]),
    (("open", "session"), &[Kill, PowerCut, Refused]),
    (("open", "unfinished"), &[Kill, PowerCut, Refused]),
    (("remove", "unfinished"), &[Kill, PowerCut, Refused]),
    (("remove", "map"), &[Kill, PowerCut, Refused]),
    (("remove", "log"), &[Kill, PowerCut, Refused]),
    (
        ("replace", "unfinished"),
        &[Kill, PowerCut, Refused, DoneButRefused],
    ),
    (("read", "log"), &[Kill, PowerCut, Refused]),
    (("read", "map"), &[Kill, PowerCut, Refused]),
    (("read", "session"), &[Kill, PowerCut, Refused]),
    (("length", "map"), &[Kill, PowerCut]),
    (("length", "log"), &[Kill, PowerCut]),
    (("write", "log"), &[Kill, PowerCut, Refused, DoneButRefused]),
    (("write", "unfinished"), &[Kill, PowerCut, Refused]),
    (("sync", "log"), &[Kill, PowerCut, LostBySync]),
    (("sync", "unfinished"), &[Kill, PowerCut, LostBySync]),
    (("allocate", "log"), &[Kill, PowerCut, Refused]),
    (("punch", "log"), &[Kill, PowerCut, Refused]),
    (("put", "pack"), &[Kill, PowerCut, Refused, DoneButRefused]),
    (("put", "note"), &[Kill, PowerCut, Refused, DoneButRefused]),
    (("get", "note"), &[Kill, PowerCut, Refused, WrongBytes]),
    (
        ("delete", "note"),
        &[Kill, PowerCut, Refused, DoneButRefused],
    ),
    (("list", "note"), &[Kill, PowerCut, Refused]),
    (("list", "pack"), &[Kill, PowerCut, Refused]),
    (("list", "index"), &[Kill, PowerCut, Refused]),
    (("head", "index"), &[Kill, PowerCut, Refused]),
    (
        ("delete", "pack"),
        &[Kill, PowerCut, Refused, DoneButRefused],
    ),
    (
        ("delete", "index"),
        &[Kill, PowerCut, Refused, DoneButRefused],
    ),
    (("put", "index"), &[Kill, PowerCut, Refused, DoneButRefused]),
    (
        ("put", "manifest"),
        &[Kill, PowerCut, Refused, DoneButRefused],
    ),
    (("get", "pack"), &[Kill, PowerCut, Refused, WrongBytes]),
    (("get", "index"), &[Kill, PowerCut, Refused, WrongBytes]),
    (("get", "manifest"), &[Kill, PowerCut, Refused, WrongBytes]),
    (("head", "pack"), &[Kill, PowerCut, Refused]),
    (("list", "manifest"), &[Kill, PowerCut, Refused]),
    (
        ("delete", "manifest"),
        &[Kill, PowerCut, Refused, DoneButRefused],
    ),
];

/// Decides what happens at each step of one run.
#[derive(Clone, Debug)]
pub struct Faults {
    chance: Chance,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Steps until the next kill or power cut; `None`: none is to come.
    until_end: Option<u64>,
    power: bool,
    /// Other faults come once in so many steps; 0: never.
    rarity: u64,
    dead: bool,
    seen: BTreeMap<(Step, Option<Fault>), u64>,
}

impl Faults {
    pub fn new(chance: Chance) -> Self {
        Self {
            chance,
            inner: Arc::default(),
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process lives again, for so many steps; `power`: it ends with a power cut. Other faults come
    /// once in `rarity` steps.
    pub fn arm(&self, steps: Option<u64>, power: bool, rarity: u64) {
        let mut inner = self.inner();
        inner.until_end = steps;
        inner.power = power;
        inner.rarity = rarity;
        inner.dead = false;
    }

    /// Nothing goes wrong from now on.
    pub fn disarm(&self) {
        self.arm(None, false, 0);
    }

    /// The process was ended at a step.
    pub fn is_dead(&self) -> bool {
        self.inner().dead
    }

    pub fn seen(&self) -> BTreeMap<(Step, Option<Fault>), u64> {
        self.inner().seen.clone()
    }

    /// What happens at `step`.
    pub fn at(&self, step: Step) -> Option<Fault> {
        let row = TABLE.iter().find(|(known, _)| *known == step);
        let (_, possible) =
            row.unwrap_or_else(|| panic!("the step {step:?} is not in the fault table"));
        let mut inner = self.inner();
        if inner.dead {
            return Some(Kill);
        }
        let fault = match inner.until_end {
            Some(0) => {
                inner.dead = true;
                Some(if inner.power { PowerCut } else { Kill })
            }
            other => {
                inner.until_end = other.map(|steps| steps - 1);
                let soft: Vec<Fault> = possible
                    .iter()
                    .copied()
                    .filter(|fault| !matches!(fault, Kill | PowerCut))
                    .collect();
                let comes =
                    inner.rarity > 0 && !soft.is_empty() && self.chance.one_in(inner.rarity);
                let fault = comes.then(|| soft[self.chance.below(soft.len() as u64) as usize]);
                // Wrong bytes again and again are damage, which is told and not repaired.
                fault.filter(|fault| *fault != WrongBytes || self.chance.one_in(6))
            }
        };
        *inner.seen.entry((step, fault)).or_default() += 1;
        fault
    }
}
