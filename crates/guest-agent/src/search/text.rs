//! Texts in files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use grep::matcher::Matcher;
use grep::regex::{RegexMatcher, RegexMatcherBuilder};
use grep::searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkMatch};
use guest_protocol::frames::{
    FileMatches, LineMatch, SearchFinished, SearchMatches, SearchText, Span,
};
use ignore::WalkState;
use tokio::sync::mpsc;

use super::{StopOnDrop, limit, walk};
use crate::files::checked_path;
use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, Outcome};

/// Of a long line, bytes: as much as fits around the match.
const MAX_LINE: usize = 1024;
/// Of these, before the match.
const BEFORE: usize = 256;
/// Matches told of one line.
const MAX_SPANS: usize = 100;
/// Files with matches that wait to be sent.
const QUEUE: usize = 64;
/// Lines in one frame: well below the largest message.
const MAX_LINES: usize = 250;

pub async fn serve(machine: &'static Machine, call: Call, request: SearchText) -> Outcome {
    let root = checked_path(&request.root)?;
    let matcher = matcher(&request)?;
    let walk_request = request.clone();
    let stop = StopOnDrop(Arc::default());
    let (found, results) = mpsc::channel(QUEUE);
    let search = Arc::new(Search {
        matcher,
        found,
        left: AtomicUsize::new(limit(request.max_results)),
        searched: AtomicU64::new(0),
        limit_hit: AtomicBool::new(false),
        stop: stop.0.clone(),
    });
    let work = machine.threads.run_slowly(move || {
        let SearchText {
            includes,
            excludes,
            no_ignore,
            ..
        } = walk_request;
        let walk = walk(&root, &includes, &excludes, no_ignore)?;
        search.run(&walk);
        let limit_hit = search.limit_hit.load(Ordering::Relaxed);
        Ok(SearchFinished {
            limit_hit,
            files_searched: search.searched.load(Ordering::Relaxed),
        })
    });
    let sending = async {
        // Gone with this block, so that the search ends when the client is gone.
        let mut results = results;
        while let Some(first) = results.recv().await {
            let mut lines = count(&first);
            let mut files = vec![first];
            // What waits already leaves together.
            while lines < MAX_LINES
                && let Ok(next) = results.try_recv()
            {
                lines += count(&next);
                files.push(next);
            }
            call.answer(Answer::SearchMatches(SearchMatches { files }))
                .await?;
        }
        Ok::<_, CallError>(())
    };
    let (finished, sent) = tokio::join!(work, sending);
    sent?;
    call.answer(Answer::SearchFinished(finished?)).await
}

fn count(file: &FileMatches) -> usize {
    file.lines.len()
}

fn matcher(request: &SearchText) -> Result<RegexMatcher, CallError> {
    RegexMatcherBuilder::new()
        .fixed_strings(!request.regex)
        .case_insensitive(!request.case_sensitive)
        .word(request.whole_word)
        .line_terminator(Some(b'\n'))
        .build(&request.pattern)
        .map_err(|error| CallError::invalid(format!("the pattern cannot be searched for: {error}")))
}

struct Search {
    matcher: RegexMatcher,
    found: mpsc::Sender<FileMatches>,
    left: AtomicUsize,
    searched: AtomicU64,
    limit_hit: AtomicBool,
    stop: Arc<AtomicBool>,
}

impl Search {
    fn run(&self, walk: &ignore::WalkBuilder) {
        walk.build_parallel().run(|| {
            let mut searcher = SearcherBuilder::new()
                .binary_detection(BinaryDetection::quit(0))
                .line_number(true)
                .build();
            Box::new(move |entry| {
                if self.stop.load(Ordering::Relaxed) {
                    return WalkState::Quit;
                }
                // Folders that cannot be read have nothing to find.
                let Ok(entry) = entry else {
                    return WalkState::Continue;
                };
                if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                    return WalkState::Continue;
                }
                self.search(&mut searcher, entry.path())
            })
        });
    }

    fn search(&self, searcher: &mut Searcher, path: &Path) -> WalkState {
        self.searched.fetch_add(1, Ordering::Relaxed);
        let path_text = path.to_string_lossy().into_owned();
        let mut lines = Lines {
            search: self,
            path: path_text,
            lines: Vec::new(),
        };
        // A file that cannot be read, or is gone, has nothing to find.
        let _ = searcher.search_path(&self.matcher, path, &mut lines);
        if lines.send() && !self.limit_hit.load(Ordering::Relaxed) {
            WalkState::Continue
        } else {
            WalkState::Quit
        }
    }
}

