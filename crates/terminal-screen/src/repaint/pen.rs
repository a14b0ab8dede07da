//! Bringing the client's pen to given attributes.

use std::fmt::Write;
use std::sync::Arc;

use super::{Painter, emit};
use crate::cell::{Attributes, bg, fg};
use crate::terminal::color_parameters;

impl Painter {
    pub(super) fn pen(&mut self, wanted: &Attributes) {
        // What a restored cursor hides of the extended attributes is not there.
        let link = wanted
            .extended
            .link
            .as_ref()
            .filter(|_| wanted.has_extended());
        let changed = match (&self.pen.extended.link, link) {
            (Some(open), Some(link)) => !Arc::ptr_eq(open, link),
            (open, link) => open.is_some() != link.is_some(),
        };
        if changed {
            match link {
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
        let link = link.cloned();
        self.pen = wanted.clone();
        self.pen.extended.link = link;
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
        let underline = wanted.underline();
        if underline != 0 {
            emit!(self, ";4:{underline}");
        }
        color_parameters(wanted.fg, 30, &mut self.out);
        color_parameters(wanted.bg, 40, &mut self.out);
        color_parameters(wanted.underline_color(), 50, &mut self.out);
        self.out.push('m');
        // `SGR 0` ended protection with everything else.
        self.pen.bg &= !bg::PROTECTED;
    }
}

/// Everything that `CSI m` sets.
fn graphics(attributes: &Attributes) -> (u32, u32, u32, u32) {
    let foreground = attributes.fg & !fg::UNDERLINE;
    let background = attributes.bg & !(bg::PROTECTED | bg::HAS_EXTENDED);
    (
        foreground,
        background,
        attributes.underline(),
        attributes.underline_color(),
    )
}
