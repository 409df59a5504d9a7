//! Median and 95th percentile of a set of measurements.

/// Order statistics of one measured quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// How many measurements.
    pub(crate) n: usize,
    /// The middle one; the mean of the middle two when `n` is even.
    pub(crate) median: f64,
    /// The smallest that at least 95 % do not exceed (nearest rank: always a measured value).
    pub(crate) p95: f64,
}

impl Summary {
    /// `None` when nothing was measured.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let upper = *sorted.get(n / 2)?;
        let median = if n % 2 == 1 {
            upper
        } else {
            f64::midpoint(sorted[n / 2 - 1], upper)
        };
        // n ≥ 1, so 1 ≤ rank ≤ n.
        let rank = (n * 95).div_ceil(100);
        Some(Self {
            n,
            median,
            p95: sorted[rank - 1],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_nothing_there_is_no_summary() {
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn one_value_is_median_and_percentile() {
        assert_eq!(
            Summary::of(&[7.0]),
            Some(Summary {
                n: 1,
                median: 7.0,
                p95: 7.0
            })
        );
    }

    #[test]
    fn order_does_not_matter_and_ranks_are_exact() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(
            Summary::of(&values),
            Some(Summary {
                n: 100,
                median: 50.5,
                p95: 95.0
            })
        );
        assert_eq!(
            Summary::of(&values[..20]),
            Some(Summary {
                n: 20,
                median: 90.5,
                p95: 99.0
            })
        );
    }
}
