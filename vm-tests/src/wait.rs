//! Bounded, level-triggered waiting: the only way a test waits.
//!
//! Absent on purpose: sleeping for a guess. A wait that fails tells what was last seen.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

const FIRST_PAUSE_MS: u64 = 5;
const PAUSE_MS_MAX: u64 = 200;

/// Asks `probe` until it says `Ok`; its `Err` is the status so far, told when `limit` runs out.
///
/// ```ignore
/// let code = wait_for("the run ends", Duration::from_secs(30), || {
///     host.davit(["get", "run-1"])?.success()?.exit_code_field()
/// })?;
/// ```
pub(crate) fn wait_for<T, E: Display>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, E>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(FIRST_PAUSE_MS);
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(status) if Instant::now() >= deadline => {
                bail!("waited {limit:?} for: {what}; last seen: {status:#}")
            }
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(PAUSE_MS_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_first_value_and_otherwise_the_last_status() {
        let mut calls = 0;
        let value = wait_for("three calls", Duration::from_secs(5), || {
            calls += 1;
            if calls == 3 {
                Ok(calls)
            } else {
                Err("not yet")
            }
        });
        assert_eq!(value.unwrap(), 3);

        let failed = wait_for("never", Duration::from_millis(1), || {
            Err::<(), _>("state was 7")
        });
        let message = failed.unwrap_err().to_string();
        assert!(
            message.contains("never") && message.contains("state was 7"),
            "{message}"
        );
    }
}
