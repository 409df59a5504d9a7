//! Giving memory back when nothing is going on: a shim waits for days and works for milliseconds.
//!
//! Half a second after the last request the heap is trimmed and the pages of the program itself are let go: they
//! stay in the kernel's page cache, and what is needed again is mapped again. One shot after activity, no
//! polling; a job that merely logs does not trigger it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::sys;

/// Quiet time before memory is given back.
const QUIET_MS: u64 = 500;

/// Program pages are to be let go before the next sleep.
static RELEASE_DUE: AtomicBool = AtomicBool::new(false);

/// Called by the event loop when it is about to sleep: the later the pages go, the fewer come back at once (the
/// kernel maps sixteen around each one that is touched).
pub(crate) fn before_sleep() {
    if RELEASE_DUE.swap(false, Ordering::Relaxed) {
        sys::release_program_pages();
    }
}

/// Handle to say that something was done.
#[derive(Clone)]
pub(crate) struct Idle(Arc<Notify>);

impl Idle {
    /// Starts the task that tidies up.
    pub(crate) fn start() -> Self {
        let activity = Arc::new(Notify::new());
        let seen = activity.clone();
        tokio::spawn(async move {
            loop {
                seen.notified().await;
                tokio::time::sleep(Duration::from_millis(QUIET_MS)).await;
                sys::trim_heap();
                RELEASE_DUE.store(true, Ordering::Relaxed);
            }
        });
        Self(activity)
    }

    /// Something was done.
    pub(crate) fn touch(&self) {
        self.0.notify_one();
    }
}
