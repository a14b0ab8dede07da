//! Names of files, found by a few characters of them in order.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use guest_protocol::frames::{SearchFiles, SearchFinished, SearchPaths};
use ignore::WalkState;

use super::{StopOnDrop, limit, walk};
use crate::files::checked_path;
use crate::machine::Machine;
use crate::session::{Answer, Call, Outcome};

/// Paths in one frame.
const MAX_PATHS: usize = 1000;

pub async fn serve(machine: &'static Machine, call: Call, request: SearchFiles) -> Outcome {
    let root = checked_path(&request.root)?;
    let stop = StopOnDrop(Arc::default());
    let stopped = stop.0.clone();
    let work = move || {
        let walk = walk(
            &root,
            &request.includes,
            &request.excludes,
            request.no_ignore,
        )?;
        let query: Vec<char> = request
            .query
            .to_lowercase()
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect();
        let most = limit(request.max_results);
        let found = Mutex::new(Found::default());
        walk.build_parallel().run(|| {
            let (found, query, root, stopped) = (&found, &query, &root, &stopped);
            Box::new(move |entry| {
                if stopped.load(Ordering::Relaxed) {
                    return WalkState::Quit;
                }
                let Ok(entry) = entry else {
                    return WalkState::Continue;
                };
                if entry.file_type().is_none_or(|kind| kind.is_dir()) {
                    return WalkState::Continue;
                }
                let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
                let Some(rank) = rank(query, relative) else {
                    return found
                        .with(|found| found.seen += 1)
                        .map_or(WalkState::Quit, |()| WalkState::Continue);
                };
                let path = entry.path().to_string_lossy().into_owned();
                let full = found.with(|found| {
                    found.seen += 1;
                    found.paths.push((rank, path));
                    // Without a query every file is as good as any other.
                    query.is_empty() && found.paths.len() > most
                });
                if full == Some(false) {
                    WalkState::Continue
                } else {
                    WalkState::Quit
                }
            })
        });
        let mut found = found.into_inner().unwrap_or_default();
        found.paths.sort_unstable();
        let limit_hit = found.paths.len() > most;
        found.paths.truncate(most);
        let paths: Vec<String> = found.paths.into_iter().map(|(_, path)| path).collect();
        Ok((
            paths,
            SearchFinished {
                limit_hit,
                files_searched: found.seen,
            },
        ))
    };
    let (mut paths, finished) = machine.threads.run_slowly(work).await?;
    while !paths.is_empty() {
        let rest = paths.split_off(paths.len().min(MAX_PATHS));
        call.answer(Answer::SearchPaths(SearchPaths { paths }))
            .await?;
        paths = rest;
    }
    call.answer(Answer::SearchFinished(finished)).await
}

#[derive(Default)]
struct Found {
    seen: u64,
    paths: Vec<((u8, usize), String)>,
}

/// Short access; `None` when another thread of the search broke down.
trait With<T> {
    fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> Option<R>;
}

impl<T> With<T> for Mutex<T> {
    fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.lock().ok().map(|mut value| act(&mut value))
    }
}

/// How well a path fits, less is better: first in what way, then how long it is. None: not at all.
fn rank(query: &[char], path: &Path) -> Option<(u8, usize)> {
    let text = path.to_string_lossy().to_lowercase();
    let name = text.rsplit('/').next().unwrap_or_default();
    let whole: String = query.iter().collect();
    let way = if name.starts_with(&whole) {
        0
    } else if name.contains(&whole) {
        1
    } else if text.contains(&whole) {
        2
    } else if is_within(query, name) {
        3
    } else if is_within(query, &text) {
        4
    } else {
        return None;
    };
    Some((way, text.len()))
}

/// Whether all characters come in that order.
fn is_within(query: &[char], text: &str) -> bool {
    let mut characters = text.chars();
    query
        .iter()
        .all(|wanted| characters.any(|character| character == *wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_better_come_first() {
        let query: Vec<char> = "main".chars().collect();
        let paths = [
            "m/a/i/n.txt",
            "src/main.rs",
            "main/x",
            "my_admin.rs",
            "old-main.rs",
            "m_a_i_n",
        ];
        let mut ranked: Vec<_> = paths
            .iter()
            .map(|path| (rank(&query, Path::new(path)), *path))
            .collect();
        ranked.sort();
        ranked.retain(|(rank, _)| rank.is_some());
        let order: Vec<_> = ranked.iter().map(|(_, path)| *path).collect();
        assert_eq!(
            order,
            [
                "src/main.rs",
                "old-main.rs",
                "main/x",
                "m_a_i_n",
                "my_admin.rs",
                "m/a/i/n.txt"
            ]
        );
        assert_eq!(rank(&query, Path::new("nothing")), None);
    }
}
