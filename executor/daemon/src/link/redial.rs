//! When to dial again: later each time, up to a bound, and never all hosts at once. Pure.

use std::time::Duration;

/// Longest wait after the first failure, milliseconds.
const FIRST_MS: u64 = 1_000;
/// Longest wait at all, milliseconds.
const LONGEST_MS: u64 = 30_000;

/// The waits of one host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Redial {
    failures: u32,
}

impl Redial {
    /// A session there was: the next failure is the first again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait now: from half of a bound that doubles up to all of it, as `random` says.
    pub(super) fn wait(&mut self, random: u64) -> Duration {
        let bound_ms = FIRST_MS
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        let half_ms = bound_ms / 2;
        Duration::from_millis(half_ms + random % (bound_ms - half_ms + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_from_a_second_to_thirty() {
        let mut redial = Redial::default();
        let longest: Vec<u128> = (0..7)
            .map(|_| {
                let mut same = redial;
                let most = (0..60_000).map(|random| same_wait(redial, random)).max();
                same.wait(0);
                redial = same;
                most.unwrap()
            })
            .collect();
        assert_eq!(
            longest,
            [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
        );
        redial.reset();
        assert!(redial.wait(7).as_millis() <= 1_000);
    }

    fn same_wait(redial: Redial, random: u64) -> u128 {
        let mut redial = redial;
        redial.wait(random).as_millis()
    }

    proptest! {
        #[test]
        fn no_wait_is_short_or_beyond_the_bound(failures in any::<u32>(), random in any::<u64>()) {
            let wait = Redial { failures }.wait(random);
            prop_assert!((500..=30_000).contains(&wait.as_millis()));
        }
    }
}
