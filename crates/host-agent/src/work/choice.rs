//! Which saved work is brought to the store, and which goes from there. Pure.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use fleet_api::work::SavedWork;
use serde::{Deserialize, Serialize};

/// Of one repository, so many are kept.
pub const EACH: usize = 10;
/// Of one workspace, so many repositories, and bytes.
pub const REPOSITORIES: usize = 64;
pub const TOTAL: u64 = 256 << 20;
/// Longer than any path with any name of a branch; what is longer is a guest's nonsense.
const LONGEST_NAME: usize = 8 * 1024;
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
    for work in saved.iter().filter(|work| is_plain(work)) {
        let place = newest.entry(&work.name.path).or_insert(work);
        if work.saved_ms > place.saved_ms {
            *place = work;
        }
    }
    let mut newest: Vec<_> = newest.into_values().collect();
    newest.sort_by_key(|work| (Reverse(work.saved_ms), &work.name.path));
    newest.truncate(REPOSITORIES);
    let kept: HashSet<_> = kept
        .map(|kept| (&kept.work.name, kept.work.commit.as_str()))
        .collect();
    newest.retain(|work| !kept.contains(&(&work.name, work.commit.as_str())));
    newest
}

fn is_plain(work: &SavedWork) -> bool {
    let texts = [
        &work.name.path,
        &work.name.reference,
        &work.commit,
        &work.branch,
        &work.reason,
        &work.operation,
    ];
    texts.iter().map(|text| text.len()).sum::<usize>() <= LONGEST_NAME
}

/// Those that are kept no longer. The newest of each repository have precedence, then the younger ones.
pub fn superseded<'a, Id: Copy>(kept: impl Iterator<Item = (Id, &'a Kept)>) -> Vec<Id> {
    let mut all: Vec<_> = kept.collect();
    all.sort_by_key(|(_, kept)| Reverse(kept.work.saved_ms));
    let mut ages: HashMap<&str, usize> = HashMap::new();
    let mut ranked: Vec<_> = all
        .into_iter()
        .map(|(id, kept)| {
            let age = ages.entry(&kept.work.name.path).or_default();
            *age += 1;
            (*age - 1, id, kept)
        })
        .collect();
    // Stable: within each half they stay in the order of their time.
    ranked.sort_by_key(|(age, ..)| *age > 0);
    let (mut count, mut bytes) = (0, 0);
    let mut superseded = Vec::new();
    for (age, id, kept) in ranked {
        let fits = count < REPOSITORIES * EACH && bytes + kept.bytes <= TOTAL;
        if age < EACH && fits {
            count += 1;
            bytes += kept.bytes;
        } else {
            superseded.push(id);
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
        let absurd = work(&"x".repeat(LONGEST_NAME), 1);
        assert_eq!(missing(&[absurd], [].iter()), [] as [&SavedWork; 0]);
        let many: Vec<_> = (0..100).map(|at| work(&format!("/{at}"), at)).collect();
        let first = missing(&many, [].iter());
        assert_eq!((first.len(), &*first[0].commit), (REPOSITORIES, "/9999"));
        assert_eq!(names(&[kept("/a", 1, 9), kept("/b", 2, 9)]), ["/a3"]);
        let mut other = kept("/a", 3, 9);
        other.work.commit = "another".into();
        assert_eq!(names(&[other, kept("/b", 2, 9)]), ["/a3"]);
    }

    #[test]
    fn the_oldest_go_by_number_and_by_bytes_before_the_newest_of_any_repository() {
        let gone = |kept: &[Kept]| -> Vec<String> {
            let gone = superseded(kept.iter().enumerate());
            gone.iter()
                .map(|at| kept[*at].work.commit.clone())
                .collect()
        };
        let many: Vec<Kept> = (0..EACH as u64 + 2).map(|ms| kept("/a", ms, 1)).collect();
        assert_eq!(gone(&many), ["/a1", "/a0"]);
        let third = TOTAL / 3;
        let large = [
            kept("/a", 5, third),
            kept("/a", 4, third),
            kept("/a", 3, third),
            kept("/b", 2, third),
            kept("/b", 1, 1),
        ];
        assert_eq!(gone(&large), ["/a3"]);
        let each: Vec<Kept> = (0..4)
            .map(|at| kept(&format!("/{at}"), at, third))
            .collect();
        assert_eq!(gone(&each), ["/00"]);
    }
}
