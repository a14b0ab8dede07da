//! The rate of this host's time stamp counter.

use std::time::{Duration, Instant};

use crate::sys;

/// Longer than what a reading may be off by, a million times: enough for a few parts in a million.
const MEASURED_OVER: Duration = Duration::from_millis(100);

/// kHz of the time stamp counter, which a guest under emulation counts by. Blocks for a tenth of a second
/// unless the host tells.
pub fn tsc_khz() -> u64 {
    told().unwrap_or_else(measured)
}

/// Some kernels tell; see the `tsc_freq_khz` module.
fn told() -> Option<u64> {
    std::fs::read_to_string("/sys/devices/system/cpu/cpu0/tsc_freq_khz")
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn measured() -> u64 {
    let (start, started) = sys::time_stamp();
    std::thread::sleep(MEASURED_OVER.saturating_sub(started.elapsed()));
    let (end, ended) = sys::time_stamp();
    rate(end.wrapping_sub(start), started, ended)
}

fn rate(counted: u64, started: Instant, ended: Instant) -> u64 {
    let nanoseconds = (ended - started).as_nanos().max(1);
    u64::try_from(u128::from(counted) * 1_000_000 / nanoseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree_to_a_few_parts_in_ten_thousand() {
        let (one, other) = (measured(), measured());
        assert!(one > 100_000, "{one} kHz");
        assert!(one.abs_diff(other) * 2_000 < one, "{one} and {other} kHz");
    }

    #[test]
    fn a_rate_is_counts_per_millisecond() {
        let started = Instant::now();
        assert_eq!(
            rate(230_000_000, started, started + Duration::from_millis(100)),
            2_300_000
        );
    }
}
