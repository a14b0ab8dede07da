//! What a saved commit is called and says of itself, and which of them are kept. Pure.

use std::collections::HashSet;

/// Where the references lie.
pub const PREFIX: &str = "refs/roost/wip/";
/// In the place of a branch's name.
const DETACHED: &str = "detached";
/// Kept whatever their age.
const NEWEST: usize = 20;
/// Beyond those one is kept for each day of as many.
const DAYS: u64 = 7;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What `for-each-ref` is to print for [`parse`].
pub const FORMAT: &str =
    "--format=%(refname)%00%(objectname)%00%(tree)%00%(committerdate:unix)%00%(contents)%00";
const FIELDS: usize = 5;
const SUBJECT: &str = "Work in progress: ";

/// One saved commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    pub reference: String,
    pub commit: String,
    pub tree: String,
    pub time_ms: u64,
    pub note: Note,
}

/// What a saved commit says in its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    pub reason: String,
    /// Empty: there was no commit yet.
    pub head: String,
    /// The index as a tree; empty: it had conflicts.
    pub index: String,
    /// What was under way: its name, and what tells it from others of the kind.
    pub operation: String,
    pub files: u32,
    pub bytes: u64,
    pub insertions: u64,
    pub deletions: u64,
}

impl Note {
    pub fn message(&self) -> String {
        let Self {
            reason,
            head,
            index,
            operation,
            files,
            bytes,
            insertions,
            deletions,
        } = self;
        format!(
            "{SUBJECT}{reason}\n\nHead: {head}\nIndex: {index}\nOperation: {operation}\nFiles: {files}\n\
             Bytes: {bytes}\nInsertions: {insertions}\nDeletions: {deletions}\n"
        )
    }

    fn parse(message: &str) -> Self {
        let mut note = Self::default();
        for line in message.lines() {
            if let Some(reason) = line.strip_prefix(SUBJECT) {
                note.reason = reason.into();
            }
            let Some((name, value)) = line.split_once(": ") else {
                continue;
            };
            // What is no number was not written here.
            let number = || value.parse().unwrap_or_default();
            match name {
                "Head" => note.head = value.into(),
                "Index" => note.index = value.into(),
                "Operation" => note.operation = value.into(),
                "Files" => note.files = value.parse().unwrap_or_default(),
                "Bytes" => note.bytes = number(),
                "Insertions" => note.insertions = number(),
                "Deletions" => note.deletions = number(),
                _ => {}
            }
        }
        note
    }
}

impl Saved {
    /// Empty: HEAD was detached.
    pub fn branch(&self) -> &str {
        match branch_and_stamp(&self.reference) {
            Some((branch, _)) if branch != DETACHED => branch,
            _ => "",
        }
    }

    fn stamp(&self) -> &str {
        branch_and_stamp(&self.reference).map_or("", |(_, stamp)| stamp)
    }
}

/// The reference for what is saved on a branch, or on none, at a time.
pub fn reference(branch: &str, time_ms: u64) -> String {
    let branch = if branch.is_empty() { DETACHED } else { branch };
    format!("{PREFIX}{branch}/{}", stamp(time_ms))
}

/// Whether a reference is one of ours by its name.
pub fn is_reference(name: &str) -> bool {
    branch_and_stamp(name).is_some()
}

fn branch_and_stamp(reference: &str) -> Option<(&str, &str)> {
    let (branch, stamp) = reference.strip_prefix(PREFIX)?.rsplit_once('/')?;
    let pattern = "00000000T000000.000Z";
    let fits = stamp.len() == pattern.len()
        && stamp.bytes().zip(pattern.bytes()).all(|(is, like)| {
            if like == b'0' {
                is.is_ascii_digit()
            } else {
                is == like
            }
        });
    (fits && !branch.is_empty()).then_some((branch, stamp))
}

/// The saved commits of a listing, the newest first. References that others have put there are not ours.
pub fn parse(listing: &str) -> Vec<Saved> {
    let fields: Vec<&str> = listing.split('\0').collect();
    let mut saved: Vec<Saved> = fields
        .chunks_exact(FIELDS)
        .filter_map(|fields| {
            let &[reference, commit, tree, seconds, message] = fields else {
                return None;
            };
            // The line break is git's, after the entry before.
            let reference = reference.trim_start();
            let (_, stamp) = branch_and_stamp(reference)?;
            let seconds: u64 = seconds.parse().ok()?;
            let milliseconds: u64 = stamp[16..19].parse().ok()?;
            Some(Saved {
                reference: reference.into(),
                commit: commit.into(),
                tree: tree.into(),
                time_ms: seconds * 1000 + milliseconds,
                note: Note::parse(message),
            })
        })
        .collect();
    saved.sort_by(|one, other| other.stamp().cmp(one.stamp()));
    saved
}

