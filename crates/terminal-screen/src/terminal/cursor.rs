//! Moving, saving and restoring the cursor; tab stops; the scroll region.

use super::Terminal;
use crate::buffer::SavedCursor;
use crate::params::Params;

impl Terminal {
    /// Brings the cursor back to the screen; `max_x` is one more where a pending wrap may stay.
    pub(super) fn restrict_cursor(&mut self, max_x: i32) {
        let (rows, origin) = (self.rows, self.modes.origin);
        let buffer = self.buffer_mut();
        buffer.x = buffer.x.max(0).min(max_x);
        buffer.y = if origin {
            buffer.y.max(buffer.scroll_top).min(buffer.scroll_bottom)
        } else {
            buffer.y.max(0).min(rows - 1)
        };
    }

    pub(super) fn set_cursor(&mut self, x: i32, y: i32) {
        let origin = self.modes.origin;
        let buffer = self.buffer_mut();
        buffer.x = x;
        buffer.y = if origin {
            buffer.scroll_top.saturating_add(y)
        } else {
            y
        };
        self.restrict_cursor(self.cols - 1);
    }

    pub(super) fn move_cursor(&mut self, x: i32, y: i32) {
        self.restrict_cursor(self.cols - 1);
        let buffer = self.buffer();
        let (x, y) = (buffer.x.saturating_add(x), buffer.y.saturating_add(y));
        self.set_cursor(x, y);
    }

    pub(super) fn cursor_up(&mut self, count: i32) {
        let to_top = self.buffer().y - self.buffer().scroll_top;
        self.move_cursor(
            0,
            -if to_top >= 0 {
                count.min(to_top)
            } else {
                count
            },
        );
    }

    pub(super) fn cursor_down(&mut self, count: i32) {
        let to_bottom = self.buffer().scroll_bottom - self.buffer().y;
        self.move_cursor(
            0,
            if to_bottom >= 0 {
                count.min(to_bottom)
            } else {
                count
            },
        );
    }

    pub(super) fn backspace(&mut self) {
        if !self.modes.reverse_wraparound {
            self.restrict_cursor(self.cols - 1);
            let buffer = self.buffer_mut();
            buffer.x = (buffer.x - 1).max(0);
            return;
        }
        self.restrict_cursor(self.cols);
        let cols = self.cols;
        let buffer = self.buffer_mut();
        let y = buffer.y;
        let wrapped = buffer.row(y).is_some_and(|row| row.wrapped);
        if buffer.x > 0 {
            buffer.x -= 1;
        } else if y > buffer.scroll_top && y <= buffer.scroll_bottom && wrapped {
            if let Some(row) = buffer.row_mut(y) {
                row.wrapped = false;
            }
            buffer.y -= 1;
            buffer.x = cols - 1;
            let last = cols as usize - 1;
            if buffer
                .row(y - 1)
                .is_some_and(|row| row.width(last) != 0 && !row.has_content(last))
            {
                buffer.x -= 1; // a wide character did not fit here
            }
        }
        self.restrict_cursor(self.cols - 1);
    }

    pub(super) fn tab(&mut self) {
        self.forward_tabs(1);
    }

    pub(super) fn forward_tabs(&mut self, count: i32) {
        if self.buffer().x >= self.cols {
            return;
        }
        for _ in 0..count.min(self.cols) {
            let buffer = self.buffer_mut();
            buffer.x = buffer.next_tab(buffer.x);
        }
    }

    pub(super) fn backward_tabs(&mut self, count: i32) {
        if self.buffer().x >= self.cols {
            return;
        }
        for _ in 0..count.min(self.cols) {
            let buffer = self.buffer_mut();
            buffer.x = buffer.previous_tab(buffer.x);
        }
    }

    pub(super) fn set_tab(&mut self) {
        let buffer = self.buffer_mut();
        buffer.tabs.insert(buffer.x.max(0) as usize);
    }

    pub(super) fn clear_tab(&mut self, which: i32) {
        let buffer = self.buffer_mut();
        match which {
            0 => {
                buffer.tabs.remove(&(buffer.x.max(0) as usize));
            }
            3 => buffer.tabs.clear(),
            _ => {}
        }
    }

    pub(super) fn set_scroll_region(&mut self, params: &Params) {
        let top = params.count(0);
        let asked = params.get(1);
        let bottom = if params.len() < 2 || asked > self.rows || asked == 0 {
            self.rows
        } else {
            asked
        };
        if bottom > top {
            let buffer = self.buffer_mut();
            buffer.scroll_top = top - 1;
            buffer.scroll_bottom = bottom - 1;
            self.set_cursor(0, 0);
        }
    }

    pub(super) fn save_cursor(&mut self) {
        let buffer = self.buffer();
        let saved = SavedCursor {
            x: buffer.x,
            y: buffer.ybase as i32 + buffer.y,
            fg: self.pen.fg,
            bg: self.pen.bg,
            charsets: self.charsets.clone(),
            origin: self.modes.origin,
            wraparound: self.modes.wraparound,
        };
        self.buffer_mut().saved = saved;
    }

    pub(super) fn restore_cursor(&mut self) {
        let buffer = self.buffer_mut();
        let saved = buffer.saved.clone();
        buffer.x = saved.x;
        buffer.y = (saved.y - buffer.ybase as i32).max(0);
        self.pen.fg = saved.fg;
        self.pen.bg = saved.bg;
        for (level, set) in saved.charsets.sets.iter().enumerate() {
            self.charsets.designate(level, *set);
        }
        self.charsets.level = saved.charsets.level;
        self.modes.origin = saved.origin;
        self.modes.wraparound = saved.wraparound;
        self.restrict_cursor(self.cols - 1);
    }
}
