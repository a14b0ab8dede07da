//! The state as output: bytes that bring a fresh xterm.js to where the emulator is.
//!
//! The order matters, since most sequences move the cursor or use the pen. Both buffers are painted without
//! addressing the cursor, so that history and soft wraps come about as they did before; then tab stops, scroll
//! region and saved cursor, which are each buffer's own; then what holds for the whole terminal; and last the pen,
//! the character sets, the character printed last and the beginning of an unfinished sequence.

mod paint;
mod pen;

use std::fmt::Write;

use crate::buffer::{Buffer, SavedCursor};
use crate::cell::{Attributes, Extended, fg};
use crate::charset::{ASCII, Charsets};
use crate::terminal::{Kitty, MouseEncoding, MouseProtocol, Terminal};

/// Ends any sequence the client was in the middle of; then resets it, and what a reset leaves alone: cursor
/// visibility, line-feed mode and redefined colours.
const PREAMBLE: &str = "\x18\x1bc\x1b[?25h\x1b[20l\x1b]104\x07\x1b]110\x07\x1b]111\x07\x1b]112\x07";

/// Paints `terminal` with at most `history` lines above the screen; the bytes of an unfinished sequence are the
/// caller's to append.
pub(crate) fn repaint(terminal: &Terminal, history: usize) -> Vec<u8> {
    let mut painter = Painter {
        out: String::from(PREAMBLE),
        pen: Attributes::default(),
        cols: terminal.cols as usize,
        rows: terminal.rows as usize,
        history,
    };
    painter.strings(terminal);
    // Saving a cursor keeps all character sets designated so far, so the one that keeps fewer comes first.
    let (normal, alternate) = (&terminal.normal, &terminal.alternate);
    let alternate_first = alternate.saved.charsets.sets.len() <= normal.saved.charsets.sets.len();
    if alternate_first {
        painter.hidden_alternate(terminal);
    }
    painter.paint(normal);
    painter.tabs(normal);
    painter.saved_cursor(normal);
    if !alternate_first {
        painter.hidden_alternate(terminal);
    }
    painter.region(normal);
    let kitty = &terminal.kitty;
    if terminal.alternate_active {
        painter.kitty_stack(&kitty.main_stack, kitty.main_flags);
        painter.go_to(normal.x, normal.y); // a change of size asks for the row
        painter.pen(&Attributes::default());
        painter.out.push_str("\x1b[?47h\x1b[H");
        painter.paint(alternate);
        painter.tabs(alternate);
        painter.region(alternate);
        painter.kitty_stack(&kitty.alternate_stack, kitty.flags);
    } else {
        painter.kitty_stack(&kitty.main_stack, kitty.flags);
    }
    painter.finish(terminal);
    painter.out.into_bytes()
}

/// Whether the cursor was saved. Of one that was not, reflow may have moved the row, which restores to the top still.
fn was_saved(buffer: &Buffer) -> bool {
    let unsaved = SavedCursor {
        y: buffer.saved.y,
        ..SavedCursor::default()
    };
    buffer.saved != unsaved || buffer.saved.y > buffer.ybase as i32
}

/// What to print, and in which column, so that the next character joins or repeats the last one as it should.
fn print_again(terminal: &Terminal) -> Option<(i32, String)> {
    let preceding = terminal.preceding?;
    let sent = char::from_u32(preceding.sent)?;
    if let Some((x, text)) = terminal.preceding_text() {
        return Some((
            x,
            std::iter::once(sent).chain(text.chars().skip(1)).collect(),
        ));
    }
    // A wide character that did not fit and was not allowed to wrap shows nothing, yet it is the last one.
    let x = terminal.buffer().x;
    let dropped = preceding.width == 2 && !terminal.modes.wraparound && x == terminal.cols - 1;
    dropped.then(|| (x, sent.to_string()))
}

/// The pen to save: its underline's style is not saved, only that there is one.
fn saved_pen(saved: &SavedCursor) -> Attributes {
    let mut extended = Extended::default();
    extended.set_underline_style(u32::from(saved.fg & fg::UNDERLINE != 0));
    Attributes {
        fg: saved.fg,
        bg: saved.bg,
        extended,
    }
}

/// Output so far, and the client's pen after it.
struct Painter {
    out: String,
    pen: Attributes,
    cols: usize,
    rows: usize,
    /// Lines above the screen that are painted.
    history: usize,
}

