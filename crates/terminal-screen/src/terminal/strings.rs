//! Operating-system commands: titles, links and the colours that programs redefine.

use std::collections::BTreeMap;

use super::Terminal;
use crate::cell::LinkBudget;

/// Longest colour that is remembered; `rgb:ffff/ffff/ffff` has 18 bytes.
const COLOR_LIMIT: usize = 32;

/// Longest title, in bytes.
const TITLE_LIMIT: usize = 4096;

#[derive(Default, Debug)]
pub(crate) struct Strings {
    pub title: String,
    pub icon: String,
    /// Redefined palette entries, as they were sent.
    pub palette: BTreeMap<u8, String>,
    /// Redefined foreground, background and cursor colour (OSC 10, 11, 12).
    pub special: [Option<String>; 3],
    links: LinkBudget,
}

impl Terminal {
    pub(super) fn operating_system_command(&mut self, text: &str) {
        let (number, data) = text.split_once(';').unwrap_or((text, ""));
        match number.parse::<u16>() {
            Ok(0) => {
                self.strings.title = shortened(data);
                self.strings.icon = shortened(data);
            }
            Ok(1) => self.strings.icon = shortened(data),
            Ok(2) => self.strings.title = shortened(data),
            Ok(4) => self.set_palette(data),
            Ok(8) => self.set_link(data),
            Ok(first @ 10..=12) => self.set_special_colors(usize::from(first - 10), data),
            Ok(104) => self.restore_palette(data),
            Ok(which @ 110..=112) => self.strings.special[usize::from(which - 110)] = None,
            _ => {}
        }
    }

    fn set_link(&mut self, data: &str) {
        let Some((parameters, uri)) = data.split_once(';') else {
            return;
        };
        let parameters = parameters.trim();
        if uri.is_empty() {
            if parameters.is_empty() {
                self.pen.extended.link = None;
                self.pen.update_extended();
            }
            return;
        }
        let id = parameters
            .split(':')
            .find_map(|parameter| parameter.strip_prefix("id="))
            .unwrap_or("");
        let open = self.pen.extended.link.take();
        let same = open.filter(|open| !id.is_empty() && open.id == id && open.uri == uri);
        self.pen.extended.link = same.or_else(|| self.strings.links.link(id, uri));
        self.pen.update_extended();
    }

    fn set_palette(&mut self, data: &str) {
        let mut slots = data.split(';');
        while let (Some(index), Some(color)) = (slots.next(), slots.next()) {
            if let (Ok(index), true) = (index.parse(), is_color(color)) {
                self.strings.palette.insert(index, color.to_owned());
            }
        }
    }

    fn set_special_colors(&mut self, first: usize, data: &str) {
        for (slot, color) in self
            .strings
            .special
            .iter_mut()
            .skip(first)
            .zip(data.split(';'))
        {
            if is_color(color) {
                *slot = Some(color.to_owned());
            }
        }
    }

    fn restore_palette(&mut self, data: &str) {
        if data.is_empty() {
            self.strings.palette.clear();
        }
        for index in data.split(';').filter_map(|index| index.parse().ok()) {
            self.strings.palette.remove(&index);
        }
    }
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(TITLE_LIMIT)].to_owned()
}

/// `#rgb` to `#rrrrggggbbbb` and `rgb:r/g/b`, which is what xterm.js understands.
fn is_color(text: &str) -> bool {
    if text.len() > COLOR_LIMIT {
        return false;
    }
    let hex = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lower = text.to_ascii_lowercase();
    if let Some(digits) = lower.strip_prefix('#') {
        return hex(digits) && matches!(digits.len(), 3 | 6 | 9 | 12);
    }
    let Some(parts) = lower.strip_prefix("rgb:") else {
        return false;
    };
    let parts: Vec<&str> = parts.split('/').collect();
    parts.len() == 3
        && parts
            .iter()
            .all(|part| hex(part) && part.len() == parts[0].len() && part.len() <= 4)
}
