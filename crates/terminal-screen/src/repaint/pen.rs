//! Bringing the client's pen to given attributes.

use std::fmt::Write;
use std::sync::Arc;

use super::{Painter, emit};
use crate::cell::{Attributes, bg, fg};
use crate::terminal::color_parameters;

impl Painter {
    pub(super) fn pen(&mut self, wanted: &Attributes) {
        let link = match (&self.pen.extended.link, &wanted.extended.link) {
            (Some(open), Some(wanted)) => !Arc::ptr_eq(open, wanted),
            (None, None) => false,
            _ => true,
        };
        if link {
            match &wanted.extended.link {
                Some(link) if link.id.is_empty() => emit!(self, "\x1b]8;;{}\x1b\\", link.uri),
                Some(link) => emit!(self, "\x1b]8;id={};{}\x1b\\", link.id, link.uri),
                None => self.out.push_str("\x1b]8;;\x1b\\"),
            }
        }
        if graphics(&self.pen) != graphics(wanted) {
            self.graphics(wanted);
        }
        if (self.pen.bg ^ wanted.bg) & bg::PROTECTED != 0 {
            self.out.push_str(if wanted.bg & bg::PROTECTED != 0 {
                "\x1b[1\"q"
            } else {
                "\x1b[0\"q"
            });
        }
        self.pen = wanted.clone();
    }

    /// The same, and what is printed next joins nothing that was printed before.
    pub(super) fn pen_again(&mut self, wanted: &Attributes) {
        self.pen(wanted);
        self.graphics(wanted);
        if wanted.bg & bg::PROTECTED != 0 {
            self.out.push_str("\x1b[1\"q");
        }
    }

    fn graphics(&mut self, wanted: &Attributes) {
        self.out.push_str("\x1b[0");
        let flags = [
            (wanted.fg & fg::BOLD, 1),
            (wanted.bg & bg::DIM, 2),
            (wanted.bg & bg::ITALIC, 3),
            (wanted.fg & fg::BLINK, 5),
            (wanted.fg & fg::INVERSE, 7),
            (wanted.fg & fg::INVISIBLE, 8),
            (wanted.fg & fg::STRIKETHROUGH, 9),
            (wanted.bg & bg::OVERLINE, 53),
        ];
        for (_, parameter) in flags.iter().filter(|(flag, _)| *flag != 0) {
            emit!(self, ";{parameter}");
        }
        if wanted.fg & fg::UNDERLINE != 0 {
            emit!(self, ";4:{}", wanted.extended.underline_style().max(1));
        }
        color_parameters(wanted.fg, 30, &mut self.out);
        color_parameters(wanted.bg, 40, &mut self.out);
        color_parameters(wanted.extended.underline_color(), 50, &mut self.out);
        self.out.push('m');
        // `SGR 0` ended protection with everything else.
        self.pen.bg &= !bg::PROTECTED;
    }
}

/// Everything that `CSI m` sets.
fn graphics(attributes: &Attributes) -> (u32, u32, u32, u32) {
    let extended = &attributes.extended;
    let background = attributes.bg & !(bg::PROTECTED | bg::HAS_EXTENDED);
    (
        attributes.fg,
        background,
        extended.underline_style(),
        extended.underline_color(),
    )
}
