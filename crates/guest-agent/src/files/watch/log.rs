//! The numbered events of a watch, as many as are kept; and what becomes of several events of one path.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use guest_protocol::frames::{FileEvent, FileEvents, file_event::Kind};

/// Events kept for clients that come back.
const KEPT: usize = 10_000;

/// Numbered events. Numbers begin above 1, so that a client that has seen none still has one to resume from.
#[derive(Debug)]
pub struct Log {
    events: VecDeque<FileEvent>,
    /// Number of the last event.
    last: u64,
    /// Events up to this one may have been lost.
    lost: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            events: VecDeque::new(),
            last: 1,
            lost: 0,
        }
    }
}

impl Log {
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether all events after that number are known.
    pub fn holds(&self, number: u64) -> bool {
        number <= self.last && number >= self.lost && self.last - number <= self.events.len() as u64
    }

    pub fn push(&mut self, event: FileEvent) {
        self.events.push_back(event);
        self.last += 1;
        if self.events.len() > KEPT {
            self.events.pop_front();
        }
    }

    /// The kernel dropped events: everything has to be looked at again.
    pub fn lose(&mut self) {
        self.events.clear();
        self.last += 1;
        self.lost = self.last;
    }

    /// The next events after a number, if there are any; or that they are lost.
    pub fn after(&self, number: u64, most: usize) -> Option<FileEvents> {
        if number == self.last {
            return None;
        }
        if !self.holds(number) {
            let sequence = self.last;
            return Some(FileEvents {
                rescan: true,
                sequence,
                ..FileEvents::default()
            });
        }
        let skip = self.events.len() - (self.last - number) as usize;
        let events: Vec<_> = self.events.iter().skip(skip).take(most).cloned().collect();
        let sequence = number + events.len() as u64;
        Some(FileEvents {
            events,
            sequence,
            ..FileEvents::default()
        })
    }
}

/// What happened within a short time, one event per path.
#[derive(Debug, Default)]
pub struct Pending {
    events: BTreeMap<PathBuf, Kind>,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub fn add(&mut self, path: &Path, kind: Kind) {
        let merged = match (self.events.get(path), kind) {
            (None, kind) => Some(kind),
            // It came and went.
            (Some(Kind::Created), Kind::Deleted) => None,
            (Some(Kind::Created), _) => Some(Kind::Created),
            (Some(Kind::Deleted), Kind::Deleted) => Some(Kind::Deleted),
            // It was replaced.
            (Some(Kind::Deleted), _) => Some(Kind::Changed),
            (Some(Kind::Changed | Kind::Unspecified), Kind::Deleted) => Some(Kind::Deleted),
            (Some(Kind::Changed | Kind::Unspecified), _) => Some(Kind::Changed),
        };
        match merged {
            Some(kind) => drop(self.events.insert(path.to_owned(), kind)),
            None => drop(self.events.remove(path)),
        }
    }

    pub fn move_to(&mut self, log: &mut Log) {
        for (path, kind) in std::mem::take(&mut self.events) {
            log.push(FileEvent {
                kind: kind.into(),
                path: path.to_string_lossy().into_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u32) -> FileEvent {
        FileEvent {
            kind: Kind::Created.into(),
            path: number.to_string(),
        }
    }

    #[test]
    fn a_client_goes_on_where_it_was_or_is_told_to_look_again() {
        let mut log = Log::default();
        let first = log.last();
        assert!(log.holds(first) && log.after(first, 10).is_none());
        (0..5).for_each(|number| log.push(event(number)));
        let next = log.after(first, 3).unwrap();
        assert_eq!(next.events, [event(0), event(1), event(2)]);
        assert_eq!(
            log.after(next.sequence, 3).unwrap().events,
            [event(3), event(4)]
        );
        log.lose();
        log.push(event(9));
        assert!(log.after(next.sequence, 3).unwrap().rescan);
        assert!(!log.holds(next.sequence) && !log.holds(1000));
        (0..KEPT as u32 + 5).for_each(|number| log.push(event(number)));
        assert!(log.after(log.last() - KEPT as u64 - 1, 3).unwrap().rescan);
        assert_eq!(
            log.after(log.last() - KEPT as u64, 1).unwrap().events,
            [event(5)]
        );
    }

    #[test]
    fn several_events_of_a_path_become_the_one_that_matters() {
        let cases = [
            (
                &[Kind::Created, Kind::Changed, Kind::Changed][..],
                Some(Kind::Created),
            ),
            (&[Kind::Created, Kind::Deleted], None),
            (
                &[Kind::Deleted, Kind::Created, Kind::Changed],
                Some(Kind::Changed),
            ),
            (&[Kind::Changed, Kind::Deleted], Some(Kind::Deleted)),
            (
                &[Kind::Created, Kind::Deleted, Kind::Created],
                Some(Kind::Created),
            ),
        ];
        for (kinds, expected) in cases {
            let mut pending = Pending::default();
            kinds
                .iter()
                .for_each(|kind| pending.add(Path::new("/a"), *kind));
            assert_eq!(
                pending.events.get(Path::new("/a")).copied(),
                expected,
                "{kinds:?}"
            );
        }
    }
}
