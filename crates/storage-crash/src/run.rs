//! One run: a guest that writes and flushes, hosts that die, and a model that remembers what was promised.

mod branches;
mod operations;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use storage::collect::Rules;
use storage::keys::{KeyRing, Tenant, TenantKeys};
use storage::manifest::{DiskName, Manifest};
use storage::store::Store;
use storage::{Disk, OpenDisk, StorageError, World};

use crate::chance::{Chance, Time};
use crate::faults::{Fault, Faults, Step};
use crate::files::SimFiles;
use crate::store::SimStore;

const BLOCK: usize = 4096;
/// Of simulated time, which passes quickly.
const HOLD_MS: u64 = 20_000;
/// Two blocks already go the way of large writes.
const LARGE: usize = 2 * BLOCK;
/// Packs go soon after nobody needs them any more.
const SEGMENTS: usize = 3;
const RULES: Rules = Rules {
    grace_ms: 25_000,
    reprieve_ms: 10_000,
    claim_ms: 100_000_000,
};

/// What a run went through.
#[derive(Debug, Default)]
pub struct Report {
    pub operations: u64,
    pub kills: u64,
    pub power_cuts: u64,
    pub moves: u64,
    pub steps_back: u64,
    pub forks: u64,
    /// Steps, with what happened instead of them, and how often.
    pub steps: BTreeMap<(Step, Option<Fault>), u64>,
}

/// What the guest knows of a block: content is a number, zero for zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// At the last flush that was acknowledged.
    acked: u64,
    /// Written since, oldest first.
    since: Vec<u64>,
    /// Of the operation that the end came into, if it did.
    maybe: Option<u64>,
}

impl Known {
    fn now(&self) -> u64 {
        self.since.last().copied().unwrap_or(self.acked)
    }
}

/// A host and what it has.
struct Host {
    files: SimFiles,
    faults: Faults,
    folder: PathBuf,
}

/// A step back that may have been done.
struct GoingBack {
    /// The log of what is left.
    log: String,
    left: Vec<u64>,
}

/// What is done to a disk in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// It is written, read, sent, moved and cleaned.
    Plain,
    /// It also goes back, and others are forked from it.
    Branching,
}

struct Run {
    guest: Guest,
    chance: Chance,
    time: Arc<Time>,
    keys: TenantKeys,
    store: SimStore,
    host: Host,
    hosts: u64,
    epoch: u64,
    disk: Option<Disk>,
    /// A disk whose host was taken for dead.
    stale: Option<(Disk, Faults)>,
    model: Vec<Known>,
    /// Size of the disk at the last flush that was acknowledged.
    acked_blocks: usize,
    /// What the disk was at each cut: log and generation.
    cuts: BTreeMap<(String, u64), Vec<u64>>,
    /// Versions that are kept under a name, and what they have.
    points: BTreeMap<u64, Vec<u64>>,
    /// What a disk that went back to a point has, also when the point was forgotten since.
    targets: BTreeMap<u64, Vec<u64>>,
    /// The disk is going back, or was when the end came.
    going_back: Option<GoingBack>,
    /// Those of the cuts that steps back began with: what they left may be a version of a later generation.
    lefts: BTreeSet<(String, u64)>,
    next_fork: usize,
    /// Disks that were forked, and what they have.
    forks: BTreeMap<DiskName, Vec<u64>>,
    /// Somebody announced a fork, and may not have come to withdraw it.
    interrupted: bool,
    /// Lowest generation that a version must have by now.
    sent: Option<(String, u64)>,
    /// Lowest number that the newest version must have by now.
    newest: u64,
    next_content: u64,
    last: VecDeque<String>,
    report: Report,
}

/// Runs once. What it finds is told with the operations that led to it.
pub fn run(seed: u64, guest: Guest) -> Result<Report, String> {
    let mut run = Run::new(seed, guest);
    let outcome = run.all();
    run.report.steps = run.host.faults.seen();
    match outcome {
        Ok(()) => Ok(run.report),
        Err(found) => {
            let last: Vec<String> = run.last.into();
            Err(format!("seed {seed}: {found}\n  {}", last.join("\n  ")))
        }
    }
}

