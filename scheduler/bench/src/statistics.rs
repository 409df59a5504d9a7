//! Percentiles and rates.

use serde::{Deserialize, Serialize};

/// Of times in nanoseconds, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Spread {
    pub(crate) fn of(times_ns: &[u64]) -> Self {
        let mut sorted = times_ns.to_vec();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
            sorted.get(place).map_or(0.0, |ns| *ns as f64 / 1e6)
        };
        Self {
            count: sorted.len(),
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

/// How fast things happened one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pace {
    pub(crate) count: usize,
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
    /// Of the first tenth, a second.
    pub(crate) first_tenth: f64,
    /// Of the last tenth, a second.
    pub(crate) last_tenth: f64,
}

impl Pace {
    pub(crate) fn of(instants_ns: &[u64]) -> Self {
        let mut sorted = instants_ns.to_vec();
        sorted.sort_unstable();
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let tenth = (sorted.len() / 10).max(1);
        Self {
            count: sorted.len(),
            first_ns: *first,
            last_ns: *last,
            first_tenth: rate(&sorted[..tenth]),
            last_tenth: rate(&sorted[sorted.len() - tenth..]),
        }
    }

    /// A second, counted from an instant.
    pub(crate) fn since(&self, begin_ns: u64) -> f64 {
        per_second(self.count, self.last_ns.saturating_sub(begin_ns))
    }
}

fn rate(sorted: &[u64]) -> f64 {
    match (sorted.first(), sorted.last()) {
        (Some(first), Some(last)) => per_second(sorted.len(), last - first),
        _ => 0.0,
    }
}

fn per_second(count: usize, ns: u64) -> f64 {
    if ns == 0 {
        return 0.0;
    }
    count as f64 * 1e9 / ns as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_seen() {
        let times: Vec<u64> = (1..=100).rev().map(|ms| ms * 1_000_000).collect();
        let spread = Spread::of(&times);
        assert_eq!(
            (spread.p50_ms, spread.p99_ms, spread.max_ms),
            (50.0, 99.0, 100.0)
        );
        assert_eq!(Spread::of(&[]).p99_ms, 0.0);
    }

    #[test]
    fn a_pace_tells_a_slow_end() {
        // A hundred in the first second, a hundred more in ten.
        let fast = (0..100).map(|n| n * 10_000_000);
        let slow = (0..100).map(|n| 1_000_000_000 + n * 100_000_000);
        let pace = Pace::of(&fast.chain(slow).collect::<Vec<u64>>());
        assert!(pace.first_tenth > 5.0 * pace.last_tenth, "{pace:?}");
        assert!((pace.since(0) - 200.0 / 10.9).abs() < 0.1, "{pace:?}");
    }
}
