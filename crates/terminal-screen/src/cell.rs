//! Cells and attributes in the bit layout of xterm.js, so that what it derives from bits we derive too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) const CODEPOINT: u32 = 0x1F_FFFF;
pub(crate) const COMBINED: u32 = 0x20_0000;
pub(crate) const HAS_CONTENT: u32 = 0x3F_FFFF;
pub(crate) const WIDTH_SHIFT: u32 = 22;

/// Two bits of colour mode and 24 bits of colour, the same in foreground, background and underline.
pub(crate) const COLOR: u32 = 0x3FF_FFFF;
pub(crate) const COLOR_MODE: u32 = 0x300_0000;
pub(crate) const COLOR_16: u32 = 0x100_0000;
pub(crate) const COLOR_256: u32 = 0x200_0000;
pub(crate) const COLOR_RGB: u32 = 0x300_0000;

/// Flags kept above the foreground colour.
pub(crate) mod fg {
    pub const INVERSE: u32 = 0x400_0000;
    pub const BOLD: u32 = 0x800_0000;
    pub const UNDERLINE: u32 = 0x1000_0000;
    pub const BLINK: u32 = 0x2000_0000;
    pub const INVISIBLE: u32 = 0x4000_0000;
    pub const STRIKETHROUGH: u32 = 0x8000_0000;
}

/// Flags kept above the background colour.
pub(crate) mod bg {
    pub const ITALIC: u32 = 0x400_0000;
    pub const DIM: u32 = 0x800_0000;
    pub const HAS_EXTENDED: u32 = 0x1000_0000;
    pub const PROTECTED: u32 = 0x2000_0000;
    pub const OVERLINE: u32 = 0x4000_0000;
}

/// One column of one line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cell {
    /// Code point, [`COMBINED`] when the text is kept beside the line, and the width in columns.
    pub content: u32,
    pub fg: u32,
    pub bg: u32,
}

impl Cell {
    /// A cell nothing was ever written to.
    pub const NULL: Cell = Cell {
        content: 1 << WIDTH_SHIFT,
        fg: 0,
        bg: 0,
    };

    pub fn new(code: u32, width: u32, attributes: &Attributes) -> Cell {
        Cell {
            content: code | (width << WIDTH_SHIFT),
            fg: attributes.fg,
            bg: attributes.bg,
        }
    }

    pub fn width(self) -> u32 {
        self.content >> WIDTH_SHIFT
    }

    pub fn has_content(self) -> bool {
        self.content & HAS_CONTENT != 0
    }
}

/// What OSC 8 attaches to text.
#[derive(Debug)]
pub(crate) struct Link {
    pub id: String,
    pub uri: String,
    budget: LinkBudget,
}

impl PartialEq for Link {
    fn eq(&self, other: &Link) -> bool {
        (&self.id, &self.uri) == (&other.id, &other.uri)
    }
}

impl Eq for Link {}

impl Drop for Link {
    fn drop(&mut self) {
        self.budget
            .0
            .fetch_sub(self.id.len() + self.uri.len(), Ordering::Relaxed);
    }
}

/// Bytes that a terminal's links take, so that no output can fill the memory with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkBudget(Arc<AtomicUsize>);

impl LinkBudget {
    const LIMIT: usize = 4 * 1024 * 1024;

    /// A link, unless those that are on screen and in history take all the room.
    pub fn link(&self, id: &str, uri: &str) -> Option<Arc<Link>> {
        let bytes = id.len() + uri.len();
        if self.0.load(Ordering::Relaxed) + bytes > LinkBudget::LIMIT {
            return None;
        }
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Some(Arc::new(Link {
            id: id.to_owned(),
            uri: uri.to_owned(),
            budget: self.clone(),
        }))
    }
}

/// Attributes too rare for room in every cell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Extended {
    /// Underline style (3 bits from bit 26) and underline colour.
    bits: u32,
    pub link: Option<Arc<Link>>,
}

impl Extended {
    pub fn underline_style(&self) -> u32 {
        (self.bits >> 26) & 7
    }

    pub fn set_underline_style(&mut self, style: u32) {
        self.bits = (self.bits & !(7 << 26)) | ((style & 7) << 26);
    }

    pub fn underline_color(&self) -> u32 {
        self.bits & COLOR
    }

    pub fn set_underline_color(&mut self, color: u32) {
        self.bits = (self.bits & !COLOR) | (color & COLOR);
    }

    fn is_empty(&self) -> bool {
        self.underline_style() == 0 && self.link.is_none()
    }
}

/// The attributes that printing gives to cells: the pen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Attributes {
    pub fg: u32,
    pub bg: u32,
    pub extended: Extended,
}

impl Attributes {
    /// Erased cells keep nothing of the pen but its background colour.
    pub fn erased(&self) -> Attributes {
        Attributes {
            fg: 0,
            bg: self.bg & COLOR,
            extended: Extended::default(),
        }
    }

    pub fn has_extended(&self) -> bool {
        self.bg & bg::HAS_EXTENDED != 0
    }

    /// The style of underline that shows, 0 for none.
    pub fn underline(&self) -> u32 {
        match self.fg & fg::UNDERLINE != 0 {
            true if self.has_extended() => self.extended.underline_style(),
            true => 1,
            false => 0,
        }
    }

    /// The colour that underlines have or would have.
    pub fn underline_color(&self) -> u32 {
        let hidden = self.fg & fg::UNDERLINE != 0 && !self.has_extended();
        if hidden {
            0
        } else {
            self.extended.underline_color()
        }
    }

    /// What an empty cell shows of these: all, when there is more to see than the background, else that.
    pub fn shown_empty(self) -> Attributes {
        let seen = self.fg & (fg::INVERSE | fg::STRIKETHROUGH) != 0 || self.bg & bg::OVERLINE != 0;
        if seen || self.underline() != 0 {
            self
        } else {
            self.erased()
        }
    }

    /// Keeps the flag in step with the extended attributes after they changed.
    pub fn update_extended(&mut self) {
        if self.extended.is_empty() {
            self.bg &= !bg::HAS_EXTENDED;
        } else {
            self.bg |= bg::HAS_EXTENDED;
        }
    }
}
