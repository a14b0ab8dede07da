//! The emulator: what xterm.js keeps, changed by the same sequences in the same way.

mod cursor;
mod edit;
mod modes;
mod queries;
mod sgr;
mod strings;

pub(crate) use modes::{Kitty, Modes, MouseEncoding, MouseProtocol};
pub(crate) use sgr::color_parameters;
pub(crate) use strings::Strings;

use crate::buffer::Buffer;
use crate::cell::{Attributes, CODEPOINT, COMBINED};
use crate::charset::{ASCII, Charset, Charsets};
use crate::line::Line;
use crate::params::Params;
use crate::parser::Actions;
use crate::width;

const SOFT_HYPHEN: u32 = 0xAD;

/// The character printed last, while nothing came after it: combining characters join it and `CSI b` repeats it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Preceding {
    /// As it was sent, before any character set translated it.
    pub sent: u32,
    pub width: i32,
}

pub(crate) struct Terminal {
    pub cols: i32,
    pub rows: i32,
    scrollback: usize,
    pub normal: Buffer,
    pub alternate: Buffer,
    pub alternate_active: bool,
    pub pen: Attributes,
    pub charsets: Charsets,
    pub modes: Modes,
    pub kitty: Kitty,
    pub strings: Strings,
    pub preceding: Option<Preceding>,
    replies: Vec<u8>,
}

impl Terminal {
    pub fn new(cols: usize, rows: usize, scrollback: usize) -> Terminal {
        let mut normal = Buffer::new(cols, rows, Some(scrollback));
        normal.fill_rows(&Attributes::default());
        Terminal {
            cols: cols as i32,
            rows: rows as i32,
            scrollback,
            normal,
            alternate: Buffer::new(cols, rows, None),
            alternate_active: false,
            pen: Attributes::default(),
            charsets: Charsets::default(),
            modes: Modes::default(),
            kitty: Kitty::default(),
            strings: Strings::default(),
            preceding: None,
            replies: Vec::new(),
        }
    }

    pub fn buffer(&self) -> &Buffer {
        if self.alternate_active {
            &self.alternate
        } else {
            &self.normal
        }
    }

    pub fn buffer_mut(&mut self) -> &mut Buffer {
        if self.alternate_active {
            &mut self.alternate
        } else {
            &mut self.normal
        }
    }

    pub fn resize(&mut self, cols: usize, rows: usize) {
        self.cols = cols as i32;
        self.rows = rows as i32;
        for buffer in [&mut self.normal, &mut self.alternate] {
            buffer.resize(cols, rows);
            buffer.extend_tabs(cols);
        }
    }