/// Those of a listing that are not kept any longer.
pub fn superseded(saved: &[Saved], now_ms: u64) -> Vec<&Saved> {
    let oldest = stamp(now_ms.saturating_sub(DAYS * DAY_MS));
    let mut days = HashSet::new();
    saved
        .iter()
        .enumerate()
        .filter(|(position, saved)| {
            let newest_of_day = days.insert(&saved.stamp()[..8]);
            let kept_for_day = newest_of_day && saved.stamp() >= oldest.as_str();
            *position >= NEWEST && !kept_for_day
        })
        .map(|(_, saved)| saved)
        .collect()
}

/// A time in UTC, in a form that sorts and that references may have.
fn stamp(time_ms: u64) -> String {
    let (days, within) = (time_ms / DAY_MS, time_ms % DAY_MS);
    let (year, month, day) = date(days);
    let (seconds, milliseconds) = (within / 1000, within % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{milliseconds:03}Z")
}

/// Year, month and day of a day since 1970. Years are taken from March on, so that a leap day is the last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_sort() {
        for (time_ms, expected) in [
            (0, "19700101T000000.000Z"),
            (951_782_400_000, "20000229T000000.000Z"),
            (1_790_000_000_123, "20260921T141320.123Z"),
            (4_107_542_399_999, "21000228T235959.999Z"),
            (4_107_542_400_000, "21000301T000000.000Z"),
        ] {
            assert_eq!(stamp(time_ms), expected);
        }
    }

    #[test]
    fn a_listing_is_read_back_newest_first_and_without_what_is_not_ours() {
        let note = Note {
            reason: "before: a restore".into(),
            head: "1".into(),
            index: "2".into(),
            operation: "merge 3".into(),
            files: 4,
            bytes: 5,
            insertions: 6,
            deletions: 7,
        };
        let entry = |reference: &str, seconds: u64| {
            format!("{reference}\0c\0t\0{seconds}\0{}\0\n", note.message())
        };
        let older = reference("feature/x", 1_790_000_000_123);
        let newer = reference("", 1_790_000_001_000);
        let listing = entry(&older, 1_790_000_000)
            + &entry(&newer, 1_790_000_001)
            + &entry("refs/roost/wip/main/mine", 1);
        let saved = parse(&listing);
        let seen: Vec<_> = saved
            .iter()
            .map(|saved| (saved.reference.as_str(), saved.branch(), saved.time_ms))
            .collect();
        assert_eq!(
            seen,
            [
                (newer.as_str(), "", 1_790_000_001_000),
                (older.as_str(), "feature/x", 1_790_000_000_123)
            ]
        );
        assert_eq!(saved[0].note, note);
        assert_eq!(
            (saved[0].commit.as_str(), saved[0].tree.as_str()),
            ("c", "t")
        );
    }

    #[test]
    fn the_newest_are_kept_and_one_a_day_for_a_week() {
        let now = 1_790_000_000_000;
        let minutes = (0..60).map(|minute| now - minute * 60_000);
        let days = (1..20).flat_map(|day| [now - day * DAY_MS, now - day * DAY_MS - 60_000]);
        let saved: Vec<Saved> = minutes
            .chain(days)
            .map(|time_ms| Saved {
                reference: reference("main", time_ms),
                ..Saved::default()
            })
            .collect();
        let gone: HashSet<_> = superseded(&saved, now)
            .into_iter()
            .map(|saved| saved.reference.clone())
            .collect();
        let kept: Vec<_> = saved
            .iter()
            .filter(|saved| !gone.contains(&saved.reference))
            .collect();
        assert_eq!(kept.len(), NEWEST + 7);
        assert_eq!(kept[NEWEST - 1].reference, saved[NEWEST - 1].reference);
        assert_eq!(kept[NEWEST].reference, reference("main", now - DAY_MS));
        assert_eq!(
            kept[NEWEST + 6].reference,
            reference("main", now - 7 * DAY_MS)
        );
    }
}