impl Run {
    fn new(seed: u64, guest: Guest) -> Self {
        let chance = Chance::new(seed);
        let faults = Faults::new(chance.clone());
        let tenant = Tenant::new("tenant").expect("a fine name");
        let keys = KeyRing::generate(&chance).tenant(&tenant);
        let time: Arc<Time> = Arc::default();
        let host = Host {
            files: SimFiles::new(chance.clone(), faults.clone()),
            faults: faults.clone(),
            folder: PathBuf::from("/host"),
        };
        let blocks = 100 + chance.below(500) as usize;
        Self {
            guest,
            time: time.clone(),
            keys: keys.expect("a ring with a key"),
            store: SimStore::new(chance.clone(), faults, time),
            host,
            hosts: 1,
            epoch: 1,
            disk: None,
            stale: None,
            model: vec![Known::default(); blocks],
            acked_blocks: blocks,
            cuts: BTreeMap::new(),
            points: BTreeMap::new(),
            targets: BTreeMap::new(),
            going_back: None,
            lefts: BTreeSet::new(),
            next_fork: 0,
            forks: BTreeMap::new(),
            interrupted: false,
            sent: None,
            newest: 0,
            next_content: 1,
            last: VecDeque::new(),
            report: Report::default(),
            chance,
        }
    }

    fn world(&self) -> World {
        World {
            files: Arc::new(self.host.files.clone()),
            store: Store::new(Arc::new(self.store.clone())),
            keys: self.keys.clone(),
            entropy: Arc::new(self.chance.clone()),
            clock: self.time.clone(),
            threads: 1,
            large: LARGE,
            segments: SEGMENTS,
            hold_ms: HOLD_MS,
        }
    }

    fn opener(&self) -> OpenDisk {
        OpenDisk {
            world: self.world(),
            name: Self::name(),
            folder: self.host.folder.clone(),
            epoch: self.epoch,
            base: None,
        }
    }

    fn name() -> DiskName {
        DiskName::new("disk").expect("a fine name")
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.report.operations += 1;
        self.last.push_back(what());
        if self.last.len() > 25 {
            self.last.pop_front();
        }
    }

    fn all(&mut self) -> Result<(), String> {
        let blocks = self.model.len() as u32;
        let first = Manifest::unborn(self.keys.tenant().clone(), Self::name(), blocks, None);
        self.host.faults.arm(None, false, 300);
        self.disk = Some(loop {
            match self.opener().create(first.clone()) {
                Err(error) if error.is_transient() => {}
                made => break made.map_err(|error| error.to_string())?,
            }
        });
        for _ in 0..2 + self.chance.below(5) {
            let power = self.chance.one_in(2);
            let steps = 1 + self
                .chance
                .below(if self.chance.one_in(3) { 60 } else { 900 });
            let rarity = [0, 200, 50, 12][self.chance.below(4) as usize];
            self.host.faults.arm(Some(steps), power, rarity);
            while !self.host.faults.is_dead() {
                self.operation()?;
            }
            self.after_the_end(power)?;
        }
        self.host.faults.disarm();
        self.check_all("at the end")?;
        self.check_kept()
    }

    /// Opens the disk again, wherever it is to be next.
    fn after_the_end(&mut self, power: bool) -> Result<(), String> {
        self.disk = None;
        self.note(|| format!("the end came, power: {power}"));
        if power {
            self.report.power_cuts += 1;
            self.host.files.power_cut();
        } else {
            self.report.kills += 1;
        }
        if self.newest > 0 && self.chance.one_in(3) {
            return self.move_on();
        }
        // It may end again while it opens.
        let mut ends = self.chance.below(3);
        loop {
            if ends > 0 {
                ends -= 1;
                let steps = self.chance.below(40);
                self.host.faults.arm(Some(steps), power, 0);
            } else {
                self.host.faults.arm(None, power, 400);
            }
            self.epoch += self.chance.below(2);
            match self.opener().open() {
                Ok(Some(disk)) => {
                    self.disk = Some(disk);
                    let again = ends > 0 || self.host.faults.is_dead();
                    if !again {
                        break;
                    }
                }
                Ok(None) if self.host.faults.is_dead() => {}
                Ok(None) if self.going_back.is_some() => {
                    self.host.faults.disarm();
                    return self.open_after_step_back();
                }
                Ok(None) => return Err("the disk is gone".to_owned()),
                Err(error) if self.host.faults.is_dead() => {
                    self.note(|| format!("the end came while opening: {error}"));
                }
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(format!("it does not open: {error}")),
            }
            self.disk = None;
            if power && self.host.faults.is_dead() {
                self.host.files.power_cut();
            }
        }
        self.host.faults.disarm();
        let disk = self.disk.take().expect("it was opened");
        let log = disk.log_id().to_string();
        if self
            .going_back
            .as_ref()
            .is_some_and(|going| going.log != log)
        {
            // The end came when it had been made from the store already.
            return self.take_up(disk);
        }
        self.disk = Some(disk);
        self.settle(power)?;
        self.going_back = None;
        Ok(())
    }

