//! Which automatic points are kept: all of the last hours, then one for each hour, then one for each day.

use fleet_api::points::{Point, PointKind};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// All that are younger are kept.
const ALL_MS: u64 = 2 * HOUR_MS;
/// One for each hour.
const HOURLY_MS: u64 = DAY_MS;
/// One for each day.
const DAILY_MS: u64 = 14 * DAY_MS;
/// What a step back left behind.
const BRANCH_MS: u64 = 30 * DAY_MS;

/// Numbers of the points that go at `now_ms`. What somebody asked for stays until somebody gives it up.
pub fn expired(points: &[Point], now_ms: u64) -> Vec<u64> {
    let mut oldest_first: Vec<&Point> = points.iter().collect();
    oldest_first.sort_by_key(|point| point.taken_ms);
    let mut last = None;
    let goes = |point: &&Point| {
        let age = now_ms.saturating_sub(point.taken_ms);
        match point.kind {
            PointKind::Manual => false,
            PointKind::Branch => age > BRANCH_MS,
            PointKind::Automatic if age <= ALL_MS => false,
            PointKind::Automatic if age > DAILY_MS => true,
            PointKind::Automatic => {
                let span = if age <= HOURLY_MS { HOUR_MS } else { DAY_MS };
                // The oldest of each hour stays until the day's oldest is another: it is always the same one.
                let slot = Some((span, point.taken_ms / span));
                std::mem::replace(&mut last, slot) == slot
            }
        }
    };
    let going = oldest_first.into_iter().filter(goes);
    going.map(|point| point.number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(number: u64, kind: PointKind, taken_ms: u64) -> Point {
        Point {
            number,
            name: String::new(),
            kind,
            taken_ms,
            size: 0,
            stored: 0,
            alone: 0,
            follows: None,
        }
    }

    /// A month of points every quarter of an hour, with the rule applied after each as a host does.
    #[test]
    fn a_month_of_points_leaves_few_and_no_large_gaps() {
        let quarter = HOUR_MS / 4;
        let mut kept: Vec<Point> = Vec::new();
        let end = 30 * DAY_MS;
        for number in 0..end / quarter {
            let now = number * quarter;
            kept.push(point(number, PointKind::Automatic, now));
            let gone = expired(&kept, now);
            kept.retain(|point| !gone.contains(&point.number));
        }
        assert!((30..60).contains(&kept.len()), "{}", kept.len());
        let ages: Vec<u64> = kept.iter().map(|point| end - point.taken_ms).collect();
        for pair in ages.windows(2) {
            let gap = pair[0] - pair[1];
            let most = match pair[1] {
                age if age <= ALL_MS => HOUR_MS,
                age if age < HOURLY_MS => 2 * HOUR_MS,
                _ => 2 * DAY_MS,
            };
            assert!(gap <= most, "a gap of {gap} ms at the age of {}", pair[1]);
        }
        assert!(ages[0] > 13 * DAY_MS);
    }

    #[test]
    fn what_somebody_asked_for_stays() {
        let points = [
            point(1, PointKind::Manual, 0),
            point(2, PointKind::Branch, 0),
            point(3, PointKind::Automatic, 0),
        ];
        assert_eq!(expired(&points, 10 * DAY_MS), [0; 0]);
        assert_eq!(expired(&points, 400 * DAY_MS), [2, 3]);
    }
}
