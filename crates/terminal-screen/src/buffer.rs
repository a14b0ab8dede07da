//! One of the two buffers: lines with their history, cursor, scroll region, tab stops and saved cursor.

use std::collections::{BTreeSet, VecDeque};

use crate::cell::Attributes;
use crate::charset::Charsets;
use crate::line::Line;
use crate::reflow;

const TAB_WIDTH: usize = 8;

/// What `ESC 7` keeps. The row counts from the oldest line in history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SavedCursor {
    pub x: i32,
    pub y: i32,
    pub fg: u32,
    pub bg: u32,
    pub charsets: Charsets,
    pub origin: bool,
    pub wraparound: bool,
}

impl Default for SavedCursor {
    fn default() -> SavedCursor {
        SavedCursor {
            x: 0,
            y: 0,
            fg: 0,
            bg: 0,
            charsets: Charsets::default(),
            origin: false,
            wraparound: true,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Buffer {
    /// History first, then the screen. Empty for an alternate buffer that is not shown.
    pub lines: VecDeque<Line>,
    pub max_length: usize,
    /// Index in `lines` of the screen's first row.
    pub ybase: usize,
    pub x: i32,
    pub y: i32,
    pub scroll_top: i32,
    pub scroll_bottom: i32,
    pub tabs: BTreeSet<usize>,
    pub saved: SavedCursor,
    pub cols: usize,
    pub rows: usize,
    /// Lines of history; `None` for the alternate buffer, which neither scrolls back nor reflows.
    scrollback: Option<usize>,
}

impl Buffer {
    pub fn new(cols: usize, rows: usize, scrollback: Option<usize>) -> Buffer {
        let mut buffer = Buffer {
            lines: VecDeque::new(),
            max_length: rows + scrollback.unwrap_or(0),
            ybase: 0,
            x: 0,
            y: 0,
            scroll_top: 0,
            scroll_bottom: rows as i32 - 1,
            tabs: BTreeSet::new(),
            saved: SavedCursor::default(),
            cols,
            rows,
            scrollback,
        };
        buffer.reset_tabs();
        buffer
    }

    /// Fills an empty buffer's screen.
    pub fn fill_rows(&mut self, fill: &Attributes) {
        if self.lines.is_empty() {
            self.lines
                .extend((0..self.rows).map(|_| Line::blank(self.cols, fill, false)));
        }
    }

    /// Whether lines that leave the screen are kept.
    pub fn keeps_history(&self) -> bool {
        self.scrollback.is_some()
    }

    /// Empties the buffer; the saved cursor stays.
    pub fn clear(&mut self) {
        self.lines = VecDeque::new();
        self.max_length = self.rows + self.scrollback.unwrap_or(0);
        self.ybase = 0;
        self.x = 0;
        self.y = 0;
        self.scroll_top = 0;
        self.scroll_bottom = self.rows as i32 - 1;
        self.reset_tabs();
    }

    /// Index in `lines` of a row of the screen.
    pub fn index(&self, y: i32) -> usize {
        (self.ybase as i64 + i64::from(y)).max(0) as usize
    }

    pub fn row(&self, y: i32) -> Option<&Line> {
        self.lines.get(self.index(y))
    }

    pub fn row_mut(&mut self, y: i32) -> Option<&mut Line> {
        let index = self.index(y);
        self.lines.get_mut(index)
    }

    pub fn blank(&self, fill: &Attributes) -> Line {
        Line::blank(self.cols, fill, false)
    }

    /// Moves the region up by one line; the screen's top line goes to history when the region starts there.
    pub fn scroll(&mut self, fill: &Attributes, wrapped: bool) {
        let top = self.index(self.scroll_top);
        let bottom = self.index(self.scroll_bottom);
        if self.scroll_top != 0 {
            if bottom < self.lines.len() && top <= bottom {
                let recycled = self.lines.remove(top);
                let line = recycled.map(|line| line.reuse(self.cols, fill, wrapped));
                self.lines.insert(
                    bottom,
                    line.unwrap_or_else(|| Line::blank(self.cols, fill, wrapped)),
                );
            }
            return;
        }
        let full = self.lines.len() >= self.max_length;
        let recycled = if full { self.lines.pop_front() } else { None };
        let line = match recycled {
            Some(line) => line.reuse(self.cols, fill, wrapped),
            None => Line::blank(self.cols, fill, wrapped),
        };
        let at = if full { bottom } else { bottom + 1 };
        self.lines.insert(at.min(self.lines.len()), line);
        if !full {
            self.ybase += 1;
        }
        if self.ybase > 0
            && let Some(line) = self.lines.get_mut(self.ybase - 1)
        {
            line.compact();
        }
    }

    /// Takes the line at `from` out and puts a blank one at `to`, both rows of the screen.
    pub fn replace_row(&mut self, from: i32, to: i32, fill: &Attributes) {
        let (from, to) = (self.index(from), self.index(to));
        if from >= self.lines.len() || to >= self.lines.len() {
            return;
        }
        let line = self.blank(fill);
        self.lines.remove(from);
        self.lines.insert(to, line);
    }

    /// Forgets the oldest `count` lines of history.
    pub fn trim_start(&mut self, count: usize) {
        self.lines.drain(..count.min(self.lines.len()));
        self.ybase = self.ybase.saturating_sub(count);
    }

    fn reset_tabs(&mut self) {
        self.tabs = (0..self.cols).step_by(TAB_WIDTH).collect();
    }

    /// Adds the usual tab stops to the right of the last one.
    pub fn extend_tabs(&mut self, from: usize) {
        let start = if self.tabs.contains(&from) {
            from
        } else {
            self.previous_tab(from as i32).max(0) as usize
        };
        self.tabs.extend((start..self.cols).step_by(TAB_WIDTH));
    }

    pub fn previous_tab(&self, x: i32) -> i32 {
        let before = self.tabs.range(..x.max(0) as usize).next_back();
        before.map_or(0, |stop| (*stop).min(self.cols - 1) as i32)
    }

    pub fn next_tab(&self, x: i32) -> i32 {
        let after = self.tabs.range((x + 1).max(0) as usize..).next();
        after.map_or(self.cols - 1, |stop| (*stop).min(self.cols - 1)) as i32
    }

    pub fn resize(&mut self, cols: usize, rows: usize) {
        let max_length = rows + self.scrollback.unwrap_or(0);
        self.max_length = self.max_length.max(max_length);
        if !self.lines.is_empty() {
            if self.cols < cols {
                for line in &mut self.lines {
                    line.resize(cols);
                }
            }
            let added_to_y = self.resize_rows(cols, rows);
            if max_length < self.max_length {
                let surplus = self.lines.len().saturating_sub(max_length);
                self.trim_start(surplus);
                if surplus > 0 {
                    self.saved.y = (self.saved.y - surplus as i32).max(0);
                }
                self.max_length = max_length;
            }
            self.x = self.x.min(cols as i32 - 1);
            self.y = self.y.min(rows as i32 - 1) + added_to_y;
            self.saved.x = self.saved.x.min(cols as i32 - 1);
            self.scroll_top = 0;
        }
        self.scroll_bottom = rows as i32 - 1;
        let old_cols = std::mem::replace(&mut self.cols, cols);
        if self.scrollback.is_some() && old_cols != cols {
            if cols > old_cols {
                reflow::larger(self, old_cols, rows);
            } else {
                reflow::smaller(self, old_cols, rows);
                for line in &mut self.lines {
                    line.resize(cols);
                }
            }
        }
        self.rows = rows;
        if !self.lines.is_empty() {
            let last = self.lines.len() as i32 - self.ybase as i32 - 1;
            self.y = self.y.min(last.max(0));
        }
    }

    /// Takes rows from history or adds blank ones below; answers how far the cursor moved down.
    fn resize_rows(&mut self, cols: usize, rows: usize) -> i32 {
        let mut added_to_y = 0;
        for _ in self.rows..rows {
            if self.lines.len() < rows + self.ybase {
                if self.ybase > 0
                    && self.lines.len() as i32 <= self.ybase as i32 + self.y + added_to_y + 1
                {
                    self.ybase -= 1;
                    added_to_y += 1;
                } else {
                    self.lines
                        .push_back(Line::blank(cols, &Attributes::default(), false));
                }
            }
        }
        for _ in rows..self.rows {
            if self.lines.len() > rows + self.ybase {
                if self.lines.len() as i32 > self.ybase as i32 + self.y + 1 {
                    self.lines.pop_back();
                } else {
                    self.ybase += 1;
                }
            }
        }
        added_to_y
    }
}
