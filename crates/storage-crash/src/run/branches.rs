//! Steps back and forks, and whether what is kept under a name stays what it was.

use std::cell::Cell;

use storage::disk::{Below, fork};
use storage::keys::Entropy;
use storage::manifest::{DiskName, Manifest, Point, PointKind, Version};
use storage::snapshot::Snapshot;
use storage::{Disk, StorageError};

use super::{BLOCK, GoingBack, Known, Run, content_of};

/// Forks of one run.
const FORKS: usize = 3;

impl Run {
    pub(super) fn any_point(&self) -> Option<(u64, Vec<u64>)> {
        let number = self.chance.below(self.points.len().max(1) as u64);
        let (number, content) = self.points.iter().nth(number as usize)?;
        Some((*number, content.clone()))
    }

    fn version(&self, disk: DiskName, number: u64) -> Version {
        Version {
            tenant: self.keys.tenant().clone(),
            disk,
            number,
        }
    }

    pub(super) fn go_back(&mut self) -> Result<(), String> {
        let Some((number, target)) = self.any_point() else {
            return Ok(());
        };
        self.note(|| format!("go back to {number}"));
        let branch = Point {
            id: self.chance.object_id(),
            name: "left".to_owned(),
            kind: PointKind::Branch,
            taken_ms: 0,
        };
        let until = Cell::new(0);
        if !self.until_done(|disk| disk.cut().map(|generation| until.set(generation)))? {
            return Ok(());
        }
        let disk = self.disk.take().expect("it is open");
        let left: Vec<u64> = self.model.iter().map(Known::now).collect();
        let log = disk.log_id().to_string();
        self.cuts.insert((log.clone(), until.get()), left.clone());
        self.lefts.insert((log.clone(), until.get()));
        self.targets.insert(number, target);
        self.going_back = Some(GoingBack {
            log,
            left: left.clone(),
        });
        self.interrupted = true;
        let outcome = disk.go_back(number, &branch);
        if self.host.faults.is_dead() {
            return Ok(());
        }
        match outcome {
            Ok(manifest) => {
                self.report.steps_back += 1;
                self.newest = manifest.version.number;
                match self.version_of(&branch)? {
                    // The end has come.
                    0 => return Ok(()),
                    kept => self.points.insert(kept, left),
                };
            }
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(format!("it does not go back: {error}")),
        }
        self.open_after_step_back()
    }

    /// Number of the newest version that is kept as this point.
    fn version_of(&self, point: &Point) -> Result<u64, String> {
        let store = self.world().store;
        let mut number = self.newest;
        while number > 0 {
            match store.manifest(&self.keys, &self.version(Self::name(), number)) {
                Ok((_, manifest))
                    if manifest
                        .point
                        .as_ref()
                        .is_some_and(|found| found.id == point.id) =>
                {
                    return Ok(number);
                }
                Ok(_) | Err(StorageError::Missing(_)) => number -= 1,
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.to_string()),
            }
            if self.host.faults.is_dead() {
                return Ok(0);
            }
        }
        Err(format!("nothing is kept as {}", point.name))
    }

    /// Opens the disk, which went back or did not.
    pub(super) fn open_after_step_back(&mut self) -> Result<(), String> {
        let world = self.world();
        let disk = loop {
            let opened = self.opener().open().and_then(|opened| match opened {
                Some(disk) => Ok(Some(disk)),
                None => match world.store.newest(&self.keys, &Self::name(), 0)? {
                    Some(newest) => self.opener().create(newest).map(Some),
                    None => Ok(None),
                },
            });
            match opened {
                _ if self.host.faults.is_dead() => return Ok(()),
                Ok(Some(disk)) => break disk,
                Ok(None) => return Err("the disk is nowhere".to_owned()),
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(format!("it does not open: {error}")),
            }
        };
        self.take_up(disk)
    }

    /// Goes on with a disk that was opened after a step back, and must have what was left or what it went back to.
    pub(super) fn take_up(&mut self, disk: Disk) -> Result<(), String> {
        let manifest = disk.manifest();
        let going = self.going_back.take().expect("it was going back");
        let is_here = disk.log_id().to_string() == going.log;
        let content = if is_here {
            going.left
        } else {
            self.content_of_version(&manifest)?
        };
        self.disk = Some(disk);
        if !is_here {
            self.newest = manifest.version.number;
            if let Some(position) = manifest.log {
                let key = (position.log.to_string(), position.generation);
                self.cuts.insert(key.clone(), content.clone());
                self.sent = Some(key);
            }
            self.begin_with(content);
            self.acked_blocks = 0;
            self.same_size()?;
            self.acked_blocks = self.model.len();
        }
        self.read_range(0, self.model.len())
    }

    pub(super) fn fork(&mut self) -> Result<(), String> {
        let Some((number, content)) = self.any_point() else {
            return Ok(());
        };
        if self.forks.len() == FORKS {
            return Ok(());
        }
        let name = format!("fork-{}", self.next_fork);
        let name = DiskName::new(name).expect("a fine name");
        self.next_fork += 1;
        self.note(|| format!("fork {number} as {name}"));
        self.interrupted = true;
        let (world, epoch) = (self.world(), self.epoch);
        let from = self.version(Self::name(), number);
        if self.until_done(|_| fork(&world, &from, &name, epoch).map(drop))? {
            self.report.forks += 1;
            self.forks.insert(name, content);
        }
        Ok(())
    }

    /// Reads all that is kept under a name, and all forks.
    pub(super) fn check_kept(&self) -> Result<(), String> {
        let store = self.world().store;
        for (number, content) in &self.points {
            self.check_version(&self.version(Self::name(), *number), content)?;
        }
        for (name, content) in &self.forks {
            let newest = store.newest(&self.keys, name, 0);
            let newest: Option<Manifest> = newest.map_err(|error| error.to_string())?;
            let newest = newest.ok_or_else(|| format!("{name} is gone"))?;
            self.check_version(&newest.version, content)?;
        }
        Ok(())
    }

    fn check_version(&self, version: &Version, content: &[u64]) -> Result<(), String> {
        let store = self.world().store;
        let wrong = |error| format!("{version} cannot be read: {error}");
        let snapshot = Snapshot::open(&store, &self.keys, version, None).map_err(wrong)?;
        // A growth that failed may have been done.
        if (snapshot.blocks() as usize) < content.len() {
            return Err(format!("{version} is smaller than it was"));
        }
        let mut bytes = vec![0; content.len() * BLOCK];
        snapshot.read(0, &mut bytes).map_err(wrong)?;
        for (block, (bytes, expected)) in bytes.chunks(BLOCK).zip(content).enumerate() {
            let found = content_of(bytes)?;
            if found != *expected {
                return Err(format!(
                    "block {block} of {version} is {found}, and should be {expected}"
                ));
            }
        }
        Ok(())
    }
}
