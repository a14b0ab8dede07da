//! Line feeds, scrolling, erasing, inserting and deleting.

use super::Terminal;
use crate::cell::{Attributes, bg};
use crate::parser::Actions;

impl Terminal {
    pub(super) fn line_feed(&mut self) {
        let (rows, cols) = (self.rows, self.cols);
        let fill = self.erase_fill();
        let new_line = self.modes.line_feed_new_line;
        let buffer = self.buffer_mut();
        if new_line {
            buffer.x = 0;
        }
        buffer.y += 1;
        let y = buffer.y;
        if y == buffer.scroll_bottom + 1 {
            buffer.y -= 1;
            buffer.scroll(&fill, false);
        } else if y >= rows {
            buffer.y = rows - 1;
        } else if let Some(row) = buffer.row_mut(y) {
            row.wrapped = false;
        }
        if buffer.x >= cols {
            buffer.x -= 1;
        }
    }

    pub(super) fn index(&mut self) {
        self.restrict_cursor(self.cols - 1);
        let rows = self.rows;
        let fill = self.erase_fill();
        let buffer = self.buffer_mut();
        buffer.y += 1;
        if buffer.y == buffer.scroll_bottom + 1 {
            buffer.y -= 1;
            buffer.scroll(&fill, false);
        } else if buffer.y >= rows {
            buffer.y = rows - 1;
        }
        self.restrict_cursor(self.cols - 1);
    }

    pub(super) fn next_line(&mut self) {
        self.buffer_mut().x = 0;
        self.index();
    }

    pub(super) fn reverse_index(&mut self) {
        self.restrict_cursor(self.cols - 1);
        let fill = self.erase_fill();
        let buffer = self.buffer_mut();
        if buffer.y == buffer.scroll_top {
            buffer.replace_row(buffer.scroll_bottom, buffer.y, &fill);
        } else {
            buffer.y -= 1;
            self.restrict_cursor(self.cols - 1);
        }
    }

    pub(super) fn erase_in_display(&mut self, which: i32, respect_protected: bool) {
        self.restrict_cursor(self.cols);
        let (rows, cols) = (self.rows, self.cols);
        let fill = self.erase_fill();
        let buffer = self.buffer_mut();
        let (x, y) = (buffer.x, buffer.y);
        match which {
            0 => {
                self.erase_in_row(y, x, cols, x == 0, respect_protected);
                (y + 1..rows).for_each(|row| self.reset_row(row, respect_protected));
            }
            1 => {
                self.erase_in_row(y, 0, x + 1, true, respect_protected);
                if x + 1 >= cols {
                    // xterm.js forgets the history here; so do we, to stay its equal.
                    if let Some(next) = self.buffer_mut().lines.get_mut(y as usize + 1) {
                        next.wrapped = false;
                    }
                }
                (0..y).for_each(|row| self.reset_row(row, respect_protected));
            }
            2 => {
                // The workbench asks xterm.js to push an erased screen to history (`scrollOnEraseInDisplay`).
                let used = (0..rows)
                    .rev()
                    .find(|y| buffer.row(*y).is_some_and(|row| row.trimmed_length() > 0));
                for _ in 0..used.map_or(0, |last| last + 1) {
                    buffer.scroll(&fill, false);
                }
            }
            3 => {
                let history = buffer.lines.len().saturating_sub(rows as usize);
                buffer.trim_start(history);
            }
            _ => {}
        }
    }

    fn erase_in_row(
        &mut self,
        y: i32,
        start: i32,
        end: i32,
        clear_wrap: bool,
        respect_protected: bool,
    ) {
        let fill = self.erase_fill();
        if let Some(row) = self.buffer_mut().row_mut(y) {
            row.replace(start as usize, end as usize, &fill, respect_protected);
            if clear_wrap {
                row.wrapped = false;
            }
        }
    }

    fn reset_row(&mut self, y: i32, respect_protected: bool) {
        let fill = self.erase_fill();
        if let Some(row) = self.buffer_mut().row_mut(y) {
            row.fill(0, &fill, respect_protected);
            row.wrapped = false;
        }
    }

    pub(super) fn erase_in_line(&mut self, which: i32, respect_protected: bool) {
        self.restrict_cursor(self.cols);
        let (x, y) = (self.buffer().x, self.buffer().y);
        match which {
            0 => self.erase_in_row(y, x, self.cols, x == 0, respect_protected),
            1 => self.erase_in_row(y, 0, x + 1, false, respect_protected),
            2 => self.erase_in_row(y, 0, self.cols, true, respect_protected),
            _ => {}
        }
    }

