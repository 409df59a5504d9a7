//! Being told by the kernel that memory runs short (PSI, Documentation/accounting/psi.rst).
//!
//! A thread of its own waits for it, and ends with the process: tokio has no safe way to wait for the
//! exceptional condition that a trigger reports. It sleeps in poll(2) without a timeout.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::Notify;

/// Where the kernel tells of it.
const MEMORY: &str = "/proc/pressure/memory";
/// The time in which waiting is added up, milliseconds. Those without privileges may have multiples of this one.
const WINDOW_MS: u64 = 2_000;

/// Told each time some task has waited for memory for `stall_ms` of [`WINDOW_MS`]; never if that is 0, or where the
/// kernel does not tell.
pub(super) fn watch(stall_ms: u64) -> Arc<Notify> {
    let told = Arc::new(Notify::new());
    if stall_ms == 0 {
        return told;
    }
    let tell = Arc::clone(&told);
    let watching = open(stall_ms).and_then(|trigger| {
        let thread = std::thread::Builder::new().name("memory-pressure".to_owned());
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
            Ok(_) if polled[0].revents().contains(PollFlags::PRI) => tell.notify_one(),
            Err(rustix::io::Errno::INTR) => {}
            // The trigger is no more.
            _ => return,
        }
    }
}
