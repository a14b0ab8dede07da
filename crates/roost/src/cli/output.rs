//! How commands print: for people, or as JSON.

use serde::Serialize;

use crate::print;

#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// One document for programs, or what `people` makes of it.
    pub fn print<T: Serialize>(
        self,
        value: &T,
        people: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            print::line(serde_json::to_string_pretty(value)?)
        } else {
            print::line(people(value))
        }
    }

    /// A remark that programs do not want.
    pub fn say(self, text: &str) {
        if !self.json {
            print::remark(text);
        }
    }
}

/// Columns padded to their widest cell, two spaces apart.
pub fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            lines
                .iter()
                .filter_map(|line| line.get(at))
                .map(|cell| cell.chars().count())
                .max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let rows = lines.iter().map(|line| {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// Bytes in the unit that fits.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 10.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let lines = [
            vec!["NAME".into(), "STATE".into()],
            vec!["a-long-one".into(), "running".into()],
        ];
        assert_eq!(table(&lines), "NAME        STATE\na-long-one  running");
    }
}