    pub(super) fn erase_chars(&mut self, count: i32) {
        self.restrict_cursor(self.cols - 1);
        let (x, y) = (self.buffer().x, self.buffer().y);
        self.erase_in_row(y, x, x.saturating_add(count), false, false);
    }

    pub(super) fn insert_chars(&mut self, count: i32) {
        self.restrict_cursor(self.cols - 1);
        let fill = self.erase_fill();
        let x = self.buffer().x as usize;
        if let Some(row) = self.row_mut() {
            row.insert(x, count as usize, &fill);
        }
    }

    pub(super) fn delete_chars(&mut self, count: i32) {
        self.restrict_cursor(self.cols - 1);
        let fill = self.erase_fill();
        let x = self.buffer().x as usize;
        if let Some(row) = self.row_mut() {
            row.delete(x, count as usize, &fill);
        }
    }

    fn cursor_in_region(&self) -> bool {
        let buffer = self.buffer();
        (buffer.scroll_top..=buffer.scroll_bottom).contains(&buffer.y)
    }

    pub(super) fn insert_lines(&mut self, count: i32) {
        self.restrict_cursor(self.cols - 1);
        if !self.cursor_in_region() {
            return;
        }
        let fill = self.erase_fill();
        let rows = self.rows;
        let buffer = self.buffer_mut();
        for _ in 0..count.min(rows) {
            buffer.replace_row(buffer.scroll_bottom, buffer.y, &fill);
        }
        buffer.x = 0;
    }

    pub(super) fn delete_lines(&mut self, count: i32) {
        self.restrict_cursor(self.cols - 1);
        if !self.cursor_in_region() {
            return;
        }
        let fill = self.erase_fill();
        let rows = self.rows;
        let buffer = self.buffer_mut();
        for _ in 0..count.min(rows) {
            buffer.replace_row(buffer.y, buffer.scroll_bottom, &fill);
        }
        buffer.x = 0;
    }

    pub(super) fn scroll_up(&mut self, count: i32) {
        let fill = self.erase_fill();
        let rows = self.rows;
        let buffer = self.buffer_mut();
        for _ in 0..count.min(rows) {
            buffer.replace_row(buffer.scroll_top, buffer.scroll_bottom, &fill);
        }
    }

    pub(super) fn scroll_down(&mut self, count: i32) {
        let rows = self.rows;
        let buffer = self.buffer_mut();
        for _ in 0..count.min(rows) {
            buffer.replace_row(
                buffer.scroll_bottom,
                buffer.scroll_top,
                &Attributes::default(),
            );
        }
    }

    /// Moves the columns of every row in the region right (`insert`) or left, from the first one or the cursor's.
    pub(super) fn shift_columns(&mut self, count: i32, insert: bool, from_first: bool) {
        if !self.cursor_in_region() {
            return;
        }
        let fill = self.erase_fill();
        let buffer = self.buffer_mut();
        let x = if from_first { 0 } else { buffer.x as usize };
        for y in buffer.scroll_top..=buffer.scroll_bottom {
            let Some(row) = buffer.row_mut(y) else {
                continue;
            };
            if insert {
                row.insert(x, count as usize, &fill);
            } else {
                row.delete(x, count as usize, &fill);
            }
            row.wrapped = false;
        }
    }

    pub(super) fn repeat_preceding(&mut self, count: i32) {
        let Some(preceding) = self.preceding else {
            return;
        };
        let buffer = self.buffer();
        let x = buffer.x - preceding.width;
        let mut text = String::new();
        if x >= 0
            && let Some(row) = buffer.row(buffer.y)
        {
            row.push_text(x as usize, &mut text);
        }
        // More than fills everything there is shows nothing new.
        let most = (self.cols as usize).saturating_mul(self.buffer().max_length + 1);
        let codes: Vec<u32> = text.chars().map(u32::from).collect();
        for _ in 0..(count as usize).min(most) {
            self.print(&codes);
        }
    }

    pub(super) fn alignment_pattern(&mut self) {
        let fill = Attributes {
            fg: self.pen.fg,
            bg: self.pen.bg & !bg::HAS_EXTENDED,
            ..Attributes::default()
        };
        self.set_cursor(0, 0);
        let rows = self.rows;
        let buffer = self.buffer_mut();
        let top = buffer.y;
        for y in top..top + rows {
            if let Some(row) = buffer.row_mut(y) {
                row.fill(u32::from(b'E'), &fill, false);
                row.wrapped = false;
            }
        }
        self.set_cursor(0, 0);
    }
}
