//! Painting the lines of one buffer, history first, from a blank screen with the cursor at its beginning.

use std::fmt::Write;

use super::{Painter, emit};
use crate::buffer::Buffer;
use crate::cell::Attributes;
use crate::line::Line;
use crate::width;

/// A space two columns wide.
const WIDE_SPACE: char = '\u{3000}';

/// How a row ends, and so how the next one begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    /// By a line feed.
    Hard,
    /// By printing on.
    Wrap,
    /// The wrap is done: the cursor stands at the beginning of the next row.
    Wrapped,
}

impl Painter {
    pub(super) fn paint(&mut self, buffer: &Buffer) {
        // An alternate buffer has no history worth painting.
        let start = if buffer.keeps_history() {
            buffer.ybase.saturating_sub(self.history)
        } else {
            buffer.ybase
        };
        let end = buffer.lines.len().min(buffer.ybase + self.rows);
        let filler = buffer.lines.get(start).is_some_and(|line| line.wrapped);
        let mut joint = Joint::Hard;
        if filler {
            // The first line continues one that is gone: print one, and drop it once it left the screen.
            let text = "-".repeat(self.cols);
            self.out.push_str(&text);
            joint = Joint::Wrap;
        }
        for y in start..end {
            let line = &buffer.lines[y];
            let next = buffer
                .lines
                .get(y + 1)
                .filter(|next| y + 1 < end && next.wrapped);
            if y > start && joint == Joint::Hard {
                self.pen(&Attributes::default());
                self.out.push_str("\r\n");
            }
            // The filler has just left the screen when the last row begins.
            let drop_filler = filler && y - start + 1 == self.rows;
            joint = self.line(line, next, joint, drop_filler);
        }
    }

    fn line(&mut self, line: &Line, next: Option<&Line>, joint: Joint, drop_filler: bool) -> Joint {
        let mut x = match joint {
            Joint::Hard | Joint::Wrapped => 0,
            Joint::Wrap => self.begin_wrapped(line),
        };
        if drop_filler {
            self.out.push_str("\x1b[3J");
        }
        let last = self.cols - 1;
        let is_empty = |x| !line.has_content(x);
        let shown = |x| line.attributes(x).shown_empty();
        let used =
            (0..self.cols).rposition(|x| line.has_content(x) || shown(x) != Attributes::default());
        let end = if next.is_some() {
            self.cols
        } else {
            used.map_or(0, |last| last + 1)
        };
        if next.is_none() && is_empty(last) && shown(last) != shown(last).erased() && x < last {
            self.decorated_last(x, &shown(last));
        }
        while x < end {
            if is_printable(line, x, self.cols) {
                x += self.text(line, x);
                continue;
            }
            let attributes = shown(x);
            let mut run = (x..end)
                .take_while(|&x| is_empty(x) && shown(x) == attributes)
                .count()
                .max(1);
            let decorated = attributes != attributes.erased();
            if decorated && x < last {
                self.decorated(x, &attributes);
                x += 1;
                continue;
            }
            if next.is_some() && x + run == self.cols {
                self.erase(&attributes, run);
                self.wrap_after_empty(&attributes);
                return Joint::Wrapped;
            }
            if decorated {
                run = 1; // the last column, painted already
            } else {
                self.erase(&attributes, run);
            }
            if x + run < end {
                emit!(self, "\x1b[{run}C");
            }
            x += run;
        }
        if next.is_some() {
            Joint::Wrap
        } else {
            Joint::Hard
        }
    }

    /// An empty cell with more than a background: what is left of a wide character cut by printing on its right half.
    fn decorated(&mut self, x: usize, attributes: &Attributes) {
        self.pen(attributes);
        emit!(self, "{WIDE_SPACE}\x1b[{0}G \x1b[{0}G", x + 2);
        self.pen(&Attributes::default());
        self.out.push_str("\x1b[X");
    }

    /// The same in the last column, by printing on a left half; before the columns left of it are painted.
    fn decorated_last(&mut self, x: usize, attributes: &Attributes) {
        let left = self.cols - 1;
        self.pen(attributes);
        emit!(self, "\x1b[{left}G{WIDE_SPACE}\x1b[{left}G \x1b[{left}G");
        self.pen(&Attributes::default());
        emit!(self, "\x1b[X\x1b[{}G", x + 1);
    }

    /// Prints one cell; answers how many columns it took.
    fn text(&mut self, line: &Line, x: usize) -> usize {
        let attributes = line.attributes(x);
        let columns = line.width(x) as usize;
        let start = self.out.len();
        if columns == 0 {
            self.pen_again(&attributes);
        } else {
            self.pen(&attributes);
        }
        let from = self.out.len();
        line.push_text(x, &mut self.out);
        let printed = self.out[from..]
            .chars()
            .next()
            .map_or(0, |first| width::width(u32::from(first)) as usize);
        if printed != columns && x + columns.max(1) < self.cols && start < self.out.len() {
            emit!(self, "\x1b[{}G", x + columns.max(1) + 1);
        }
        columns.max(1)
    }

    /// Null cells from the cursor on; it stays.
    fn erase(&mut self, attributes: &Attributes, columns: usize) {
        let fill = attributes.erased();
        if fill != Attributes::default() {
            self.pen(&fill);
            emit!(self, "\x1b[{columns}X");
        }
    }

    /// Wraps from a row whose last column is empty: as a wide character does that does not fit.
    fn wrap_after_empty(&mut self, last: &Attributes) {
        self.pen(last);
        emit!(self, "\x1b[{}G{WIDE_SPACE}\x1b[1G", self.cols);
        self.pen(&Attributes::default());
        emit!(self, "\x1b[{}X", self.cols); // unlike `CSI K`, this leaves the row a continuation
    }

    /// Makes the row begin as the continuation of the one above; answers how many columns are painted by that.
    fn begin_wrapped(&mut self, line: &Line) -> usize {
        if !line.has_content(0) || line.width(0) == 0 {
            self.pen(&Attributes::default());
            self.out.push_str(" \x1b[1G\x1b[X");
            return 0;
        }
        let columns = self.text(line, 0);
        if line.attributes(0).erased() != Attributes::default() && columns < self.cols {
            // The new row took the pen's background.
            self.pen(&Attributes::default());
            self.out.push_str("\x1b[K");
        }
        columns
    }
}

/// Whether the cell has text that lies on the screen as a whole.
fn is_printable(line: &Line, x: usize, cols: usize) -> bool {
    let cell = line.cell(x);
    let fits = x + cell.width() as usize <= cols;
    let whole = cell.width() != 2 || (line.width(x + 1) == 0 && !line.has_content(x + 1));
    cell.has_content() && fits && whole
}
