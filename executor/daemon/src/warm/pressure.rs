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
/// Some task waited for memory for 150 ms within two seconds. The kernel takes the last byte for the end.
const TRIGGER: &str = "some 150000 2000000\0";

/// Told each time memory runs short; never where the kernel does not tell.
pub(super) fn watch() -> Arc<Notify> {
    let told = Arc::new(Notify::new());
    let tell = Arc::clone(&told);
    let watching = open().and_then(|trigger| {
        let thread = std::thread::Builder::new().name("memory-pressure".to_owned());
        thread.spawn(move || wait(&trigger, &tell))
    });
    if let Err(error) = watching {
        tracing::debug!(%error, "the kernel does not tell when memory runs short");
    }
    told
}

fn open() -> io::Result<File> {
    let mut trigger = File::options().read(true).write(true).open(MEMORY)?;
    trigger.write_all(TRIGGER.as_bytes())?;
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
