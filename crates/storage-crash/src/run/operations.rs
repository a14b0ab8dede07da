//! What a guest and its host do: each operation, and what is known after it.

use storage::collect::collect;
use storage::disk::Clock;
use storage::keys::Entropy;
use storage::manifest::{Point, PointKind};
use storage::{Disk, StorageError};

use super::{BLOCK, Guest, Known, RULES, Run, bytes_of, content_of};

/// Attempts of one operation before a run gives it up.
const ATTEMPTS: usize = 200;

impl Run {
    /// Does something until it is done, or the end comes.
    pub(super) fn until_done(
        &self,
        act: impl Fn(&Disk) -> storage::Result<()>,
    ) -> Result<bool, String> {
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

    pub(super) fn operation(&mut self) -> Result<(), String> {
        self.time.pass(self.chance.below(1000));
        let kinds = match self.guest {
            Guest::Plain => 100,
            Guest::Branching => 104,
        };
        match self.chance.below(kinds) {
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
            97..100 => self.grow(),
            100..102 => self.go_back(),
            _ => self.fork(),
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
        let Some((number, _)) = self.any_point() else {
            return Ok(());
        };
        self.points.remove(&number);
        self.chore("forget a point", |disk| disk.forget(number))
    }

    fn collect(&mut self) -> Result<(), String> {
        // So that something is old enough.
        self.time.pass(self.chance.below(30_000));
        let world = self.world();
        let now = self.time.now_ms();
        let interrupted = self.interrupted;
        self.chore("collect", |_| {
            let entropy = &*world.entropy;
            match collect(&world.store, &world.keys, entropy, &RULES, now, false) {
                // Somebody may be forking a version that was forgotten since: then nothing is collected for a while.
                Err(StorageError::Missing(_)) if interrupted => Ok(()),
                other => other.map(drop),
            }
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
        let mut bytes = Vec::with_capacity(count * BLOCK);
        for content in &contents {
            bytes.extend_from_slice(&bytes_of(*content));
        }
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
        self.read_range(first, count)
    }

    pub(super) fn read_range(&self, first: usize, count: usize) -> Result<(), String> {
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
        self.cuts.insert((log.clone(), until), now.clone());
        self.note(|| format!("upload until {until}"));
        let again = std::cell::Cell::new(false);
        let made = std::cell::Cell::new(0);
        let done = self.until_done(|disk| match disk.upload(until, point.as_ref()) {
            Err(StorageError::CutAgain) => {
                again.set(true);
                Ok(())
            }
            other => other.map(|manifest| made.set(manifest.version.number)),
        })?;
        if again.get() {
            return Ok(true);
        }
        let manifest = self.disk.as_ref().expect("it is open").manifest();
        if done && point.is_some() {
            self.points.insert(made.get(), now);
        }
        // A claim alone says nothing of what the disk has.
        if let Some(position) = manifest.log.filter(|_| done) {
            self.newest = manifest.version.number;
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
