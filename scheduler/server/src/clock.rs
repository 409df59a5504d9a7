//! The wall clock, for what is stored and shown. Whatever must not step counts on [`std::time::Instant`].

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, Unix milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // Before 1970 it is 1970.
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
