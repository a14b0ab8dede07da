//! What differs from the index in a working tree, and what of it can be saved.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An untracked file that is larger is left out, bytes.
const LARGE: u64 = 50 * 1024 * 1024;
/// Of all untracked files together: a folder that somebody forgot to ignore is not worth its room.
const MAX_UNTRACKED: usize = 20_000;
const MAX_UNTRACKED_BYTES: u64 = 512 * 1024 * 1024;

/// Asks git for what [`Changes::parse`] reads. Submodules are repositories of their own.
pub const STATUS: [&str; 8] = [
    "status",
    "--porcelain=v2",
    "--branch",
    "-z",
    "--untracked-files=all",
    "--no-renames",
    "--no-ahead-behind",
    "--ignore-submodules=all",
];

/// Git's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Empty: HEAD is detached.
    pub branch: String,
    /// Empty: there is no commit yet.
    pub head: String,
    /// The index has conflicts.
    pub conflicts: bool,
    pub tracked: Vec<Vec<u8>>,
    pub untracked: Vec<Vec<u8>>,
}

impl Changes {
    pub fn parse(status: &[u8]) -> Self {
        let mut changes = Self::default();
        for entry in status.split(|byte| *byte == 0) {
            let field = |count: usize| {
                let path = entry.splitn(count, |byte| *byte == b' ').nth(count - 1);
                path.map(<[u8]>::to_vec)
            };
            let text = |start: usize| String::from_utf8_lossy(&entry[start..]).into_owned();
            if entry.starts_with(b"# branch.head ") {
                changes.branch = text(14);
            } else if entry.starts_with(b"# branch.oid ") {
                changes.head = text(13);
            } else if entry.starts_with(b"1 ") {
                changes.tracked.extend(field(9));
            } else if entry.starts_with(b"u ") {
                changes.conflicts = true;
                changes.tracked.extend(field(11));
            } else if entry.starts_with(b"? ") {
                changes.untracked.extend(field(2));
            }
        }
        for (value, nothing) in [
            (&mut changes.branch, "(detached)"),
            (&mut changes.head, "(initial)"),
        ] {
            if value == nothing {
                value.clear();
            }
        }
        changes
    }

    pub fn is_empty(&self) -> bool {
        self.tracked.is_empty() && self.untracked.is_empty()
    }