/// Writes to the output, which takes whatever is written.
macro_rules! emit {
    ($painter:expr, $($part:tt)*) => {
        write!($painter.out, $($part)*).expect("a String takes whatever is written")
    };
}
use emit;

impl Painter {
    fn strings(&mut self, terminal: &Terminal) {
        let strings = &terminal.strings;
        for (index, color) in &strings.palette {
            emit!(self, "\x1b]4;{index};{color}\x07");
        }
        for (number, color) in (10..).zip(&strings.special) {
            if let Some(color) = color {
                emit!(self, "\x1b]{number};{color}\x07");
            }
        }
        if !strings.icon.is_empty() {
            emit!(self, "\x1b]1;{}\x07", strings.icon);
        }
        if !strings.title.is_empty() {
            emit!(self, "\x1b]2;{}\x07", strings.title);
        }
    }

    /// What the alternate buffer keeps even while it is not shown.
    fn hidden_alternate(&mut self, terminal: &Terminal) {
        let saved_is_needed = was_saved(&terminal.alternate);
        let kitty_is_needed = terminal.kitty != Kitty::default();
        if !saved_is_needed && !kitty_is_needed {
            return;
        }
        let kitty = &terminal.kitty;
        if kitty_is_needed {
            emit!(self, "\x1b[={};1u", kitty.main_flags);
        }
        self.out.push_str("\x1b[?47h");
        if kitty_is_needed && !terminal.alternate_active {
            self.kitty_stack(&kitty.alternate_stack, kitty.alternate_flags);
        }
        if kitty_is_needed {
            emit!(self, "\x1b[={};1u", kitty.alternate_flags);
        }
        if saved_is_needed {
            self.saved_cursor(&terminal.alternate);
        }
        self.out.push_str("\x1b[?47l\x1b[H");
    }

    /// Pushes `stack` and leaves `flags` in force.
    fn kitty_stack(&mut self, stack: &[i32], flags: i32) {
        let mut all = stack.iter().chain(std::iter::once(&flags));
        if let Some(first) = all.next().filter(|first| !stack.is_empty() || **first != 0) {
            emit!(self, "\x1b[={first};1u");
        }
        for next in all {
            emit!(self, "\x1b[>{next}u");
        }
    }

    /// The scroll region; after the saved cursor, which may lie outside of it.
    fn region(&mut self, buffer: &Buffer) {
        if buffer.scroll_top > 0 || buffer.scroll_bottom < self.rows as i32 - 1 {
            emit!(
                self,
                "\x1b[{};{}r",
                buffer.scroll_top + 1,
                buffer.scroll_bottom + 1
            );
        }
    }

    fn tabs(&mut self, buffer: &Buffer) {
        let stops = || buffer.tabs.iter().copied().filter(|stop| *stop < self.cols);
        if stops().eq((0..self.cols).step_by(8)) {
            return;
        }
        let stops: Vec<usize> = stops().collect();
        self.out.push_str("\x1b[3g");
        for stop in stops {
            emit!(self, "\x1b[1;{}H\x1bH", stop + 1);
        }
    }

    /// Puts the client where the cursor was saved, saves, and takes everything back but the position.
    fn saved_cursor(&mut self, buffer: &Buffer) {
        let saved = &buffer.saved;
        if !was_saved(buffer) {
            return;
        }
        if saved.origin {
            self.out.push_str("\x1b[?6h");
        }
        let y = (saved.y - buffer.ybase as i32).clamp(0, self.rows as i32 - 1);
        // Restoring never leads to a pending wrap.
        self.go_to(saved.x, y);
        self.pen(&saved_pen(saved));
        self.charsets(&saved.charsets);
        self.out.push_str(if saved.wraparound {
            "\x1b7"
        } else {
            "\x1b[?7l\x1b7\x1b[?7h"
        });
        for (level, set) in saved.charsets.sets.iter().enumerate() {
            if *set != ASCII {
                self.designate(level, ASCII);
            }
        }
        if saved.charsets.level != 0 {
            self.out.push('\x0f');
        }
        if saved.origin {
            self.out.push_str("\x1b[?6l");
        }
        self.pen(&Attributes::default());
    }

    fn designate(&mut self, level: usize, set: crate::charset::Charset) {
        emit!(
            self,
            "\x1b{}{}",
            ['(', ')', '*', '+'][level.min(3)],
            set.0 as char
        );
    }

