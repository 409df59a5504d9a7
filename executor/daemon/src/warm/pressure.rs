//! Being told by the kernel that memory runs short (PSI, Documentation/accounting/psi.rst).
//!
//! ```text
//!  poll(2), no timeout ── trigger ──► look at the total ── half a second ──► look again ── it grew as fast ──► told
//! ```
//!
//! A thread of its own waits for it, and ends with the process: tokio has no safe way to wait for the
//! exceptional condition that a trigger reports.
//!
//! A trigger alone is not believed: Linux 6.18 was seen to fire it within a second of its making and every few
//! seconds from then on, with not a microsecond added to the total. And what is over is no reason to give slots up.

use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::Notify;

/// Where the kernel tells of it.
const MEMORY: &str = "/proc/pressure/memory";
/// The time in which waiting is added up, milliseconds. Those without privileges may have multiples of this one.
const WINDOW_MS: u64 = 2_000;
/// How long it is watched after a trigger, milliseconds.
const LOOK_MS: u64 = 500;

/// Told each time tasks have waited for memory for `stall_ms` of [`WINDOW_MS`] and go on like that; never if that is 0,
/// or where the kernel does not tell.
pub(super) fn watch(stall_ms: u64) -> Arc<Notify> {
    let told = Arc::new(Notify::new());
    if stall_ms == 0 {
        return told;
    }
    let tell = Arc::clone(&told);
    let watching = open(stall_ms).and_then(|trigger| {
        let thread = std::thread::Builder::new().name("memory-pressure".to_owned());
        thread.spawn(move || wait(&trigger, stall_ms, &tell))
    });
    if let Err(error) = watching {
        tracing::debug!(%error, "the kernel does not tell when memory runs short");
    }
    told
}

fn open(stall_ms: u64) -> io::Result<File> {
    let mut trigger = File::options().read(true).write(true).open(MEMORY)?;
    // In microseconds; the kernel takes the last byte for the end.
    let words = format!("some {} {}\0", stall_ms * 1_000, WINDOW_MS * 1_000);
    trigger.write_all(words.as_bytes())?;
    Ok(trigger)
}

fn wait(trigger: &File, stall_ms: u64, tell: &Notify) {
    loop {
        let mut polled = [PollFd::new(trigger, PollFlags::PRI)];
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(_) if polled[0].revents() == PollFlags::PRI => {}
            // The trigger is no more.
            _ => return,
        }
        match goes_on(stall_ms) {
            Ok(true) => tell.notify_one(),
            Ok(false) => {
                tracing::debug!("the kernel told of memory running short, and it does not")
            }
            Err(error) => return tracing::warn!(%error, "cannot read {MEMORY}"),
        }
    }
}

/// Whether tasks wait for memory at that rate now.
fn goes_on(stall_ms: u64) -> io::Result<bool> {
    let (begun, before_us) = (Instant::now(), stalled_us()?);
    std::thread::sleep(Duration::from_millis(LOOK_MS));
    let grown_us = stalled_us()?.saturating_sub(before_us);
    Ok(is_short(grown_us, begun.elapsed(), stall_ms))
}

fn is_short(grown_us: u64, elapsed: Duration, stall_ms: u64) -> bool {
    let elapsed_us = elapsed.as_micros();
    u128::from(grown_us) * u128::from(WINDOW_MS) >= elapsed_us * u128::from(stall_ms)
}

fn stalled_us() -> io::Result<u64> {
    let text = fs::read_to_string(MEMORY)?;
    let malformed = || io::Error::other(format!("no total of `some` in {text:?}"));
    total_of_some(&text).ok_or_else(malformed)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, microseconds.
fn total_of_some(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.rsplit_once("total=")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_some_is_read() {
        let text = "some avg10=0.12 avg60=0.10 avg300=0.06 total=9403423\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=1164976\n";
        assert_eq!(total_of_some(text), Some(9_403_423));
        assert_eq!(total_of_some("full avg10=0.00 total=7\n"), None);
    }

    #[test]
    fn memory_is_short_at_the_rate_that_was_set_and_above() {
        let half_a_second = Duration::from_millis(500);
        for (grown_us, short) in [(0, false), (37_499, false), (37_500, true), (500_000, true)] {
            assert_eq!(is_short(grown_us, half_a_second, 150), short, "{grown_us}");
        }
        // A late look has seen more.
        assert!(!is_short(37_500, Duration::from_secs(1), 150));
    }
}
