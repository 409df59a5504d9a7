//! The one clock of all measurements: CLOCK_BOOTTIME, which a container shares with its host.

use std::time::Duration;

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};

const NS_PER_SECOND: u64 = 1_000_000_000;

/// An instant, nanoseconds since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant {
    boot_ns: u64,
}

impl Instant {
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let part = |value: i64| u64::try_from(value).unwrap_or(0);
        Self {
            boot_ns: part(time.tv_sec) * NS_PER_SECOND + part(time.tv_nsec),
        }
    }

    /// The instant that the payload printed; it must print nothing else.
    pub(crate) fn printed(output: &[u8]) -> anyhow::Result<Self> {
        let text = String::from_utf8_lossy(output);
        let boot_ns = text
            .trim_end()
            .parse()
            .with_context(|| format!("the payload's output is no time stamp: {text:?}"))?;
        Ok(Self { boot_ns })
    }

    /// Milliseconds from `earlier` to here.
    ///
    /// # Errors
    /// When it lies before `earlier`: then the two are not of one launch.
    pub(crate) fn milliseconds_since(self, earlier: Self) -> anyhow::Result<f64> {
        Ok(self.since(earlier)?.as_secs_f64() * 1e3)
    }

    /// The time from `earlier` to here.
    ///
    /// # Errors
    /// When it lies before `earlier`: then the two are not of one launch.
    pub(crate) fn since(self, earlier: Self) -> anyhow::Result<Duration> {
        let ns = self.boot_ns.checked_sub(earlier.boot_ns);
        ns.map(Duration::from_nanos).with_context(|| {
            format!(
                "time runs backwards: {} ns after {} ns",
                self.boot_ns, earlier.boot_ns
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_digits_and_a_newline() {
        let stamp = Instant::printed(b"1500000\n").unwrap();
        assert_eq!(
            stamp.milliseconds_since(Instant { boot_ns: 0 }).unwrap(),
            1.5
        );
        assert!(Instant::printed(b"error: no such image\n").is_err());
        assert!(Instant::printed(b"").is_err());
    }

    #[test]
    fn a_stamp_from_before_the_launch_is_refused() {
        let earlier = Instant { boot_ns: 5 };
        assert!(Instant { boot_ns: 4 }.milliseconds_since(earlier).is_err());
    }
}