    /// Reads everything: each block is what it may be, and that it is from now on.
    fn settle(&mut self, power: bool) -> Result<(), String> {
        self.same_size()?;
        let found = self.read_everything()?;
        for (block, content) in found.iter().enumerate() {
            let known = &mut self.model[block];
            let fine = if power {
                known.acked == *content
                    || known.since.contains(content)
                    || known.maybe == Some(*content)
            } else {
                known.now() == *content || known.maybe == Some(*content)
            };
            if !fine {
                return Err(format!(
                    "block {block} is {content}, and {known:?} is known of it (power: {power})"
                ));
            }
            if power {
                known.acked = *content;
                known.since.clear();
            } else if known.now() != *content {
                known.since.push(*content);
            }
            known.maybe = None;
        }
        Ok(())
    }

    /// A disk that was growing may have grown; it never shrinks.
    fn same_size(&mut self) -> Result<(), String> {
        let disk = self.disk.as_ref().expect("it is open");
        let blocks = disk.size() as usize / BLOCK;
        if blocks < self.acked_blocks {
            return Err(format!(
                "it has {blocks} blocks, and had {}",
                self.acked_blocks
            ));
        }
        self.model.resize(blocks, Known::default());
        Ok(())
    }

    fn read_everything(&self) -> Result<Vec<u64>, String> {
        let disk = self.disk.as_ref().expect("it is open");
        let mut bytes = vec![0; self.model.len() * BLOCK];
        disk.read(0, &mut bytes)
            .map_err(|error| format!("it cannot be read: {error}"))?;
        bytes.chunks(BLOCK).map(content_of).collect()
    }

    fn check_all(&mut self, when: &str) -> Result<(), String> {
        let found = self.read_everything()?;
        for (block, (content, known)) in found.iter().zip(&self.model).enumerate() {
            if *content != known.now() {
                return Err(format!(
                    "{when} block {block} is {content}, and should be {known:?}"
                ));
            }
        }
        Ok(())
    }

    /// The host is given up; another goes on from the store. The old one may not be dead.
    fn move_on(&mut self) -> Result<(), String> {
        self.host.faults.disarm();
        if self.chance.one_in(2)
            && let Ok(Some(disk)) = self.opener().open()
        {
            self.stale = Some((disk, self.host.faults.clone()));
        }
        self.report.moves += 1;
        self.hosts += 1;
        self.epoch += 1;
        let faults = Faults::new(self.chance.clone());
        self.store = self.store.for_host(faults.clone());
        self.host = Host {
            files: SimFiles::new(self.chance.clone(), faults.clone()),
            faults,
            folder: PathBuf::from(format!("/host{}", self.hosts)),
        };
        let world = self.world();
        self.host.faults.arm(None, false, 300);
        let disk = loop {
            let newest = world.store.newest(&self.keys, &Self::name(), 0);
            let made = match newest {
                Ok(Some(newest)) => self.opener().create(newest),
                Ok(None) => return Err("there is no version".to_owned()),
                Err(error) => Err(error),
            };
            let disk = match made {
                Err(error) if error.is_transient() => continue,
                made => made.map_err(|error| error.to_string())?,
            };
            if self.chance.one_in(2) {
                // The last moment for the old one to send something.
                self.stale_sends(false)?;
            }
            match disk.claim() {
                Ok(()) => break disk,
                Err(StorageError::Invalid(_)) => {}
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(format!("it cannot be claimed: {error}")),
            }
        };
        self.host.faults.disarm();
        let manifest = disk.manifest();
        let hosts = self.hosts;
        self.note(|| format!("moved to host {hosts} with {}", manifest.version));
        let content = self.content_of_version(&manifest)?;
        self.begin_with(content);
        if let Some(position) = manifest.log {
            let key = (position.log.to_string(), position.generation);
            // Groups of the new log come after this version.
            self.cuts.retain(|known, _| *known == key);
            self.sent = Some(key);
        }
        self.newest = manifest.version.number;
        self.going_back = None;
        self.disk = Some(disk);
        self.acked_blocks = 0;
        self.same_size()?;
        self.acked_blocks = self.model.len();
        self.check_all("after a move")?;
        self.stale_sends(true)
    }

