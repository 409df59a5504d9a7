//! Being told by the kernel that memory runs short (PSI, Documentation/accounting/psi.rst).
//!
//! ```text
//!  /proc/pressure/memory: somebody waits ──► /proc/meminfo: little is available ──► told
//!                                                    └─ enough is: a run at its own limit, nobody else's matter
//! ```
//!
//! The kernel tells of a wait wherever it was, also of one within a run's own limit. A job that
//! thrashes there must not cost others their slots, hence the second question. It is also asked because
//! Linux 6.18 was seen to tell of waits, again and again, while the total of waits stood still.
//!
//! A thread of its own waits for it, and ends with the process: tokio has no safe way to wait for the
//! exceptional condition that a trigger reports. It sleeps in poll(2) without a timeout.
//!
//! Absent on purpose: a limit that an operator sets on a cgroup above the runs. Only the host's memory counts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::Notify;

/// Where the kernel tells of it.
const MEMORY: &str = "/proc/pressure/memory";
/// The thread that waits to be told.
const THREAD: &str = "memory-pressure";
/// Where it tells how much there is.
const MEMINFO: &str = "/proc/meminfo";
/// The time in which waiting is added up, milliseconds. Those without privileges may have multiples of this one.
const WINDOW_MS: u64 = 2_000;
/// Memory runs short when less of it is available, percent.
const AVAILABLE_PERCENT_MIN: u64 = 10;

/// Told each time memory runs short and some task has waited for it for `stall_ms` of [`WINDOW_MS`]; never if that is
/// 0, or where the kernel does not tell.
pub(super) fn watch(stall_ms: u64) -> Arc<Notify> {
    let told = Arc::new(Notify::new());
    if stall_ms == 0 {
        return told;
    }
    let tell = Arc::clone(&told);
    let watching = open(stall_ms).and_then(|trigger| {
        let thread = std::thread::Builder::new().name(THREAD.to_owned());
        thread.spawn(move || wait(&trigger, &tell))
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

fn wait(trigger: &File, tell: &Notify) {
    loop {
        let mut polled = [PollFd::new(trigger, PollFlags::PRI)];
        match poll(&mut polled, None) {
            Ok(_) if polled[0].revents() == PollFlags::PRI => {
                if fs::read_to_string(MEMINFO).map_or(true, |text| is_short(&text)) {
                    tell.notify_one();
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            // The trigger is no more.
            _ => return,
        }
    }
}

/// Whether little is available; what cannot be understood counts as little.
fn is_short(meminfo: &str) -> bool {
    let kib = |key: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    match (kib("MemAvailable:"), kib("MemTotal:")) {
        (Some(available), Some(total)) => available < total / 100 * AVAILABLE_PERCENT_MIN,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_short_below_a_tenth() {
        let with = |available: &str| {
            format!("MemTotal:        1000000 kB\nMemFree:  1 kB\nMemAvailable: {available} kB\n")
        };
        assert!(is_short(&with("99999")));
        assert!(!is_short(&with("100000")));
        assert!(is_short(&with("much")));
        assert!(is_short(""));
    }

    #[test]
    fn nobody_waits_where_no_stall_matters() {
        // Whoever waits for the kernel holds what it will tell.
        assert_eq!(Arc::strong_count(&watch(0)), 1);
        let told = open(150).is_ok();
        assert_eq!(
            Arc::strong_count(&watch(150)),
            1 + usize::from(told),
            "one, if the kernel tells"
        );
    }
}
