//! Fetching what an image lacks here: each part by one reader at a time, and ahead of a reader who goes on and on.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{ABSENT, Image, ZERO};
use crate::block::{BLOCK, BlockNumber};
use crate::error::{Result, StorageError};
use crate::index::{Index, Place};

/// Frames that are fetched at once when an image is read from front to back: what one fetch holds in memory stays small.
pub(super) const MOST_FRAMES: u32 = 32;
/// Blocks that are on their way before a reader who goes on and on.
const AHEAD: u32 = 2048;
/// A read that begins so many blocks after the last one still goes on from it.
const NEAR: u32 = 64;
/// Fetches ahead that go on beside each other.
const THREADS: usize = 3;

/// Frames of one pack.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    pack: u32,
    frames: Range<u32>,
}

/// What is on its way.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    spans: Mutex<Vec<Span>>,
    ended: Condvar,
}

/// A span that is on its way for as long as this is there.
struct Flight<'a> {
    fetching: &'a Fetching,
    span: Span,
}

impl Fetching {
    fn spans(&self) -> MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to fetch a frame and those after it that nobody fetches. `None`: somebody fetches it already; `wait`
    /// says whether to return only once that has ended.
    fn begin(&self, mut span: Span, wait: bool) -> Option<Flight<'_>> {
        let mut spans = self.spans();
        let frame = span.frames.start;
        let others = spans.iter().filter(|other| other.pack == span.pack);
        if others.clone().any(|other| other.frames.contains(&frame)) {
            if wait {
                drop(
                    self.ended
                        .wait(spans)
                        .unwrap_or_else(PoisonError::into_inner),
                );
            }
            return None;
        }
        let next = others.map(|other| other.frames.start);
        let next = next.filter(|start| *start > frame).min();
        span.frames.end = span.frames.end.min(next.unwrap_or(u32::MAX));
        spans.push(span.clone());
        Some(Flight {
            fetching: self,
            span,
        })
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.fetching.spans().retain(|span| *span != self.span);
        self.fetching.ended.notify_all();
    }
}

impl Image {
    /// Fetches the frame of `first`, and in a row with it what `buffer` has room for, or `most` frames. Says how many blocks of `buffer` it has filled; none,
    /// when somebody else has fetched it meanwhile.
    pub(super) fn fetch(&self, first: BlockNumber, most: u32, buffer: &mut [u8]) -> Result<u32> {
        let index = self.index()?;
        let (number, slot) = match index.place(first)? {
            Place::Below | Place::Zero => {
                self.word(first).store(ZERO, Ordering::Release);
                buffer[..BLOCK].fill(0);
                return Ok(1);
            }
            Place::Stored { pack, slot } => (pack, slot),
        };
        let wanted = (buffer.len() / BLOCK) as u32;
        let per_frame = u32::from(index.pack(number)?.frame_blocks);
        let needed = (slot % per_frame + wanted).div_ceil(per_frame);
        let most = most.max(needed).min(MOST_FRAMES);
        let Some(flight) = self.fetching.begin(span(index, number, slot, most)?, true) else {
            return Ok(0);
        };
        let (from, raw) = self.fetch_span(index, &flight.span, first, slot)?;
        let there = (raw.len() / BLOCK) as u32 - (slot - from);
        let mut count = 1;
        while count < wanted.min(there)
            && index.place(first + count)?
                == (Place::Stored {
                    pack: number,
                    slot: slot + count,
                })
        {
            count += 1;
        }
        let at = (slot - from) as usize * BLOCK;
        let length = count as usize * BLOCK;
        buffer[..length].copy_from_slice(&raw[at..at + length]);
        Ok(count)
    }

    /// Fetches what is around `first`, unless it is here or on its way.
    fn fetch_ahead(&self, first: BlockNumber) -> Result<()> {
        if self.word(first).load(Ordering::Acquire) != ABSENT {
            return Ok(());
        }
        let index = self.index()?;
        let Place::Stored { pack, slot } = index.place(first)? else {
            return Ok(());
        };
        match self
            .fetching
            .begin(span(index, pack, slot, MOST_FRAMES)?, false)
        {
            Some(flight) => self.fetch_span(index, &flight.span, first, slot).map(drop),
            None => Ok(()),
        }
    }

