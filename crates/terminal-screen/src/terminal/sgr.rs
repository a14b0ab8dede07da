//! `CSI m`: colours and attributes of the pen.

use super::Terminal;
use crate::cell::{Attributes, COLOR, COLOR_16, COLOR_256, COLOR_MODE, COLOR_RGB, bg, fg};
use crate::params::Params;

impl Terminal {
    pub(super) fn select_graphics(&mut self, params: &Params) {
        let pen = &mut self.pen;
        let mut at = 0;
        while at < params.len() {
            let value = params.get(at);
            match value {
                0 => reset(pen),
                1 => pen.fg |= fg::BOLD,
                2 => pen.bg |= bg::DIM,
                3 => pen.bg |= bg::ITALIC,
                4 => underline(pen, params.subs(at).first().copied().unwrap_or(1)),
                5 => pen.fg |= fg::BLINK,
                7 => pen.fg |= fg::INVERSE,
                8 => pen.fg |= fg::INVISIBLE,
                9 => pen.fg |= fg::STRIKETHROUGH,
                21 => underline(pen, 2),
                22 => {
                    pen.fg &= !fg::BOLD;
                    pen.bg &= !bg::DIM;
                }
                23 => pen.bg &= !bg::ITALIC,
                24 => underline(pen, 0),
                25 => pen.fg &= !fg::BLINK,
                27 => pen.fg &= !fg::INVERSE,
                28 => pen.fg &= !fg::INVISIBLE,
                29 => pen.fg &= !fg::STRIKETHROUGH,
                30..=37 => pen.fg = palette(pen.fg, value - 30),
                40..=47 => pen.bg = palette(pen.bg, value - 40),
                90..=97 => pen.fg = palette(pen.fg, value - 90 + 8),
                100..=107 => pen.bg = palette(pen.bg, value - 100 + 8),
                38 | 48 | 58 => at += extended_color(pen, params, at),
                39 => pen.fg &= !COLOR,
                49 => pen.bg &= !COLOR,
                53 => pen.bg |= bg::OVERLINE,
                55 => pen.bg &= !bg::OVERLINE,
                59 => {
                    pen.extended.set_underline_color(COLOR);
                    pen.update_extended();
                }
                221 => pen.fg &= !fg::BOLD,
                222 => pen.bg &= !bg::DIM,
                _ => {}
            }
            at += 1;
        }
    }

    pub(super) fn select_protected(&mut self, which: i32) {
        match which {
            1 => self.pen.bg |= bg::PROTECTED,
            0 | 2 => self.pen.bg &= !bg::PROTECTED,
            _ => {}
        }
    }
}

/// `SGR 0`; an open link stays open.
fn reset(pen: &mut Attributes) {
    pen.fg = 0;
    pen.bg = 0;
    pen.extended.set_underline_style(0);
    pen.extended.set_underline_color(0);
    pen.update_extended();
}

fn underline(pen: &mut Attributes, style: i32) {
    let style = if (0..=5).contains(&style) {
        style as u32
    } else {
        1
    };
    pen.extended.set_underline_style(style);
    if style == 0 {
        pen.fg &= !fg::UNDERLINE;
    } else {
        pen.fg |= fg::UNDERLINE;
    }
    pen.update_extended();
}

fn palette(color: u32, index: i32) -> u32 {
    (color & !COLOR) | COLOR_16 | index as u32
}

/// Takes the colour that follows 38, 48 or 58, in any of its notations; answers how many parameters it took.
fn extended_color(pen: &mut Attributes, params: &Params, at: usize) -> usize {
    let mut found = [0, 0, -1, 0, 0, 0];
    let mut color_space = 0;
    let mut advance = 0;
    loop {
        found[advance + color_space] = params.get(at + advance);
        let subs = params.subs(at + advance);
        if !subs.is_empty() {
            for (index, &sub) in subs.iter().enumerate() {
                if found[1] == 5 {
                    color_space = 1;
                }
                let to = advance + index + 1 + color_space;
                if to >= found.len() {
                    break;
                }
                found[to] = sub;
            }
            break;
        }
        let complete = (found[1] == 5 && advance + color_space >= 2)
            || (found[1] == 2 && advance + color_space >= 5);
        if complete {
            break;
        }
        if found[1] != 0 {
            color_space = 1;
        }
        advance += 1;
        if at + advance >= params.len() || advance + color_space >= found.len() {
            break;
        }
    }
    for value in &mut found[2..] {
        *value = (*value).max(0);
    }
    let color = |old: u32| match found[1] {
        2 => {
            let rgb = (found[3] as u32 & 255) << 16
                | (found[4] as u32 & 255) << 8
                | (found[5] as u32 & 255);
            (old & !COLOR) | COLOR_RGB | rgb
        }
        5 => (old & !COLOR) | COLOR_256 | (found[3] as u32 & 255),
        _ => old,
    };
    match found[0] {
        38 => pen.fg = color(pen.fg),
        48 => pen.bg = color(pen.bg),
        58 => pen
            .extended
            .set_underline_color(color(pen.extended.underline_color())),
        _ => {}
    }
    advance
}

/// The parameters that select a colour again; `base` is 30, 40 or 50 for an underline.
pub(crate) fn color_parameters(color: u32, base: u32, out: &mut String) {
    use std::fmt::Write;
    let value = color & 0xFF_FFFF;
    let written = match color & COLOR_MODE {
        COLOR_16 if value < 8 && base != 50 => write!(out, ";{}", base + value),
        COLOR_16 if base != 50 => write!(out, ";{}", base + 60 + value - 8),
        COLOR_RGB => {
            let (red, green, blue) = (value >> 16, value >> 8 & 255, value & 255);
            write!(out, ";{}:2::{red}:{green}:{blue}", base + 8)
        }
        COLOR_256 => write!(out, ";{}:5:{value}", base + 8),
        _ => Ok(()),
    };
    written.expect("a String takes whatever is written");
}
