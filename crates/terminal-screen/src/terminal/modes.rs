//! Modes that programs switch, the keyboard protocol and the switch between the two buffers.

use super::Terminal;
use crate::buffer::SavedCursor;
use crate::charset::{ASCII, Charsets};
use crate::params::Params;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum MouseProtocol {
    #[default]
    None,
    X10,
    Vt200,
    Drag,
    Any,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum MouseEncoding {
    #[default]
    Default,
    Sgr,
    SgrPixels,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Modes {
    pub insert: bool,
    pub line_feed_new_line: bool,
    pub application_cursor: bool,
    pub application_keypad: bool,
    pub bracketed_paste: bool,
    pub color_scheme_updates: bool,
    /// 1 block, 3 underline, 5 bar; `None` is the user's own choice.
    pub cursor_shape: Option<u8>,
    pub cursor_blink: Option<bool>,
    pub origin: bool,
    pub reverse_wraparound: bool,
    pub send_focus: bool,
    pub synchronized_output: bool,
    pub win32_input: bool,
    pub wraparound: bool,
    pub cursor_hidden: bool,
    pub mouse_protocol: MouseProtocol,
    pub mouse_encoding: MouseEncoding,
}

impl Default for Modes {
    fn default() -> Modes {
        Modes {
            insert: false,
            line_feed_new_line: false,
            application_cursor: false,
            application_keypad: false,
            bracketed_paste: false,
            color_scheme_updates: false,
            cursor_shape: None,
            cursor_blink: None,
            origin: false,
            reverse_wraparound: false,
            send_focus: false,
            synchronized_output: false,
            win32_input: false,
            wraparound: true,
            cursor_hidden: false,
            mouse_protocol: MouseProtocol::None,
            mouse_encoding: MouseEncoding::Default,
        }
    }
}

impl Modes {
    /// What `ESC c` does to them.
    pub fn full_reset(&mut self) {
        let (cursor_hidden, line_feed_new_line) = (self.cursor_hidden, self.line_feed_new_line);
        *self = Modes {
            cursor_hidden,
            line_feed_new_line,
            ..Modes::default()
        };
    }

    /// What `CSI ! p` does to them.
    fn soft_reset(&mut self) {
        let Modes {
            mouse_protocol,
            mouse_encoding,
            line_feed_new_line,
            ..
        } = *self;
        *self = Modes {
            mouse_protocol,
            mouse_encoding,
            line_feed_new_line,
            ..Modes::default()
        };
    }
}

/// Flags of the kitty keyboard protocol, per buffer, with the stacks that programs push to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Kitty {
    pub flags: i32,
    pub main_flags: i32,
    pub alternate_flags: i32,
    pub main_stack: Vec<i32>,
    pub alternate_stack: Vec<i32>,
}

const KITTY_STACK_LIMIT: usize = 16;

impl Terminal {
    pub(super) fn set_modes(&mut self, params: &Params, on: bool) {
        for mode in params.values() {
            match mode {
                4 => self.modes.insert = on,
                20 => self.modes.line_feed_new_line = on,
                _ => {}
            }
        }
    }

    pub(super) fn set_private_modes(&mut self, params: &Params, on: bool) {
        for &mode in params.values() {
            match mode {
                1 => self.modes.application_cursor = on,
                2 if on => (0..4).for_each(|level| self.charsets.designate(level, ASCII)),
                6 => {
                    self.modes.origin = on;
                    self.set_cursor(0, 0);
                }
                7 => self.modes.wraparound = on,
                9 => self.set_mouse(MouseProtocol::X10, on),
                25 => self.modes.cursor_hidden = !on,
                45 => self.modes.reverse_wraparound = on,
                66 => self.modes.application_keypad = on,
                1000 => self.set_mouse(MouseProtocol::Vt200, on),
                1002 => self.set_mouse(MouseProtocol::Drag, on),
                1003 => self.set_mouse(MouseProtocol::Any, on),
                1004 => self.modes.send_focus = on,
                1006 => {
                    self.modes.mouse_encoding = if on {
                        MouseEncoding::Sgr
                    } else {
                        MouseEncoding::Default
                    }
                }
                1016 => {
                    self.modes.mouse_encoding = if on {
                        MouseEncoding::SgrPixels
                    } else {
                        MouseEncoding::Default
                    }
                }
                47 | 1047 | 1049 if on => {
                    if mode == 1049 {
                        self.save_cursor();
                    }
                    self.show_alternate();
                }
                47 | 1047 | 1049 => {
                    self.show_normal();
                    if mode == 1049 {
                        self.restore_cursor();
                    }
                }
                1048 if on => self.save_cursor(),
                1048 => self.restore_cursor(),
                2004 => self.modes.bracketed_paste = on,
                2026 => self.modes.synchronized_output = on,
                2031 => self.modes.color_scheme_updates = on,
                9001 => self.modes.win32_input = on,
                _ => {}
            }
        }
    }

    fn set_mouse(&mut self, protocol: MouseProtocol, on: bool) {
        self.modes.mouse_protocol = if on { protocol } else { MouseProtocol::None };
    }

    fn show_alternate(&mut self) {
        self.kitty.main_flags = self.kitty.flags;
        self.kitty.flags = self.kitty.alternate_flags;
        if self.alternate_active {
            return;
        }
        self.alternate.fill_rows(&self.pen.erased());
        self.alternate.x = self.normal.x;
        self.alternate.y = self.normal.y;
        self.alternate_active = true;
    }

    fn show_normal(&mut self) {
        self.kitty.alternate_flags = self.kitty.flags;
        self.kitty.flags = self.kitty.main_flags;
        if !self.alternate_active {
            return;
        }
        self.normal.x = self.alternate.x;
        self.normal.y = self.alternate.y;
        self.alternate.clear();
        self.alternate_active = false;
    }

    pub(super) fn soft_reset(&mut self) {
        self.modes.soft_reset();
        self.kitty = Kitty::default();
        self.pen = crate::cell::Attributes::default();
        self.charsets = Charsets::default();
        let rows = self.rows;
        let buffer = self.buffer_mut();
        buffer.scroll_top = 0;
        buffer.scroll_bottom = rows - 1;
        let y = buffer.ybase as i32;
        buffer.saved = SavedCursor {
            x: 0,
            y,
            fg: 0,
            bg: 0,
            ..buffer.saved.clone()
        };
    }

    pub(super) fn set_cursor_style(&mut self, style: i32) {
        if style == 0 {
            self.modes.cursor_shape = None;
            self.modes.cursor_blink = None;
            return;
        }
        if style <= 6 {
            self.modes.cursor_shape = Some((style as u8 - 1) / 2 * 2 + 1);
        }
        self.modes.cursor_blink = Some(style % 2 == 1);
    }

    pub(super) fn kitty_set(&mut self, params: &Params) {
        let flags = params.get(0);
        match params.count(1) {
            1 => self.kitty.flags = flags,
            2 => self.kitty.flags |= flags,
            3 => self.kitty.flags &= !flags,
            _ => {}
        }
    }

    fn kitty_stack(&mut self) -> &mut Vec<i32> {
        if self.alternate_active {
            &mut self.kitty.alternate_stack
        } else {
            &mut self.kitty.main_stack
        }
    }

    pub(super) fn kitty_push(&mut self, flags: i32) {
        let old = std::mem::replace(&mut self.kitty.flags, flags);
        let stack = self.kitty_stack();
        if stack.len() >= KITTY_STACK_LIMIT {
            stack.remove(0);
        }
        stack.push(old);
    }

    pub(super) fn kitty_pop(&mut self, count: i32) {
        for _ in 0..(count as usize).min(KITTY_STACK_LIMIT) {
            if let Some(flags) = self.kitty_stack().pop() {
                self.kitty.flags = flags;
            }
        }
        if self.kitty_stack().is_empty() {
            self.kitty.flags = 0;
        }
    }
}