    /// Fetches a span, in which `first` is at `slot`, and keeps it. Gives the slot that it begins with, and its blocks.
    fn fetch_span(
        &self,
        index: &Index,
        span: &Span,
        first: BlockNumber,
        slot: u32,
    ) -> Result<(u32, Vec<u8>)> {
        let origin = self.origin()?;
        let pack = index.pack(span.pack)?;
        let range = span.frames.start as usize..span.frames.end as usize;
        let fetch = |range| origin.store.frames(&origin.keys, pack, range);
        let raw = match fetch(range.clone()) {
            // What is damaged may be what nobody has asked for.
            Err(StorageError::Damaged { .. }) if range.len() > 1 => {
                fetch(range.start..range.start + 1)?
            }
            other => other?,
        };
        let from = span.frames.start * u32::from(pack.frame_blocks);
        let slots = from..from + (raw.len() / BLOCK) as u32;
        // Blocks of an image that never changed are in its packs in order; those that follow each other in both are
        // kept together.
        let mut run: Option<(BlockNumber, u32, usize)> = None;
        let keep = |(block, slot, count): (BlockNumber, u32, usize)| {
            let at = (slot - from) as usize * BLOCK;
            self.keep(block, &raw[at..at + count * BLOCK]);
        };
        for block in first.saturating_sub(slot - from)..self.blocks {
            match index.place(block)? {
                Place::Stored { pack, slot } if pack == span.pack && slots.contains(&slot) => {
                    match &mut run {
                        Some((start, at, count))
                            if (*start + *count as u32, *at + *count as u32) == (block, slot) =>
                        {
                            *count += 1;
                        }
                        _ => {
                            run.replace((block, slot, 1)).into_iter().for_each(keep);
                        }
                    }
                }
                Place::Stored { .. } if block > first => break,
                Place::Stored { .. } | Place::Below | Place::Zero => {}
            }
        }
        run.into_iter().for_each(keep);
        Ok((from, raw))
    }
}

fn span(index: &Index, number: u32, slot: u32, most: u32) -> Result<Span> {
    let pack = index.pack(number)?;
    let frame = slot / u32::from(pack.frame_blocks);
    Ok(Span {
        pack: number,
        frames: frame..(frame + most).min(pack.frames.len() as u32),
    })
}

/// Where somebody reads on and on.
#[derive(Debug, Default)]
struct Reader {
    /// Block after the last one that was read.
    end: BlockNumber,
    /// Frames that are worth fetching at once: more, the longer it goes on.
    window: u32,
    /// Blocks before this one are here or on their way.
    ahead: BlockNumber,
}

/// Fetches ahead of readers.
pub(super) struct Ahead {
    reader: Mutex<Reader>,
    jobs: Mutex<Option<Sender<BlockNumber>>>,
}

impl Ahead {
    pub(super) fn new() -> Self {
        Self {
            reader: Mutex::new(Reader::default()),
            jobs: Mutex::new(None),
        }
    }

    /// Somebody reads these blocks. Says how many frames to fetch at once of what is not here.
    pub(super) fn read(&self, image: &Arc<Image>, blocks: Range<BlockNumber>) -> u32 {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = (reader.end..reader.end.saturating_add(NEAR)).contains(&blocks.start);
        reader.end = blocks.end;
        if !goes_on {
            reader.window = 1;
            reader.ahead = blocks.end;
            return 1;
        }
        reader.window = (reader.window * 2).clamp(1, MOST_FRAMES);
        if reader.window == MOST_FRAMES && reader.ahead < blocks.end.saturating_add(AHEAD / 2) {
            let from = reader.ahead.max(blocks.end);
            reader.ahead = self.order(image, from..blocks.end.saturating_add(AHEAD));
        }
        reader.window
    }

    /// Has what is absent of these blocks fetched. Says up to which block that is ordered.
    fn order(&self, image: &Arc<Image>, blocks: Range<BlockNumber>) -> BlockNumber {
        let Ok(index) = image.index() else {
            return blocks.start;
        };
        let end = blocks.end.min(image.blocks);
        let mut block = blocks.start;
        while block < end {
            let is_absent = image.word(block).load(Ordering::Acquire) == ABSENT;
            let place = is_absent.then(|| index.place(block));
            block += match place {
                Some(Ok(Place::Stored { pack, slot })) => {
                    self.send(image, block);
                    let span = span(index, pack, slot, MOST_FRAMES);
                    let blocks_of = index
                        .pack(pack)
                        .map_or(1, |pack| u32::from(pack.frame_blocks));
                    span.map_or(1, |span| (span.frames.end * blocks_of).saturating_sub(slot))
                        .max(1)
                }
                _ => 1,
            };
        }
        block
    }

    fn send(&self, image: &Arc<Image>, block: BlockNumber) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.get_or_insert_with(|| {
            let (jobs, ordered) = channel();
            let ordered = Arc::new(Mutex::new(ordered));
            for _ in 0..THREADS {
                let (image, ordered) = (image.clone(), ordered.clone());
                let thread = std::thread::Builder::new().name("fetch-ahead".to_owned());
                let _ = thread.spawn(move || work(&image, &ordered));
            }
            jobs
        });
        let _ = jobs.send(block);
    }
}

/// Fetches what is ordered until nobody can order any more.
fn work(image: &Image, ordered: &Mutex<Receiver<BlockNumber>>) {
    loop {
        let next = ordered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(block) = next else { return };
        // Whoever needs it meets the same error, and is told.
        if let Err(error) = image.fetch_ahead(block) {
            tracing::debug!(%error, block, "not fetched ahead");
        }
    }
}
