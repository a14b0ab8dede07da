//! One line of cells. Trailing cells that were never written take no memory.

use std::collections::BTreeMap;

use crate::cell::{Attributes, CODEPOINT, COMBINED, Cell, Extended, HAS_CONTENT, WIDTH_SHIFT, bg};

/// xterm.js lets a cell collect combining characters without end; this many bytes are more than any script needs.
const COMBINED_LIMIT: usize = 128;

#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Shorter than `length` when the rest are [`Cell::NULL`].
    cells: Vec<Cell>,
    /// Columns there is room for; more than the screen has when an alternate screen became narrower.
    length: usize,
    /// The text of the line above continues here.
    pub wrapped: bool,
    extras: Option<Box<Extras>>,
}

#[derive(Clone, Debug, Default)]
struct Extras {
    combined: BTreeMap<usize, String>,
    extended: BTreeMap<usize, Extended>,
}

impl Extras {
    /// Renames columns; those for which `to` answers nothing are dropped.
    fn rekey(&mut self, to: impl Fn(usize) -> Option<usize>) {
        let combined = std::mem::take(&mut self.combined);
        self.combined = combined
            .into_iter()
            .filter_map(|(x, text)| Some((to(x)?, text)))
            .collect();
        let extended = std::mem::take(&mut self.extended);
        self.extended = extended
            .into_iter()
            .filter_map(|(x, value)| Some((to(x)?, value)))
            .collect();
    }
}

impl Line {
    pub fn blank(length: usize, fill: &Attributes, wrapped: bool) -> Line {
        let mut line = Line {
            cells: Vec::new(),
            length,
            wrapped,
            extras: None,
        };
        if fill.bg != 0 || fill.fg != 0 {
            line.replace(0, length, fill, false);
        }
        line
    }

    /// Makes this line blank again and keeps its allocation.
    pub fn reuse(mut self, length: usize, fill: &Attributes, wrapped: bool) -> Line {
        self.cells.clear();
        self.extras = None;
        self.length = length;
        self.wrapped = wrapped;
        if fill.bg != 0 || fill.fg != 0 {
            self.replace(0, length, fill, false);
        }
        self
    }

    /// The cell at `x`; beyond the line a cell without content and without width.
    pub fn cell(&self, x: usize) -> Cell {
        match self.cells.get(x) {
            Some(cell) => *cell,
            None if x < self.length => Cell::NULL,
            None => Cell {
                content: 0,
                fg: 0,
                bg: 0,
            },
        }
    }

    pub fn width(&self, x: usize) -> u32 {
        self.cell(x).width()
    }

    pub fn has_content(&self, x: usize) -> bool {
        self.cell(x).has_content()
    }

    pub fn extended(&self, x: usize) -> Extended {
        let found = self
            .extras
            .as_ref()
            .and_then(|extras| extras.extended.get(&x));
        found.cloned().unwrap_or_default()
    }

    pub fn attributes(&self, x: usize) -> Attributes {
        let cell = self.cell(x);
        let extended = if cell.bg & bg::HAS_EXTENDED != 0 {
            self.extended(x)
        } else {
            Extended::default()
        };
        Attributes {
            fg: cell.fg,
            bg: cell.bg,
            extended,
        }
    }

    /// Appends the cell's text, nothing for a null cell.
    pub fn push_text(&self, x: usize, out: &mut String) {
        let cell = self.cell(x);
        if cell.content & COMBINED != 0 {
            if let Some(text) = self
                .extras
                .as_ref()
                .and_then(|extras| extras.combined.get(&x))
            {
                out.push_str(text);
            }
        } else if let Some(character) =
            char::from_u32(cell.content & CODEPOINT).filter(|c| *c != '\0')
        {
            out.push(character);
        }
    }

    fn materialise(&mut self) {
        if self.cells.len() < self.length {
            self.cells.resize(self.length, Cell::NULL);
        }
    }

    pub fn set(&mut self, x: usize, code: u32, width: u32, attributes: &Attributes) {
        if x >= self.length {
            return;
        }
        if x >= self.cells.len() {
            self.cells.resize(x + 1, Cell::NULL);
        }
        self.cells[x] = Cell::new(code, width, attributes);
        if attributes.has_extended() {
            self.extras
                .get_or_insert_default()
                .extended
                .insert(x, attributes.extended.clone());
        } else if let Some(extras) = &mut self.extras {
            extras.extended.remove(&x);
        }
        if let Some(extras) = &mut self.extras {
            extras.combined.remove(&x);
        }
    }

    /// Writes characters one column wide that fit the line, with attributes that need no extras.
    pub fn write(&mut self, x: usize, codes: &[u32], attributes: &Attributes) {
        let end = (x + codes.len()).min(self.length);
        if self.cells.len() < end {
            self.cells.resize(end, Cell::NULL);
        }
        for (cell, &code) in self.cells[x..end].iter_mut().zip(codes) {
            *cell = Cell::new(code, 1, attributes);
        }
        if let Some(extras) = &mut self.extras {
            extras.rekey(|column| Some(column).filter(|column| !(x..end).contains(column)));
        }
    }

