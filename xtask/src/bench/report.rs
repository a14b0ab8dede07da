//! Rows of a benchmark: medians and percentiles beside a floor or peer measured in the same run.

use std::fmt::Write;

use serde::Serialize;

/// Samples of one quantity.
#[derive(Clone, Debug, Default)]
pub struct Samples(pub Vec<f64>);

impl Samples {
    /// The value below which `share` (0–1) of the samples lie; nearest rank.
    pub fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    pub fn median(&self) -> f64 {
        self.percentile(0.5)
    }
}

/// What a row promises.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// Median over the floor's median.
    RatioAtMost(f64),
    /// Median, in the row's unit.
    MedianAtMost(f64),
    /// 99th percentile, in the row's unit.
    P99AtMost(f64),
    /// Shown, not promised.
    None,
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub runs: usize,
    pub median: f64,
    pub p99: f64,
    pub unit: &'static str,
    /// What it is compared with, and that one's median.
    pub floor: Option<(String, f64)>,
    pub ratio: Option<f64>,
    pub bar: Option<String>,
    pub met: Option<bool>,
}

impl Row {
    pub fn new(name: impl Into<String>, unit: &'static str, samples: &Samples, bar: Bar) -> Self {
        Self::compared(name, unit, samples, None, bar)
    }

    /// A row beside a floor or a peer of the same run.
    pub fn compared(
        name: impl Into<String>,
        unit: &'static str,
        samples: &Samples,
        floor: Option<(&str, &Samples)>,
        bar: Bar,
    ) -> Self {
        let (median, p99) = (samples.median(), samples.percentile(0.99));
        let floor = floor.map(|(name, samples)| (name.to_owned(), samples.median()));
        let ratio = floor.as_ref().map(|(_, floor)| median / floor);
        let (bar, met) = match bar {
            Bar::None => (None, None),
            Bar::RatioAtMost(most) => (
                Some(format!("ratio ≤ {most}")),
                Some(ratio.is_some_and(|ratio| ratio <= most)),
            ),
            Bar::MedianAtMost(most) => (Some(format!("median ≤ {most}")), Some(median <= most)),
            Bar::P99AtMost(most) => (Some(format!("p99 ≤ {most}")), Some(p99 <= most)),
        };
        Self { name: name.into(), runs: samples.0.len(), median, p99, unit, floor, ratio, bar, met }
    }
}

/// On what it ran, and the rows.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub benchmark: String,
    pub accelerator: String,
    pub cores: usize,
    /// One-minute load average before the run: above half a core, absolute figures do not count.
    pub load_before: f64,
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether every promise is kept.
    pub fn met(&self) -> bool {
        self.rows.iter().all(|row| row.met != Some(false))
    }

    pub fn table(&self) -> String {
        let mut text = format!(
            "{}: accelerator {}, {} cores, load before {:.2}{}\n",
            self.benchmark,
            self.accelerator,
            self.cores,
            self.load_before,
            if self.load_before > 0.5 { " (not idle: absolute figures do not count)" } else { "" },
        );
        let head = ["name", "runs", "median", "p99", "unit", "floor or peer", "its median", "ratio", "bar", "met"];
        let mut lines = vec![head.map(String::from)];
        for row in &self.rows {
            let (floor, floor_median) = row
                .floor
                .clone()
                .map_or(("–".into(), "–".into()), |(name, median)| (name, number(median)));
            lines.push([
                row.name.clone(),
                row.runs.to_string(),
                number(row.median),
                number(row.p99),
                row.unit.into(),
                floor,
                floor_median,
                row.ratio.map_or("–".into(), |ratio| format!("{ratio:.2}")),
                row.bar.clone().unwrap_or("–".into()),
                row.met.map_or("–", |met| if met { "yes" } else { "NO" }).into(),
            ]);
        }
        let widths: Vec<usize> = (0..head.len())
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        for line in lines {
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(text, "{cell:width$}  ");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        big if big >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let samples = Samples((1..=100).rev().map(f64::from).collect());
        assert_eq!(samples.median(), 50.0);
        assert_eq!(samples.percentile(0.99), 99.0);
        assert_eq!(Samples(vec![7.0]).percentile(0.99), 7.0);
    }

    #[test]
    fn a_ratio_over_its_bar_is_not_met() {
        let (ours, floor) = (Samples(vec![2.0]), Samples(vec![1.0]));
        let row = Row::compared("start", "ms", &ours, Some(("bare", &floor)), Bar::RatioAtMost(1.3));
        assert_eq!((row.ratio, row.met), (Some(2.0), Some(false)));
        let row = Row::compared("start", "ms", &ours, None, Bar::RatioAtMost(1.3));
        assert_eq!(row.met, Some(false), "a ratio without a floor is not met");
    }
}
