//! Which saved work is brought to the store, and which goes from there. Pure.

use std::collections::HashMap;

use fleet_api::work::SavedWork;
use serde::{Deserialize, Serialize};

/// Of one repository, so many are kept.
pub const EACH: usize = 10;
/// Of one workspace, bytes. The newest of each repository stays even beyond it.
pub const TOTAL: u64 = 256 << 20;
/// A larger bundle is not kept, bytes.
pub const LARGEST: u64 = 32 << 20;
/// The timer brings no more than so many bytes a second of one repository, on average.
pub const PACE: u64 = 256 << 10;

/// One bundle in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub work: SavedWork,
    /// Of the bundle.
    pub bytes: u64,
}

/// What a bundle says of itself. Fields are only added; see `docs/storage-format.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    pub format: u32,
    #[serde(flatten)]
    pub work: SavedWork,
}

/// The newest of each repository, where the store does not have it.
pub fn missing<'a>(
    saved: &'a [SavedWork],
    kept: impl Iterator<Item = &'a Kept>,
) -> Vec<&'a SavedWork> {
    let mut newest: HashMap<&str, &SavedWork> = HashMap::new();
    for work in saved {
        let place = newest.entry(&work.name.path).or_insert(work);
        if work.saved_ms > place.saved_ms {
            *place = work;
        }
    }
    for kept in kept {
        let same =
            |work: &&SavedWork| work.name == kept.work.name && work.commit == kept.work.commit;
        if newest.get(&*kept.work.name.path).is_some_and(same) {
            newest.remove(&*kept.work.name.path);
        }
    }
    let mut missing: Vec<_> = newest.into_values().collect();
    missing.sort_by(|one, other| one.name.path.cmp(&other.name.path));
    missing
}

/// Those that are kept no longer.
pub fn superseded<'a, Id: Copy>(kept: impl Iterator<Item = (Id, &'a Kept)>) -> Vec<Id> {
    let mut all: Vec<_> = kept.collect();
    all.sort_by_key(|(_, kept)| std::cmp::Reverse(kept.work.saved_ms));
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut bytes = 0;
    let mut superseded = Vec::new();
    for (id, kept) in all {
        let count = counts.entry(&kept.work.name.path).or_default();
        *count += 1;
        if *count > 1 && (*count > EACH || bytes + kept.bytes > TOTAL) {
            superseded.push(id);
        } else {
            bytes += kept.bytes;
        }
    }
    superseded
}

#[cfg(test)]
mod tests {
    use fleet_api::work::WorkName;

    use super::*;

    fn work(path: &str, saved_ms: u64) -> SavedWork {
        SavedWork {
            name: WorkName {
                path: path.into(),
                reference: format!("refs/roost/wip/main/{saved_ms}"),
            },
            commit: format!("{path}{saved_ms}"),
            branch: "main".into(),
            saved_ms,
            reason: "timer".into(),
            operation: String::new(),
            files: 1,
            bytes: 1,
            insertions: 1,
            deletions: 0,
        }
    }

    fn kept(path: &str, saved_ms: u64, bytes: u64) -> Kept {
        Kept {
            work: work(path, saved_ms),
            bytes,
        }
    }

    #[test]
    fn only_the_newest_of_each_repository_is_fetched_and_only_once() {
        let saved = [work("/b", 2), work("/a", 1), work("/a", 3), work("/b", 1)];
        let names = |kept: &[Kept]| -> Vec<String> {
            let missing = missing(&saved, kept.iter());
            missing.iter().map(|work| work.commit.clone()).collect()
        };
        assert_eq!(names(&[]), ["/a3", "/b2"]);
        assert_eq!(names(&[kept("/a", 1, 9), kept("/b", 2, 9)]), ["/a3"]);
        let mut other = kept("/a", 3, 9);
        other.work.commit = "another".into();
        assert_eq!(names(&[other, kept("/b", 2, 9)]), ["/a3"]);
    }

    #[test]
    fn the_oldest_go_by_number_and_by_bytes_and_the_newest_of_each_stay() {
        let gone = |kept: &[Kept]| -> Vec<String> {
            let gone = superseded(kept.iter().enumerate());
            gone.iter()
                .map(|at| kept[*at].work.commit.clone())
                .collect()
        };
        let many: Vec<Kept> = (0..EACH as u64 + 2).map(|ms| kept("/a", ms, 1)).collect();
        assert_eq!(gone(&many), ["/a1", "/a0"]);
        let half = TOTAL / 2;
        let large = [
            kept("/a", 5, half),
            kept("/a", 4, half),
            kept("/a", 3, 1),
            kept("/b", 2, half),
            kept("/b", 1, half),
        ];
        assert_eq!(gone(&large), ["/a3", "/b1"]);
    }
}
