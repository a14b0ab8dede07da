//! The state of a terminal's screen, kept in the guest, so that a returning browser shows what an undisturbed one
//! shows: cell for cell and mode for mode.
//!
//! The browser runs xterm.js 6.1 with the options that VS Code's workbench gives it and the widths of Unicode 11.
//! An emulator with rules of its own, however good, differs from it wherever the rules leave room: reflow, wide
//! characters cut in half, erased against empty cells, what `ESC c` leaves alone. So the emulator here follows
//! xterm.js's own rules, bug for bug (its licence: `LICENSE-xterm.js`), and tests compare the two.
//!
//! It deliberately does not know ptys, processes, connections or clients; it takes bytes and gives bytes.
//!
//! # Where to start
//!
//! - [`Screen`]: feed output, resize, repaint, or replay what a client missed
//! - `parser`, `params`, `utf8`: bytes to actions, and the bytes of an unfinished sequence
//! - `terminal`: the emulator; one file per family of sequences
//! - `buffer`, `line`, `cell`, `reflow`: what is on screen and in history
//! - `repaint`: state to bytes
//! - `tail`: the last raw output
//!
//! # What is known to differ after a repaint
//!
//! Outside of what the screen shows:
//! - History longer than [`Screen`]'s: a client with more scrollback has lost what was above.
//! - Inline images, VS Code's own marks (OSC 633: command decorations) and progress (OSC 9;4) are not kept.
//! - Links without an id that several separate runs of text share are hovered apart.
//! - An OSC or DCS longer than 8 KiB that is under way during the repaint has no effect.
//! - Limits where xterm.js has none: 128 bytes of combining characters in a cell, titles of 4 KiB, 4 MiB of links.
//!
//! In corners that no recorded program visits:
//! - A pending wrap over an erased last column with text in the row leaves a space there.
//! - Halves of wide characters that xterm.js itself leaves alone: they become empty cells.
//! - On an alternate screen made narrower, cells beyond the edge do not come back when it is widened again before
//!   the program redraws; likewise tab stops beyond the edge, and what a shrunk alternate screen scrolled out.
//! - A cursor saved in what is history by now restores to the top row, even after the history is dropped.
//! - Restoring a cursor can hide an open link or underline from the pen until the next `SGR`; repainted, it is gone.
//! - Restoring a cursor saved before any character set was designated leaves the sets alone; repainted, it may
//!   designate ASCII.
//!
//! # Memory
//!
//! 12 bytes per written cell; columns never written cost nothing. A shell session's 1,000 lines of history take
//! about 0.5 MiB, 1,000 full lines of 200 columns 2.4 MiB, and the raw tail up to [`TAIL_LIMIT`] more.
//!
//! # Tests
//!
//! Unit tests beside the code; `tests/screen.rs` for what callers rely on; `tests/random.rs` feeds random and hostile
//! bytes; `tests/differential.rs` replays recorded sessions of real programs (vim, less, tmux, htop, git, …) and
//! random sequences against `@xterm/headless` under node.

mod buffer;
mod cell;
mod charset;
mod line;
mod params;
mod parser;
mod reflow;
mod repaint;
mod tail;
mod terminal;
mod utf8;
mod width;

use parser::Parser;
use tail::Tail;
use terminal::Terminal;
use utf8::Decoder;

/// Raw output kept for [`Screen::since`], in bytes.
pub const TAIL_LIMIT: usize = 256 * 1024;

/// Lines of history that VS Code's terminal keeps by default.
pub const DEFAULT_SCROLLBACK: usize = 1000;

/// A terminal's size in character cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

impl Size {
    /// As xterm.js has it: at least two columns and one row.
    fn clamped(self) -> Size {
        Size {
            columns: self.columns.max(2),
            rows: self.rows.max(1),
        }
    }
}

/// What brings a client up to date.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repaint {
    /// To be written to an xterm.js of `size`. They begin with a reset, so whatever it showed before is gone.
    pub bytes: Vec<u8>,
    /// How many bytes of output they stand for; what is fed later follows them.
    pub offset: u64,
    pub size: Size,
}