    /// What the newest version has to be, as the model has it.
    fn content_of_version(&self, manifest: &Manifest) -> Result<Vec<u64>, String> {
        let number = manifest.version.number;
        if number < self.newest {
            return Err(format!(
                "version {} was made, and the newest is {number}",
                self.newest
            ));
        }
        let Some(position) = manifest.log else {
            let Some(target) = manifest.parent.as_ref().map(|parent| parent.number) else {
                // Nothing was ever sent: it got a name, or an owner.
                return Ok(vec![0; manifest.blocks as usize]);
            };
            let content = self.targets.get(&target);
            return content
                .cloned()
                .ok_or_else(|| format!("nobody went back to {target}"));
        };
        let key = (position.log.to_string(), position.generation);
        if let Some((log, generation)) = &self.sent
            && *log == key.0
            && key.1 < *generation
        {
            return Err(format!(
                "{generation} was sent, and the newest version has {key:?}"
            ));
        }
        let mut earlier = self.cuts.range((key.0.clone(), 0)..=key.clone());
        let cut = earlier
            .next_back()
            .filter(|(cut, _)| **cut == key || self.lefts.contains(cut));
        cut.map(|(_, content)| content.clone())
            .ok_or_else(|| format!("nobody cut at {key:?}"))
    }

    /// The disk has this, durably.
    fn begin_with(&mut self, content: Vec<u64>) {
        let known = |acked| Known {
            acked,
            ..Known::default()
        };
        self.model = content.into_iter().map(known).collect();
    }

    /// The old host goes on as if nothing had happened. `fenced`: it must be found out.
    fn stale_sends(&mut self, fenced: bool) -> Result<(), String> {
        let Some((disk, _)) = &self.stale else {
            return Ok(());
        };
        let content = self.next_content;
        self.next_content += 1;
        let written = disk.write(0, &bytes_of(content));
        let sent = disk.cut().and_then(|until| disk.upload(until, None));
        if fenced {
            self.stale = None;
            return match sent {
                Err(StorageError::Fenced { .. }) => Ok(()),
                Ok(manifest) => Err(format!("a stale host wrote version {}", manifest.version)),
                Err(error) => Err(format!("a stale host was not told so: {error}")),
            };
        }
        if written.is_ok()
            && let Ok(manifest) = sent
            && let Some(position) = manifest.log
        {
            let mut model: Vec<u64> = self.model.iter().map(Known::now).collect();
            model.resize(manifest.blocks as usize, 0);
            // What the stale disk has is what it had when it was taken for dead, and this block.
            let mut bytes = vec![0; model.len() * BLOCK];
            let (disk, _) = self.stale.as_ref().expect("it is still there");
            disk.read(0, &mut bytes)
                .map_err(|error| error.to_string())?;
            let found: Result<Vec<u64>, String> = bytes.chunks(BLOCK).map(content_of).collect();
            self.cuts
                .insert((position.log.to_string(), position.generation), found?);
        }
        Ok(())
    }
}

fn bytes_of(content: u64) -> Vec<u8> {
    content.to_le_bytes().repeat(BLOCK / 8)
}

fn content_of(bytes: &[u8]) -> Result<u64, String> {
    let (words, _) = bytes.as_chunks::<8>();
    let content = u64::from_le_bytes(words[0]);
    if words.iter().any(|word| *word != words[0]) {
        return Err(format!("a block is in pieces: {content} and others"));
    }
    Ok(content)
}