    fn charsets(&mut self, charsets: &Charsets) {
        for (level, set) in charsets.sets.iter().enumerate() {
            self.designate(level, *set);
        }
        self.out
            .push_str(["", "\x0e", "\x1bn", "\x1bo"][charsets.level.min(3)]);
    }

    fn go_to(&mut self, x: i32, y: i32) {
        emit!(
            self,
            "\x1b[{};{}H",
            y.max(0) + 1,
            x.clamp(0, self.cols as i32 - 1) + 1
        );
    }

    /// Moves the cursor to a cell of `buffer`'s screen, which is painted already. The client counts rows from `top`.
    /// Beyond the last column is a pending wrap, and only printing leads there.
    fn place(&mut self, buffer: &Buffer, x: i32, y: i32, top: i32) {
        if x < self.cols as i32 {
            return self.go_to(x, y - top);
        }
        let Some(row) = buffer.row(y) else { return };
        let last = self.cols - 1;
        let at = if row.width(last) == 0 && !row.has_content(last) && last > 0 {
            last - 1
        } else {
            last
        };
        self.go_to(at as i32, y - top);
        if row.has_content(at) {
            self.pen_again(&row.attributes(at));
            row.push_text(at, &mut self.out);
            return;
        }
        let fill = row.attributes(last).erased();
        self.pen(&fill);
        self.out.push(' ');
        if (0..self.cols).all(|x| !row.has_content(x) && row.cell(x).bg == fill.bg) {
            self.out.push_str("\x1b[1K"); // erases the row and keeps the pending wrap
        }
    }

    fn finish(&mut self, terminal: &Terminal) {
        let buffer = terminal.buffer();
        let modes = &terminal.modes;
        if modes.origin {
            self.out.push_str("\x1b[?6h");
        }
        let top = if modes.origin { buffer.scroll_top } else { 0 };
        let again = print_again(terminal);
        let x = again.as_ref().map_or(buffer.x, |(x, _)| *x);
        self.place(buffer, x, buffer.y, top);
        self.modes(terminal);
        self.pen_again(&terminal.pen);
        self.charsets(&terminal.charsets);
        if let Some((_, text)) = again {
            if modes.insert && buffer.x > x {
                emit!(self, "\x1b[{}P", buffer.x - x); // room for printing it once more
            }
            self.out.push_str(&text);
        }
    }

    fn modes(&mut self, terminal: &Terminal) {
        let modes = &terminal.modes;
        let switches = [
            (modes.line_feed_new_line, "\x1b[20h"),
            (modes.insert, "\x1b[4h"),
            (modes.application_cursor, "\x1b[?1h"),
            (modes.application_keypad, "\x1b="),
            (modes.bracketed_paste, "\x1b[?2004h"),
            (modes.reverse_wraparound, "\x1b[?45h"),
            (modes.send_focus, "\x1b[?1004h"),
            (modes.win32_input, "\x1b[?9001h"),
            (modes.color_scheme_updates, "\x1b[?2031h"),
            (!modes.wraparound, "\x1b[?7l"),
        ];
        for (_, sequence) in switches.iter().filter(|(on, _)| *on) {
            self.out.push_str(sequence);
        }
        self.out.push_str(match modes.mouse_protocol {
            MouseProtocol::None => "",
            MouseProtocol::X10 => "\x1b[?9h",
            MouseProtocol::Vt200 => "\x1b[?1000h",
            MouseProtocol::Drag => "\x1b[?1002h",
            MouseProtocol::Any => "\x1b[?1003h",
        });
        self.out.push_str(match modes.mouse_encoding {
            MouseEncoding::Default => "",
            MouseEncoding::Sgr => "\x1b[?1006h",
            MouseEncoding::SgrPixels => "\x1b[?1016h",
        });
        if let Some(shape) = modes.cursor_shape {
            emit!(self, "\x1b[{shape} q");
        }
        // Numbers beyond the last shape change blinking alone.
        self.out.push_str(match modes.cursor_blink {
            None => "",
            Some(true) => "\x1b[7 q",
            Some(false) => "\x1b[8 q",
        });
        if modes.cursor_hidden {
            self.out.push_str("\x1b[?25l");
        }
        if modes.synchronized_output {
            self.out.push_str("\x1b[?2026h");
        }
    }
}