    /// Joins a zero-width character to the cell's text.
    pub fn join(&mut self, x: usize, code: u32, width: u32) {
        if x >= self.length {
            return;
        }
        if x >= self.cells.len() {
            self.cells.resize(x + 1, Cell::NULL);
        }
        let mut content = self.cells[x].content;
        if content & HAS_CONTENT == 0 {
            content = code | (1 << WIDTH_SHIFT);
        } else if let Some(added) = char::from_u32(code) {
            let mut text = String::new();
            if content & COMBINED == 0 {
                self.push_text(x, &mut text);
                content = (content & !CODEPOINT) | COMBINED;
            }
            let kept = self
                .extras
                .get_or_insert_default()
                .combined
                .entry(x)
                .or_insert(text);
            if kept.len() < COMBINED_LIMIT {
                kept.push(added);
            }
        }
        if width != 0 {
            content = (content & HAS_CONTENT) | (width << WIDTH_SHIFT);
        }
        self.cells[x].content = content;
    }

    pub fn insert(&mut self, at: usize, count: usize, fill: &Attributes) {
        let at = at % self.length;
        self.materialise();
        if at > 0 && self.width(at - 1) == 2 {
            self.set(at - 1, 0, 1, fill);
        }
        let count = count.min(self.length - at);
        let length = self.length;
        self.cells.copy_within(at..length - count, at + count);
        if let Some(extras) = &mut self.extras {
            extras.rekey(|x| {
                if x < at {
                    Some(x)
                } else {
                    Some(x + count).filter(|x| *x < length)
                }
            });
        }
        for x in at..at + count {
            self.set(x, 0, 1, fill);
        }
        if self.width(length - 1) == 2 {
            self.set(length - 1, 0, 1, fill);
        }
    }

    pub fn delete(&mut self, at: usize, count: usize, fill: &Attributes) {
        let at = at % self.length;
        self.materialise();
        let count = count.min(self.length - at);
        let length = self.length;
        self.cells.copy_within(at + count..length, at);
        if let Some(extras) = &mut self.extras {
            extras.rekey(|x| match x {
                _ if x < at => Some(x),
                _ if x < at + count => None,
                _ => Some(x - count),
            });
        }
        for x in length - count..length {
            self.set(x, 0, 1, fill);
        }
        if at > 0 && self.width(at - 1) == 2 {
            self.set(at - 1, 0, 1, fill);
        }
        if self.width(at) == 0 && !self.has_content(at) {
            self.set(at, 0, 1, fill);
        }
    }

    fn is_protected(&self, x: usize) -> bool {
        self.cell(x).bg & bg::PROTECTED != 0
    }

    /// Erases `start..end`, and the other half of a wide character cut at either edge.
    pub fn replace(
        &mut self,
        start: usize,
        end: usize,
        fill: &Attributes,
        respect_protected: bool,
    ) {
        if start > 0
            && self.width(start - 1) == 2
            && !(respect_protected && self.is_protected(start - 1))
        {
            self.set(start - 1, 0, 1, fill);
        }
        if end > 0
            && end < self.length
            && self.width(end - 1) == 2
            && !(respect_protected && self.is_protected(end))
        {
            self.set(end, 0, 1, fill);
        }
        for x in start..end.min(self.length) {
            if !(respect_protected && self.is_protected(x)) {
                self.set(x, 0, 1, fill);
            }
        }
        self.drop_null_tail();
    }

    pub fn fill(&mut self, code: u32, fill: &Attributes, respect_protected: bool) {
        for x in 0..self.length {
            if !(respect_protected && self.is_protected(x)) {
                self.set(x, code, 1, fill);
            }
        }
        self.drop_null_tail();
    }

    fn drop_null_tail(&mut self) {
        while self.cells.last() == Some(&Cell::NULL) {
            self.cells.pop();
        }
    }

    /// Gives back memory; for lines that leave the screen and seldom change again.
    pub fn compact(&mut self) {
        self.drop_null_tail();
        self.cells.shrink_to_fit();
    }

    /// Cuts or widens with null cells.
    pub fn resize(&mut self, length: usize) {
        self.length = length;
        self.cells.truncate(length);
        if let Some(extras) = &mut self.extras {
            extras.rekey(|x| Some(x).filter(|x| *x < length));
        }
    }

    /// Columns up to and including the last one with text.
    pub fn trimmed_length(&self) -> usize {
        let last = self.cells.iter().rposition(|cell| cell.has_content());
        last.map_or(0, |x| x + self.cells[x].width() as usize)
    }

    /// A copy of `count` cells from `start`, to be put elsewhere with [`Line::paste`].
    pub fn copy(&self, start: usize, count: usize) -> Vec<(Cell, String, Extended)> {
        let copied = (start..start + count).map(|x| {
            let mut text = String::new();
            if self.cell(x).content & COMBINED != 0 {
                self.push_text(x, &mut text);
            }
            (self.cell(x), text, self.extended(x))
        });
        copied.collect()
    }

    pub fn paste(&mut self, start: usize, copied: Vec<(Cell, String, Extended)>) {
        for (x, (cell, text, extended)) in (start..).zip(copied) {
            if x >= self.length {
                return;
            }
            if x >= self.cells.len() {
                self.cells.resize(x + 1, Cell::NULL);
            }
            let attributes = Attributes {
                fg: cell.fg,
                bg: cell.bg,
                extended,
            };
            self.set(x, 0, 0, &attributes);
            self.cells[x].content = cell.content;
            if cell.content & COMBINED != 0 {
                self.extras.get_or_insert_default().combined.insert(x, text);
            }
        }
    }
}