    pub fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.replies)
    }

    fn reply(&mut self, text: impl AsRef<[u8]>) {
        self.replies.extend_from_slice(text.as_ref());
    }

    /// `ESC c`. Like the browser's it leaves the title, cursor visibility, line-feed mode and colours alone.
    fn reset(&mut self) {
        let (cols, rows) = (self.cols as usize, self.rows as usize);
        let fresh = Terminal::new(cols, rows, self.scrollback);
        self.normal = fresh.normal;
        self.alternate = fresh.alternate;
        self.alternate_active = false;
        self.pen = fresh.pen;
        self.charsets = fresh.charsets;
        self.kitty = fresh.kitty;
        self.modes.full_reset();
    }

    fn row_mut(&mut self) -> Option<&mut Line> {
        let buffer = self.buffer_mut();
        let y = buffer.y;
        buffer.row_mut(y)
    }

    fn erase_fill(&self) -> Attributes {
        self.pen.erased()
    }

    /// A cursor in the middle of a wide character is about to cut it.
    fn cut_wide_before(&mut self) {
        let x = self.buffer().x;
        let pen = self.pen.clone();
        if x > 0
            && let Some(row) = self.row_mut()
            && row.width(x as usize - 1) == 2
        {
            row.set(x as usize - 1, 0, 1, &pen);
        }
    }

    /// A right half that lost its left half becomes an empty cell.
    fn cut_wide_after(&mut self) {
        let x = self.buffer().x as usize;
        let pen = self.pen.clone();
        if (x as i32) < self.cols
            && let Some(row) = self.row_mut()
            && row.width(x) == 0
            && !row.has_content(x)
        {
            row.set(x, 0, 1, &pen);
        }
    }

    /// Prints ASCII as far as the row goes, which is most of what programs print; answers how much that was.
    fn print_ascii(&mut self, codes: &[u32], pen: &Attributes) -> usize {
        let cols = self.cols;
        let buffer = self.buffer_mut();
        let (x, y) = (buffer.x, buffer.y);
        let room = usize::try_from(cols - x).unwrap_or(0);
        let count = codes
            .iter()
            .take(room)
            .take_while(|code| (0x20..0x7F).contains(*code))
            .count();
        let (Some(row), Some(&last)) = (buffer.row_mut(y), codes[..count].last()) else {
            return 0;
        };
        row.write(x as usize, &codes[..count], pen);
        buffer.x += count as i32;
        self.preceding = Some(Preceding {
            sent: last,
            width: 1,
        });
        count
    }

    fn print_one(&mut self, sent: u32, charset: Charset, pen: &Attributes) {
        let cols = self.cols;
        let code = charset.translate(sent);
        let own_width = width::width(code) as i32;
        let joins = self.preceding.filter(|_| own_width == 0);
        let old_width = joins.map_or(0, |preceding| preceding.width);
        let char_width = own_width.max(old_width);
        if joins.is_none() {
            self.preceding = (char_width > 0).then_some(Preceding {
                sent,
                width: char_width,
            });
        }
        if self.buffer().x + char_width - old_width > cols {
            if self.modes.wraparound {
                self.wrap(old_width, pen);
            } else {
                self.buffer_mut().x = cols - 1;
                if char_width == 2 {
                    return;
                }
            }
        }
        let insert = self.modes.insert;
        let buffer = self.buffer_mut();
        let (x, y) = (buffer.x, buffer.y);
        let mut advance = 0;
        if let Some(row) = buffer.row_mut(y) {
            if joins.is_some() && x > 0 {
                let back = if row.width(x as usize - 1) != 0 { 1 } else { 2 };
                if x >= back {
                    row.join((x - back) as usize, code, char_width as u32);
                }
                return;
            }
            if insert {
                row.insert(x as usize, (char_width - old_width) as usize, pen);
                if row.width(cols as usize - 1) == 2 {
                    row.set(cols as usize - 1, 0, 1, pen);
                }
            }
            row.set(x as usize, code, char_width as u32, pen);
            advance = char_width.max(1);
            for right in 1..advance {
                row.set((x + right) as usize, 0, 0, pen);
            }
        }
        buffer.x += advance;
    }

    /// Continues on the next row. A wide character that does not fit leaves the last column empty.
    fn wrap(&mut self, old_width: i32, pen: &Attributes) {
        let (cols, rows) = (self.cols, self.rows);
        let fill = self.erase_fill();
        let buffer = self.buffer_mut();
        let from_x = (buffer.x - old_width).max(0);
        let mut old_row = buffer.index(buffer.y);
        buffer.x = old_width;
        buffer.y += 1;
        if buffer.y == buffer.scroll_bottom + 1 {
            buffer.y -= 1;
            let before = buffer.lines.len() + buffer.ybase;
            buffer.scroll(&fill, true);
            let moved_up = buffer.lines.len() + buffer.ybase == before;
            if moved_up {
                old_row = old_row.saturating_sub(1);
            }
        } else {
            buffer.y = buffer.y.min(rows - 1);
            let y = buffer.y;
            if let Some(row) = buffer.row_mut(y) {
                row.wrapped = true;
            }
        }
        let new_row = buffer.index(buffer.y);
        if old_width > 0 && old_row < buffer.lines.len() {
            let copied = buffer.lines[old_row].copy(from_x as usize, old_width as usize);
            if let Some(row) = buffer.lines.get_mut(new_row) {
                row.paste(0, copied);
            }
        }
        if let Some(row) = buffer.lines.get_mut(old_row) {
            for x in from_x..cols {
                row.set(x as usize, 0, 1, pen);
            }
        }
    }

    /// Text of the cell that was printed last, when it still stands before the cursor.
    pub fn preceding_text(&self) -> Option<(i32, String)> {
        let preceding = self.preceding?;
        let buffer = self.buffer();
        let x = buffer.x - preceding.width;
        let row = buffer.row(buffer.y).filter(|_| x >= 0)?;
        let cell = row.cell(x as usize);
        let shown = self.charsets.current().translate(preceding.sent);
        let mut text = String::new();
        row.push_text(x as usize, &mut text);
        let is_it = text.chars().next().map(u32::from) == Some(shown);
        (is_it
            && cell.width() as i32 == preceding.width
            && cell.content & (CODEPOINT | COMBINED) != 0)
            .then_some((x, text))
    }
}