/// What one file holds.
struct Lines<'a> {
    search: &'a Search,
    path: String,
    lines: Vec<LineMatch>,
}

impl Lines<'_> {
    /// Whether to go on.
    fn send(&mut self) -> bool {
        let lines = std::mem::take(&mut self.lines);
        if lines.is_empty() {
            return !self.search.stop.load(Ordering::Relaxed);
        }
        let file = FileMatches {
            path: self.path.clone(),
            lines,
        };
        self.search.found.blocking_send(file).is_ok()
    }
}

impl Sink for Lines<'_> {
    type Error = std::io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, Self::Error> {
        if self.search.stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let line = found.bytes();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut spans = Vec::new();
        // The matcher of regular expressions has no errors.
        let _ = self.search.matcher.find_iter(line, |span| {
            spans.push((span.start(), span.end()));
            spans.len() < MAX_SPANS
        });
        let taken = take(&self.search.left, spans.len());
        if taken < spans.len() {
            self.search.limit_hit.store(true, Ordering::Relaxed);
            spans.truncate(taken);
            if taken == 0 {
                return Ok(false);
            }
        }
        let number = found.line_number().unwrap_or(0) as u32;
        self.lines.push(describe(number, line, &spans));
        // A file may be nothing but matches.
        if self.lines.len() >= MAX_LINES && !self.send() {
            return Ok(false);
        }
        Ok(taken > 0 && !self.search.limit_hit.load(Ordering::Relaxed))
    }
}

/// Takes as many as there are, at most `wanted`.
fn take(left: &AtomicUsize, wanted: usize) -> usize {
    let update = |left: usize| Some(left - left.min(wanted));
    // The closure never refuses.
    let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    before.unwrap_or(0).min(wanted)
}

/// The line, or the part of it around the first match; spans in UTF-16 units of what is left of it.
fn describe(line_number: u32, line: &[u8], spans: &[(usize, usize)]) -> LineMatch {
    let first = spans.first().map_or(0, |span| span.0);
    let (mut start, mut end) = (0, line.len());
    if line.len() > MAX_LINE {
        start = boundary(line, first.saturating_sub(BEFORE));
        end = boundary(line, (start + MAX_LINE).min(line.len()));
    }
    let units = |from: usize, to: usize| -> u32 {
        String::from_utf8_lossy(&line[from..to])
            .encode_utf16()
            .count() as u32
    };
    let mut described = Vec::new();
    // Counted on from one end to the next, so that a long line is not counted again for each.
    let (mut at, mut counted) = (start, 0);
    for &(from, to) in spans {
        let (from, to) = (from.clamp(at, end), to.clamp(at, end));
        if from >= end && to >= end && from == to && !described.is_empty() {
            break;
        }
        let span_start = counted + units(at, from);
        let span_end = span_start + units(from, to);
        (at, counted) = (to, span_end);
        described.push(Span {
            start: span_start,
            end: span_end,
        });
    }
    LineMatch {
        line: line_number,
        text: String::from_utf8_lossy(&line[start..end]).into_owned(),
        spans: described,
    }
}

/// Not within a character of UTF-8.
fn boundary(line: &[u8], mut at: usize) -> usize {
    while at > 0 && at < line.len() && line[at] & 0xC0 == 0x80 {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_utf16_units() {
        let line = "aé😀needle".as_bytes();
        let start = line.len() - 6;
        let found = describe(3, line, &[(start, line.len())]);
        assert_eq!(found.text, "aé😀needle");
        assert_eq!(found.spans, [Span { start: 4, end: 10 }]);
    }

    #[test]
    fn of_a_long_line_the_part_around_the_match_is_told() {
        let line = format!("{}needle{}", "é".repeat(2000), "x".repeat(2000));
        let found = describe(1, line.as_bytes(), &[(4000, 4006)]);
        assert!(found.text.len() <= MAX_LINE);
        let [Span { start, end }] = found.spans[..] else {
            panic!("{:?}", found.spans)
        };
        let units: Vec<u16> = found.text.encode_utf16().collect();
        assert_eq!(
            String::from_utf16_lossy(&units[start as usize..end as usize]),
            "needle"
        );
    }
}
