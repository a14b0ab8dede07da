//! Answers to what programs ask, word for word those of xterm.js; for when no browser is there to answer.

use super::{MouseEncoding, MouseProtocol, Terminal};
use crate::cell::bg;

/// The version of xterm.js whose behaviour this crate mirrors.
pub(crate) const XTERM_VERSION: &str = "6.1.0-beta.288";

impl Terminal {
    pub(super) fn report_primary_attributes(&mut self, which: i32) {
        if which <= 0 {
            self.reply("\x1b[?1;2c");
        }
    }

    pub(super) fn report_secondary_attributes(&mut self, which: i32) {
        if which <= 0 {
            self.reply("\x1b[>0;276;0c");
        }
    }

    pub(super) fn report_version(&mut self, which: i32) {
        if which <= 0 {
            self.reply(format!("\x1bP>|xterm.js({XTERM_VERSION})\x1b\\"));
        }
    }

    pub(super) fn report_status(&mut self, which: i32, private: bool) {
        let (x, y) = (self.buffer().x + 1, self.buffer().y + 1);
        match (which, private) {
            (5, false) => self.reply("\x1b[0n"),
            (6, false) => self.reply(format!("\x1b[{y};{x}R")),
            (6, true) => self.reply(format!("\x1b[?{y};{x}R")),
            _ => {}
        }
    }

    pub(super) fn report_window(&mut self, which: i32) {
        if which == 18 {
            self.reply(format!("\x1b[8;{};{}t", self.rows, self.cols));
        }
    }

    pub(super) fn kitty_report(&mut self) {
        self.reply(format!("\x1b[?{}u", self.kitty.flags));
    }

    pub(super) fn report_mode(&mut self, mode: i32) {
        let value = match mode {
            2 => 4,
            4 => set(self.modes.insert),
            12 => 3,
            20 => set(self.modes.line_feed_new_line),
            _ => 0,
        };
        self.reply(format!("\x1b[{mode};{value}$y"));
    }

    pub(super) fn report_private_mode(&mut self, mode: i32) {
        let modes = &self.modes;
        let value = match mode {
            1 => set(modes.application_cursor),
            6 => set(modes.origin),
            7 => set(modes.wraparound),
            8 => 3,
            9 => set(modes.mouse_protocol == MouseProtocol::X10),
            12 => set(false),
            25 => set(!modes.cursor_hidden),
            45 => set(modes.reverse_wraparound),
            66 => set(modes.application_keypad),
            67 | 1005 | 1015 => 4,
            1000 => set(modes.mouse_protocol == MouseProtocol::Vt200),
            1002 => set(modes.mouse_protocol == MouseProtocol::Drag),
            1003 => set(modes.mouse_protocol == MouseProtocol::Any),
            1004 => set(modes.send_focus),
            1006 => set(modes.mouse_encoding == MouseEncoding::Sgr),
            1016 => set(modes.mouse_encoding == MouseEncoding::SgrPixels),
            1048 => 1,
            47 | 1047 | 1049 => set(self.alternate_active),
            2004 => set(modes.bracketed_paste),
            2026 => set(modes.synchronized_output),
            _ => 0,
        };
        self.reply(format!("\x1b[?{mode};{value}$y"));
    }

    /// DECRQSS.
    pub(super) fn report_setting(&mut self, setting: &str) {
        let buffer = self.buffer();
        let answer = match setting {
            "\"q" => format!("1$r{}\"q", u8::from(self.pen.bg & bg::PROTECTED != 0)),
            "\"p" => "1$r61;1\"p".to_owned(),
            "r" => format!("1$r{};{}r", buffer.scroll_top + 1, buffer.scroll_bottom + 1),
            "m" => "1$r0m".to_owned(),
            " q" => "1$r2 q".to_owned(),
            _ => "0$r".to_owned(),
        };
        self.reply(format!("\x1bP{answer}\x1b\\"));
    }
}

fn set(on: bool) -> u8 {
    if on { 1 } else { 2 }
}