impl Actions for Terminal {
    fn print(&mut self, codes: &[u32]) {
        let charset = self.charsets.current();
        let pen = self.pen.clone();
        self.cut_wide_before();
        let plain = charset == ASCII && !self.modes.insert && !pen.has_extended();
        let mut rest = codes;
        while let Some((&code, next)) = rest.split_first() {
            let taken = if plain {
                self.print_ascii(rest, &pen)
            } else {
                0
            };
            rest = rest.get(taken..).filter(|_| taken > 0).unwrap_or(next);
            if taken == 0 && code != SOFT_HYPHEN {
                self.print_one(code, charset, &pen);
            }
        }
        self.cut_wide_after();
    }

    fn execute(&mut self, code: u32) {
        match code {
            0x08 => self.backspace(),
            0x09 => self.tab(),
            0x0A..=0x0C => self.line_feed(),
            0x0D => self.buffer_mut().x = 0,
            0x0E => self.charsets.level = 1,
            0x0F => self.charsets.level = 0,
            0x84 => self.index(),
            0x85 => self.next_line(),
            0x88 => self.set_tab(),
            _ => {}
        }
    }

    fn interrupted(&mut self) {
        self.preceding = None;
    }

    fn csi(&mut self, collected: u32, last: u8, params: &Params) {
        const SPACE: u32 = b' ' as u32;
        const QUESTION: u32 = b'?' as u32;
        const GREATER: u32 = b'>' as u32;
        const QUOTE: u32 = b'\'' as u32;
        const DOLLAR: u32 = b'$' as u32;
        const QUESTION_DOLLAR: u32 = QUESTION << 8 | DOLLAR;
        match (collected, last) {
            (0, b'@') => self.insert_chars(params.count(0)),
            (SPACE, b'@') => self.shift_columns(params.count(0), false, true),
            (0, b'A') => self.cursor_up(params.count(0)),
            (SPACE, b'A') => self.shift_columns(params.count(0), true, true),
            (0, b'B') => self.cursor_down(params.count(0)),
            (0, b'C' | b'a') => self.move_cursor(params.count(0), 0),
            (0, b'D') => self.move_cursor(-params.count(0), 0),
            (0, b'E') => {
                self.cursor_down(params.count(0));
                self.buffer_mut().x = 0;
            }
            (0, b'F') => {
                self.cursor_up(params.count(0));
                self.buffer_mut().x = 0;
            }
            (0, b'G' | b'`') => {
                let y = self.buffer().y;
                self.set_cursor(params.count(0) - 1, y);
            }
            (0, b'H' | b'f') => {
                let x = if params.len() >= 2 {
                    params.count(1) - 1
                } else {
                    0
                };
                self.set_cursor(x, params.count(0) - 1);
            }
            (0, b'I') => self.forward_tabs(params.count(0)),
            (0, b'J') => self.erase_in_display(params.get(0), false),
            (QUESTION, b'J') => self.erase_in_display(params.get(0), true),
            (0, b'K') => self.erase_in_line(params.get(0), false),
            (QUESTION, b'K') => self.erase_in_line(params.get(0), true),
            (0, b'L') => self.insert_lines(params.count(0)),
            (0, b'M') => self.delete_lines(params.count(0)),
            (0, b'P') => self.delete_chars(params.count(0)),
            (0, b'S') => self.scroll_up(params.count(0)),
            (0, b'T' | b'^') => self.scroll_down(params.count(0)),
            (0, b'X') => self.erase_chars(params.count(0)),
            (0, b'Z') => self.backward_tabs(params.count(0)),
            (0, b'b') => self.repeat_preceding(params.count(0)),
            (0, b'c') => self.report_primary_attributes(params.get(0)),
            (GREATER, b'c') => self.report_secondary_attributes(params.get(0)),
            (0, b'd') => {
                let x = self.buffer().x;
                self.set_cursor(x, params.count(0) - 1);
            }
            (0, b'e') => self.move_cursor(0, params.count(0)),
            (0, b'g') => self.clear_tab(params.get(0)),
            (0, b'h') => self.set_modes(params, true),
            (0, b'l') => self.set_modes(params, false),
            (QUESTION, b'h') => self.set_private_modes(params, true),
            (QUESTION, b'l') => self.set_private_modes(params, false),
            (0, b'm') => self.select_graphics(params),
            (0, b'n') => self.report_status(params.get(0), false),
            (QUESTION, b'n') => self.report_status(params.get(0), true),
            (0x21, b'p') => self.soft_reset(),
            (GREATER, b'q') => self.report_version(params.get(0)),
            (SPACE, b'q') => self.set_cursor_style(params.get(0)),
            (0x22, b'q') => self.select_protected(params.get(0)),
            (0, b'r') => self.set_scroll_region(params),
            (0, b's') => self.save_cursor(),
            (0, b't') => self.report_window(params.get(0)),
            (0, b'u') => self.restore_cursor(),
            (QUOTE, b'}') => self.shift_columns(params.count(0), true, false),
            (QUOTE, b'~') => self.shift_columns(params.count(0), false, false),
            (DOLLAR, b'p') => self.report_mode(params.get(0)),
            (QUESTION_DOLLAR, b'p') => self.report_private_mode(params.get(0)),
            (0x3D, b'u') => self.kitty_set(params),
            (QUESTION, b'u') => self.kitty_report(),
            (GREATER, b'u') => self.kitty_push(params.get(0)),
            (0x3C, b'u') => self.kitty_pop(params.count(0)),
            _ => {}
        }
    }

