//! Waiting a little longer each time, up to a bound.

use std::time::Duration;

/// Delays that double from the first to the longest.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next_ms: u64,
    longest_ms: u64,
}

impl Backoff {
    pub(crate) const fn new(first_ms: u64, longest_ms: u64) -> Self {
        Self {
            next_ms: first_ms,
            longest_ms,
        }
    }

    pub(crate) fn next_delay(&mut self) -> Duration {
        let delay_ms = self.next_ms;
        self.next_ms = (delay_ms * 2).min(self.longest_ms);
        Duration::from_millis(delay_ms)
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_bound() {
        let mut backoff = Backoff::new(50, 300);
        let delays: Vec<_> = (0..5).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [50, 100, 200, 300, 300]);
    }
}
