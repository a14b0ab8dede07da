//! Searching with ripgrep's own parts: texts in files, and names of files. Results stream; a search whose
//! client has gone or has cancelled stops.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;

use crate::session::CallError;

pub mod files;
pub mod text;

/// Results when the client names no limit.
const DEFAULT_RESULTS: u32 = 10_000;
/// Threads of one search.
const THREADS: usize = 4;

/// Ends a search when the call that wants it does, in whatever way.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A walk over the files below `root`, hidden ones too, respecting `.gitignore` unless told otherwise.
fn walk(
    root: &Path,
    includes: &[String],
    excludes: &[String],
    no_ignore: bool,
) -> Result<WalkBuilder, CallError> {
    std::fs::metadata(root)
        .map_err(|error| CallError::system(format!("searching {}", root.display()), &error))?;
    let mut overrides = OverrideBuilder::new(root);
    let globs = includes
        .iter()
        .cloned()
        .chain(excludes.iter().map(|glob| format!("!{glob}")));
    for glob in globs {
        overrides
            .add(&glob)
            .map_err(|error| CallError::invalid(format!("the pattern {glob}: {error}")))?;
    }
    let overrides = overrides
        .build()
        .map_err(|error| CallError::invalid(format!("the patterns of files: {error}")))?;
    let mut walk = WalkBuilder::new(root);
    walk.hidden(false)
        .parents(!no_ignore)
        .ignore(!no_ignore)
        .git_ignore(!no_ignore)
        .git_global(!no_ignore)
        .git_exclude(!no_ignore)
        .overrides(overrides)
        .threads(
            std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(THREADS),
        )
        .filter_entry(|entry| entry.file_name() != ".git");
    Ok(walk)
}

fn limit(asked: u32) -> usize {
    if asked == 0 {
        DEFAULT_RESULTS as usize
    } else {
        asked as usize
    }
}