    fn esc(&mut self, collected: u32, last: u8) {
        let level = match collected {
            0 => return self.plain_escape(last),
            0x23 if last == b'8' => return self.alignment_pattern(),
            0x25 if matches!(last, b'@' | b'G') => {
                self.charsets.level = 0;
                return self.charsets.designate(0, ASCII);
            }
            0x28 => 0,
            0x29 | 0x2D => 1,
            0x2A | 0x2E => 2,
            0x2B => 3,
            _ => return,
        };
        if let Some(set) = Charset::designated(last) {
            self.charsets.designate(level, set);
        }
    }

    fn osc(&mut self, text: &str) {
        self.operating_system_command(text);
    }

    fn dcs(&mut self, collected: u32, last: u8, text: &str) {
        if (collected, last) == (u32::from(b'$'), b'q') {
            self.report_setting(text);
        }
    }
}

impl Terminal {
    fn plain_escape(&mut self, last: u8) {
        match last {
            b'7' => self.save_cursor(),
            b'8' => self.restore_cursor(),
            b'D' => self.index(),
            b'E' => self.next_line(),
            b'H' => self.set_tab(),
            b'M' => self.reverse_index(),
            b'=' => self.modes.application_keypad = true,
            b'>' => self.modes.application_keypad = false,
            b'c' => self.reset(),
            b'n' | b'}' => self.charsets.level = 2,
            b'o' | b'|' => self.charsets.level = 3,
            b'~' => self.charsets.level = 1,
            _ => {}
        }
    }
}