    /// Another number after each change, unless a file was changed within the precision of the disk's clock.
    pub fn fingerprint(&self, root: &Path, index: &Path) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.branch, &self.head).hash(&mut hasher);
        let names = self.tracked.iter().chain(&self.untracked);
        let files = names.map(|name| below(root, name));
        for path in files.chain([index.to_owned()]) {
            path.hash(&mut hasher);
            if let Ok(own) = fs::symlink_metadata(&path) {
                (own.ino(), own.size(), own.mode()).hash(&mut hasher);
                (own.mtime(), own.mtime_nsec()).hash(&mut hasher);
                (own.ctime(), own.ctime_nsec()).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// What is to be done to a copy of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    pub add: Vec<Vec<u8>>,
    pub remove: Vec<Vec<u8>>,
    /// For people: what is not saved.
    pub left_out: Vec<String>,
}

/// Looks at every file that git has named, with the rights of the calling thread.
pub fn choose(root: &Path, changes: &Changes) -> Choice {
    let mut choice = Choice::default();
    for name in &changes.tracked {
        match look(root, name) {
            Found::Nothing => choice.remove.push(name.clone()),
            Found::Readable { .. } => choice.add.push(name.clone()),
            Found::Other => choice.left_out.push(text(name)),
        }
    }
    let mut untracked = Vec::new();
    for name in &changes.untracked {
        match look(root, name) {
            Found::Readable { size } if size <= LARGE => untracked.push((name.clone(), size)),
            // Gone since git has seen it.
            Found::Nothing => {}
            Found::Readable { .. } | Found::Other => choice.left_out.push(text(name)),
        }
    }
    let (kept, too_much) = within(untracked, MAX_UNTRACKED, MAX_UNTRACKED_BYTES);
    choice.add.extend(kept);
    choice.left_out.extend(too_much);
    choice
}

enum Found {
    /// A file or a symbolic link.
    Readable {
        size: u64,
    },
    /// Unreadable, a folder with a repository of its own, or something that git does not keep.
    Other,
    Nothing,
}

fn look(root: &Path, name: &[u8]) -> Found {
    let path = below(root, name);
    // What lies beyond a symbolic link is not the repository's.
    let beyond = path
        .ancestors()
        .skip(1)
        .take_while(|folder| *folder != root)
        .any(Path::is_symlink);
    let Ok(own) = fs::symlink_metadata(&path) else {
        return Found::Nothing;
    };
    if beyond {
        Found::Nothing
    } else if own.is_symlink() {
        Found::Readable { size: own.size() }
    } else if own.is_file() {
        File::open(&path).map_or(Found::Other, |_| Found::Readable { size: own.size() })
    } else if own.is_dir() && !name.ends_with(b"/") {
        // It has taken the place of a file.
        Found::Nothing
    } else {
        Found::Other
    }
}

type Sized = (Vec<u8>, u64);

/// As many as there is room for: the smallest of the uppermost folders first.
fn within(files: Vec<Sized>, most: usize, most_bytes: u64) -> (Vec<Vec<u8>>, Vec<String>) {
    let mut groups: HashMap<Vec<u8>, Vec<Sized>> = HashMap::new();
    for (name, size) in files {
        let end = name.iter().position(|byte| *byte == b'/');
        let group = name[..end.map_or(name.len(), |end| end + 1)].to_vec();
        groups.entry(group).or_default().push((name, size));
    }
    let weight = |files: &[Sized]| -> (u64, usize) {
        (files.iter().map(|(_, size)| size).sum(), files.len())
    };
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_cached_key(|(name, files)| {
        let (bytes, count) = weight(files);
        // Either limit may be the one that is reached.
        let share = (bytes as f64 / most_bytes as f64).max(count as f64 / most as f64);
        ((share * 1e6) as u64, name.clone())
    });
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    let mut room = (most_bytes, most);
    for (name, files) in groups {
        let (bytes, count) = weight(&files);
        if bytes <= room.0 && count <= room.1 {
            room = (room.0 - bytes, room.1 - count);
            kept.extend(files.into_iter().map(|(name, _)| name));
        } else {
            left_out.push(format!("{} ({count} untracked files)", text(&name)));
        }
    }
    (kept, left_out)
}

/// A path as git names it, which is relative to the working tree.
pub fn below(root: &Path, name: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(name))
}

pub fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_with_conflicts_and_any_name() {
        let status = b"# branch.oid 1234\0# branch.head feature/x\0\
            1 .M N... 100644 100644 100644 a b a b\0\
            u UU N... 100644 100644 100644 100644 a b c both\0? un \xff\0";
        let expected = Changes {
            branch: "feature/x".into(),
            head: "1234".into(),
            conflicts: true,
            tracked: vec![b"a b".to_vec(), b"both".to_vec()],
            untracked: vec![b"un \xff".to_vec()],
        };
        assert_eq!(Changes::parse(status), expected);
        let nothing = Changes::parse(b"# branch.oid (initial)\0# branch.head (detached)\0");
        assert_eq!(nothing, Changes::default());
    }

    #[test]
    fn the_folder_that_is_too_much_is_left_out() {
        let file = |name: &str, size| (name.as_bytes().to_vec(), size);
        let files = vec![
            file("node_modules/a/1", 10),
            file("node_modules/b", 10),
            file("notes", 5),
            file("src/new", 20),
        ];
        let kept = vec![b"notes".to_vec(), b"src/new".to_vec()];
        let left_out = vec!["node_modules/ (2 untracked files)".to_owned()];
        assert_eq!(within(files.clone(), 3, 100), (kept, left_out));
        assert_eq!(within(files, 4, 100).1, Vec::<String>::new());
    }
}