/// The screen of one terminal.
pub struct Screen {
    terminal: Terminal,
    parser: Parser,
    decoder: Decoder,
    tail: Tail,
    resized_at: u64,
}

impl Screen {
    /// A blank screen that keeps `scrollback_lines` of history; it should be what the clients keep.
    pub fn new(size: Size, scrollback_lines: usize) -> Screen {
        let Size { columns, rows } = size.clamped();
        Screen {
            terminal: Terminal::new(columns.into(), rows.into(), scrollback_lines),
            parser: Parser::new(),
            decoder: Decoder::default(),
            tail: Tail::new(TAIL_LIMIT),
            resized_at: 0,
        }
    }

    /// Takes output of the pty, cut anywhere.
    ///
    /// Answers replies to what programs asked (device attributes, cursor position, …). Write them to the pty while
    /// no client is attached; a client's own terminal answers otherwise, so drop them then.
    #[must_use = "replies belong to the pty while no client is attached"]
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.tail.push(bytes);
        self.parser
            .feed(&mut self.decoder, bytes, &mut self.terminal);
        self.terminal.take_replies()
    }

    /// Follows a change of the pty's size.
    pub fn resize(&mut self, size: Size) {
        let size = size.clamped();
        if size != self.size() {
            self.terminal.resize(size.columns.into(), size.rows.into());
            self.resized_at = self.offset();
        }
    }

    pub fn size(&self) -> Size {
        Size {
            columns: self.terminal.cols as u16,
            rows: self.terminal.rows as u16,
        }
    }

    /// Bytes that make any xterm.js of this size equal to one that saw all output.
    ///
    /// Write them in one piece, and drop what the client's terminal sends until they are parsed.
    pub fn repaint(&self) -> Repaint {
        self.repaint_with_history(usize::MAX)
    }

    /// As [`Screen::repaint`], with as much of the history as `most` bytes have room for. The screen itself is
    /// always whole, and can be larger alone.
    pub fn repaint_within(&self, most: usize) -> Repaint {
        let mut repaint = self.repaint();
        let mut history = self.terminal.normal.ybase;
        while repaint.bytes.len() > most && history > 0 {
            history /= 2;
            repaint = self.repaint_with_history(history);
        }
        repaint
    }

    fn repaint_with_history(&self, lines: usize) -> Repaint {
        let mut bytes = repaint::repaint(&self.terminal, lines);
        bytes.extend(self.parser.pending());
        bytes.extend_from_slice(self.decoder.partial());
        Repaint {
            bytes,
            offset: self.offset(),
            size: self.size(),
        }
    }

    /// Raw output after `offset`, at most `most` bytes of it, for a client whose terminal still has the state it had
    /// then and has `size` now.
    ///
    /// `None` when it is no longer held, or when the size changed meanwhile: then only [`Screen::repaint`] is exact.
    /// Replayed queries are answered again by the client's terminal: drop what it sends while it replays.
    pub fn since(&self, offset: u64, size: Size, most: usize) -> Option<Vec<u8>> {
        if size != self.size() || offset < self.resized_at {
            return None;
        }
        self.tail.since(offset, most)
    }

    /// Bytes ever fed.
    pub fn offset(&self) -> u64 {
        self.tail.end()
    }

    /// The window title a program set, if any.
    pub fn title(&self) -> Option<&str> {
        Some(self.terminal.strings.title.as_str()).filter(|title| !title.is_empty())
    }

    /// Whether a full-screen program has the alternate screen.
    pub fn is_alternate(&self) -> bool {
        self.terminal.alternate_active
    }

    /// The rows on screen, without trailing blanks.
    pub fn visible_text(&self) -> Vec<String> {
        let rows = (0..self.terminal.rows).map(|y| {
            let mut text = String::new();
            let Some(row) = self.terminal.buffer().row(y) else {
                return text;
            };
            let mut x = 0;
            while x < self.terminal.cols as usize {
                if row.has_content(x) {
                    row.push_text(x, &mut text);
                } else {
                    text.push(' ');
                }
                x += row.width(x).max(1) as usize;
            }
            text.truncate(text.trim_end().len());
            text
        });
        rows.collect()
    }
}
