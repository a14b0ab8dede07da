//! One run: a guest that writes and flushes, hosts that die, and a model that remembers what was promised.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use storage::collect::{Rules, collect};
use storage::disk::Clock;
use storage::keys::{Entropy, KeyRing, Tenant, TenantKeys};
use storage::manifest::{DiskName, Manifest, Point, PointKind};
use storage::store::Store;
use storage::{Disk, OpenDisk, StorageError, World};

use crate::chance::{Chance, Time};
use crate::faults::{Fault, Faults, Step};
use crate::files::SimFiles;
use crate::store::SimStore;

const BLOCK: usize = 4096;
/// Of simulated time, which passes quickly.
const HOLD_MS: u64 = 20_000;
const RULES: Rules = Rules {
    grace_ms: 25_000,
    reprieve_ms: 10_000,
    claim_ms: 100_000_000,
};
/// Attempts of one operation before a run gives it up.
const ATTEMPTS: usize = 200;

/// What a run went through.
#[derive(Debug, Default)]
pub struct Report {
    pub operations: u64,
    pub kills: u64,
    pub power_cuts: u64,
    pub moves: u64,
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

struct Run {
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
    /// Versions that are kept under a name.
    points: Vec<u64>,
    /// Lowest generation that a version must have by now.
    sent: Option<(String, u64)>,
    next_content: u64,
    last: VecDeque<String>,
    report: Report,
}

/// Runs once. What it finds is told with the operations that led to it.
pub fn run(seed: u64) -> Result<Report, String> {
    let mut run = Run::new(seed);
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
    fn new(seed: u64) -> Self {
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
            points: Vec::new(),
            sent: None,
            next_content: 1,
            last: VecDeque::new(),
            report: Report::default(),
            chance,
        }
    }

