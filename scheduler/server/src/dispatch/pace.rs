//! How often the store's queue is looked at: less often the longer a look takes.
//!
//! A look costs what lies in front of the queue's first run. In PostgreSQL that can be every run that was ever claimed since
//! an old transaction began, for its dead rows cannot be cleaned up: looks at each hint would leave the database no time for
//! anything else. So looks have a share of the time, and claims get larger instead.
//!
//! Invariants: one slow look changes little, for it may be a disk's pause; the pause has an end.

use std::time::Duration;

/// A look that takes no longer may be followed by the next at once.
const FREE_MS: u64 = 25;
/// What a look takes beyond [`FREE_MS`] is paused so many times.
const PAUSES: u32 = 3;
/// The longest pause.
const PAUSE_MS_MAX: u64 = 1_000;
/// So many looks make what is usual.
const LOOKS: u32 = 8;

/// What looks usually take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    usual: Duration,
}

impl Pace {
    /// A look that left nothing to claim took so long; how long the queue is left alone now.
    pub(super) fn looked(&mut self, took: Duration) -> Duration {
        self.usual = (self.usual * (LOOKS - 1) + took) / LOOKS;
        let beyond = self.usual.saturating_sub(Duration::from_millis(FREE_MS));
        (beyond * PAUSES).min(Duration::from_millis(PAUSE_MS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn looks_that_are_slow_again_and_again_are_made_less_often() {
        let mut pace = Pace::default();
        for _ in 0..50 {
            assert_eq!(pace.looked(ms(20)), Duration::ZERO);
        }
        assert_eq!(pace.looked(ms(60)), Duration::ZERO, "a disk's pause");
        let slow = (0..50).map(|_| pace.looked(ms(125))).last();
        let slow = slow.expect("a pause");
        assert!(slow > ms(290) && slow <= ms(300), "{slow:?}");
        let slowest = (0..50).map(|_| pace.looked(ms(30_000))).last();
        assert_eq!(slowest, Some(ms(PAUSE_MS_MAX)));
        let quick = (0..200).map(|_| pace.looked(ms(1))).last();
        assert_eq!(quick, Some(Duration::ZERO));
    }
}
