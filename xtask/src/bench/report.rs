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
    /// Median over the floor's median. Counts on every machine.
    RatioAtMost(f64),
    /// The same for what is better when it is more.
    RatioAtLeast(f64),
    /// Median, in the row's unit. Counts on a machine that was idle before.
    MedianAtMost(f64),
    /// 99th percentile, in the row's unit. Counts on a machine that was idle before.
    P99AtMost(f64),
    /// Shown, not promised.
    None,
}

/// What a row is compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    pub name: String,
    pub median: f64,
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub runs: usize,
    pub median: f64,
    pub p99: f64,
    pub unit: &'static str,
    pub floor: Option<Floor>,
    pub ratio: Option<f64>,
    pub bar: Option<String>,
    pub met: Option<bool>,
    /// The bar is a figure of its own, which says nothing on a busy machine.
    pub absolute: bool,
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
        let floor = floor.map(|(name, samples)| Floor {
            name: name.into(),
            median: samples.median(),
        });
        let ratio = floor.as_ref().map(|floor| median / floor.median);
        let (bar, met, absolute) = match bar {
            Bar::None => (None, None, false),
            Bar::RatioAtMost(most) => {
                let met = ratio.is_some_and(|ratio| ratio <= most);
                (Some(format!("ratio ≤ {most}")), Some(met), false)
            }
            Bar::RatioAtLeast(least) => {
                let met = ratio.is_some_and(|ratio| ratio >= least);
                (Some(format!("ratio ≥ {least}")), Some(met), false)
            }
            Bar::MedianAtMost(most) => {
                (Some(format!("median ≤ {most}")), Some(median <= most), true)
            }
            Bar::P99AtMost(most) => (Some(format!("p99 ≤ {most}")), Some(p99 <= most), true),
        };
        Self {
            name: name.into(),
            runs: samples.0.len(),
            median,
            p99,
            unit,
            floor,
            ratio,
            bar,
            met,
            absolute,
        }
    }
}

/// On what it ran, and the rows.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub benchmark: String,
    pub accelerator: String,
    pub cores: usize,
    /// One-minute load average before the run.
    pub load_before: f64,
    /// Share of all cores that was in use just before the run, 0–1.
    pub busy_before: f64,
    /// If not, absolute figures do not count.
    pub idle_before: bool,
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether every promise that counts on this machine is kept.
    pub fn met(&self) -> bool {
        self.rows
            .iter()
            .filter(|row| self.idle_before || !row.absolute)
            .all(|row| row.met != Some(false))
    }

    pub fn table(&self) -> String {
        let mut text = format!(
            "{}: accelerator {}, {} cores, load before {:.2}, busy before {:.0} %: {}\n",
            self.benchmark,
            self.accelerator,
            self.cores,
            self.load_before,
            self.busy_before * 100.0,
            if self.idle_before {
                "idle, all bars count"
            } else {
                "not idle, only ratios count"
            },
        );
        let head = [
            "name",
            "runs",
            "median",
            "p99",
            "unit",
            "floor or peer",
            "its median",
            "ratio",
            "bar",
            "met",
        ];
        let mut lines = vec![head.map(String::from)];
        lines.extend(self.rows.iter().map(cells));
        let widths: Vec<usize> = (0..head.len())
            .map(|column| {
                let widths = lines.iter().map(|line| line[column].chars().count());
                widths.max().unwrap_or(0)
            })
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

fn cells(row: &Row) -> [String; 10] {
    let dash = || "–".to_owned();
    [
        row.name.clone(),
        row.runs.to_string(),
        number(row.median),
        number(row.p99),
        row.unit.into(),
        row.floor
            .as_ref()
            .map_or_else(dash, |floor| floor.name.clone()),
        row.floor
            .as_ref()
            .map_or_else(dash, |floor| number(floor.median)),
        row.ratio.map_or_else(dash, |ratio| format!("{ratio:.2}")),
        row.bar.clone().unwrap_or_else(dash),
        row.met
            .map_or_else(dash, |met| if met { "yes" } else { "NO" }.to_owned()),
    ]
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

    fn report(idle_before: bool, row: Row) -> Report {
        Report {
            benchmark: "x".into(),
            accelerator: "tcg".into(),
            cores: 2,
            load_before: 0.0,
            busy_before: 0.0,
            idle_before,
            rows: vec![row],
        }
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let samples = Samples((1..=100).rev().map(f64::from).collect());
        assert_eq!(samples.median(), 50.0);
        assert_eq!(samples.percentile(0.99), 99.0);
        assert_eq!(Samples(vec![7.0]).percentile(0.99), 7.0);
    }

    #[test]
    fn a_ratio_counts_everywhere_and_a_figure_on_an_idle_machine() {
        let (ours, floor) = (Samples(vec![2.0]), Samples(vec![1.0]));
        let row = Row::compared(
            "start",
            "ms",
            &ours,
            Some(("bare", &floor)),
            Bar::RatioAtMost(1.3),
        );
        assert_eq!((row.ratio, row.met), (Some(2.0), Some(false)));
        assert!(!report(false, row).met());
        let row = Row::compared("start", "ms", &ours, None, Bar::RatioAtMost(1.3));
        assert_eq!(row.met, Some(false), "a ratio without a floor is not met");
        let row = Row::new("echo", "ms", &ours, Bar::P99AtMost(1.0));
        assert_eq!(row.met, Some(false));
        assert!(report(false, row.clone()).met());
        assert!(!report(true, row).met());
    }
}