    fn world(&self) -> World {
        World {
            files: Arc::new(self.host.files.clone()),
            store: Store::new(Arc::new(self.store.clone()), None),
            keys: self.keys.clone(),
            entropy: Arc::new(self.chance.clone()),
            clock: self.time.clone(),
            threads: 1,
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
        self.check_all("at the end")
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
        if self.sent.is_some() && self.chance.one_in(3) {
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
        self.settle(power)
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
        let position = manifest.log.ok_or("a version without a position")?;
        let key = (position.log.to_string(), position.generation);
        let hosts = self.hosts;
        self.note(|| format!("moved to host {hosts} with {key:?}"));
        if let Some((log, generation)) = &self.sent
            && *log == key.0
            && key.1 < *generation
        {
            return Err(format!(
                "{generation} was sent, and the newest version has {key:?}"
            ));
        }
        let cut = self
            .cuts
            .get(&key)
            .ok_or_else(|| format!("nobody cut at {key:?}"))?;
        self.model = cut
            .iter()
            .map(|content| Known {
                acked: *content,
                ..Known::default()
            })
            .collect();
        // Groups of the new log come after this version.
        self.cuts.retain(|known, _| *known == key);
        self.sent = Some(key);
        self.disk = Some(disk);
        self.acked_blocks = 0;
        self.same_size()?;
        self.acked_blocks = self.model.len();
        self.check_all("after a move")?;
        self.stale_sends(true)
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

    /// Does something until it is done, or the end comes.
    fn until_done(&self, act: impl Fn(&Disk) -> storage::Result<()>) -> Result<bool, String> {
        let disk = self.disk.as_ref().expect("it is open");
        for _ in 0..ATTEMPTS {
            match act(disk) {
                Ok(()) if self.host.faults.is_dead() => return Ok(false),
                Ok(()) => return Ok(true),
                Err(_) if self.host.faults.is_dead() => return Ok(false),
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("it is not done after {ATTEMPTS} attempts"))
    }

    fn operation(&mut self) -> Result<(), String> {
        self.time.pass(self.chance.below(1000));
        match self.chance.below(100) {
            0..44 => self.write(),
            44..51 => self.zero(),
            51..66 => self.flush(),
            66..73 => self.read(),
            73..82 => self.upload(),
            82..86 => self.chore("checkpoint", Disk::checkpoint),
            86..92 => self.collect(),
            92 => self.chore("compact", |disk| disk.compact(4).map(drop)),
            93 => self.chore("evict", |disk| disk.evict(3).map(drop)),
            94 => self.chore("punch", |disk| disk.punch(0).map(drop)),
            95 => self.chore("compact store", |disk| disk.compact_store().map(drop)),
            96 => self.forget(),
            _ => self.grow(),
        }
    }

    fn chore(
        &mut self,
        name: &str,
        act: impl Fn(&Disk) -> storage::Result<()>,
    ) -> Result<(), String> {
        self.note(|| name.to_owned());
        self.until_done(act)?;
        Ok(())
    }

    fn forget(&mut self) -> Result<(), String> {
        let Some(number) = self.points.pop() else {
            return Ok(());
        };
        self.chore("forget a point", |disk| disk.forget(number))
    }

    fn collect(&mut self) -> Result<(), String> {
        // So that something is old enough.
        self.time.pass(self.chance.below(30_000));
        let world = self.world();
        let now = self.time.now_ms();
        self.chore("collect", |_| {
            let entropy = &*world.entropy;
            collect(&world.store, &world.keys, entropy, &RULES, now, false).map(drop)
        })
    }

    fn some_blocks(&self) -> (usize, usize) {
        let first = self.chance.below(self.model.len() as u64) as usize;
        let most = (self.model.len() - first).min(if self.chance.one_in(6) { 200 } else { 9 });
        (first, 1 + self.chance.below(most as u64) as usize)
    }

    fn write(&mut self) -> Result<(), String> {
        let (first, count) = self.some_blocks();
        let contents: Vec<u64> = (self.next_content..).take(count).collect();
        self.next_content += count as u64;
        self.note(|| format!("write {first}+{count}: {}…", contents[0]));
        let bytes: Vec<u8> = contents
            .iter()
            .flat_map(|content| bytes_of(*content))
            .collect();
        let done = self.until_done(|disk| disk.write((first * BLOCK) as u64, &bytes))?;
        self.became(first, &contents, done);
        Ok(())
    }

    fn became(&mut self, first: usize, contents: &[u64], done: bool) {
        for (known, content) in self.model[first..].iter_mut().zip(contents) {
            if done {
                known.since.push(*content);
            } else {
                known.maybe = Some(*content);
            }
        }
    }

    fn zero(&mut self) -> Result<(), String> {
        let (first, count) = self.some_blocks();
        self.note(|| format!("zero {first}+{count}"));
        let (offset, length) = ((first * BLOCK) as u64, (count * BLOCK) as u64);
        let done = self.until_done(|disk| disk.zero(offset, length))?;
        self.became(first, &vec![0; count], done);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        self.note(|| "flush".to_owned());
        if self.until_done(Disk::flush)? {
            self.acknowledged();
        }
        Ok(())
    }

    fn acknowledged(&mut self) {
        self.acked_blocks = self.model.len();
        for known in &mut self.model {
            known.acked = known.now();
            known.since.clear();
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let (first, count) = self.some_blocks();
        self.note(|| format!("read {first}+{count}"));
        let found = std::cell::RefCell::new(vec![0; count * BLOCK]);
        let done =
            self.until_done(|disk| disk.read((first * BLOCK) as u64, &mut found.borrow_mut()[..]))?;
        if !done {
            return Ok(());
        }
        for (block, content) in (first..).zip(found.borrow().chunks(BLOCK)) {
            let content = content_of(content)?;
            let known = &self.model[block];
            if content != known.now() {
                return Err(format!(
                    "block {block} reads {content}, and should be {known:?}"
                ));
            }
        }
        Ok(())
    }

    fn upload(&mut self) -> Result<(), String> {
        while self.upload_once()? {}
        Ok(())
    }

    /// True: it has to be tried again with another cut.
    fn upload_once(&mut self) -> Result<bool, String> {
        let point = self.chance.one_in(4).then(|| Point {
            id: self.chance.object_id(),
            name: "point".to_owned(),
            kind: PointKind::Manual,
            taken_ms: 0,
        });
        let until = std::cell::Cell::new(0);
        let cut = self.until_done(|disk| disk.cut().map(|generation| until.set(generation)))?;
        if !cut {
            return Ok(false);
        }
        let until = until.get();
        let disk = self.disk.as_ref().expect("it is open");
        let now: Vec<u64> = self.model.iter().map(Known::now).collect();
        let log = disk.log_id().to_string();
        self.cuts.insert((log.clone(), until), now);
        self.note(|| format!("upload until {until}"));
        let again = std::cell::Cell::new(false);
        let done = self.until_done(|disk| match disk.upload(until, point.as_ref()) {
            Err(StorageError::CutAgain) => {
                again.set(true);
                Ok(())
            }
            other => other.map(drop),
        })?;
        if again.get() {
            return Ok(true);
        }
        let manifest = self.disk.as_ref().expect("it is open").manifest();
        if done && point.is_some() {
            self.points.push(manifest.version.number);
        }
        if let Some(position) = manifest.log.filter(|_| done) {
            self.sent = Some((position.log.to_string(), position.generation));
        }
        Ok(false)
    }

    fn grow(&mut self) -> Result<(), String> {
        let blocks = self.model.len() + self.chance.below(20) as usize;
        self.note(|| format!("grow to {blocks}"));
        if self.until_done(|disk| disk.grow(blocks as u32))? {
            self.model.resize(blocks, Known::default());
            // Growing flushes.
            self.acknowledged();
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
