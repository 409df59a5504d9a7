//! How many of a session's reports, and of its log batches, may be without an answer, over all attempts.
//!
//! A heartbeat goes the way of everything else, and a scheduler that holds as much of a host as it may reads no further until
//! some of it is stored. So less is sent: behind it a heartbeat would come late, and a host that is heard too late must
//! end runs that are well.
//!
//! Invariants: room is given back with the answer, or with the attempt's task; who waits for room has none to spare.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reports sent and not answered. A scheduler takes in 256 before it stops reading.
const REPORTS_MAX: usize = 128;
/// Log batches sent and not acknowledged. A scheduler takes in 64 before it stops reading.
const LOG_BATCHES_MAX: usize = 48;

/// A session's two. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    pub(super) reports: Window,
    pub(super) log_batches: Window,
}

impl Windows {
    /// Empty ones.
    pub(super) fn new() -> Self {
        Self {
            reports: Window::of(REPORTS_MAX),
            log_batches: Window::of(LOG_BATCHES_MAX),
        }
    }
}

/// Room for so many of a kind. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Window(Arc<Semaphore>);

impl Window {
    fn of(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max)))
    }

    /// What an attempt takes of it.
    pub(super) fn share(&self) -> Share {
        Share {
            window: Arc::clone(&self.0),
            free: None,
            used: VecDeque::new(),
        }
    }
}

/// An attempt's part of it.
#[derive(Debug)]
pub(super) struct Share {
    window: Arc<Semaphore>,
    /// Room for one that is sent at once.
    free: Option<OwnedSemaphorePermit>,
    /// Those without an answer, in order: a report by its step, a batch by its last line.
    used: VecDeque<(u64, OwnedSemaphorePermit)>,
}

impl Share {
    /// Whether there is room for one now; it is kept for it.
    pub(super) fn has_room(&mut self) -> bool {
        if self.free.is_none() {
            self.free = Arc::clone(&self.window).try_acquire_owned().ok();
        }
        self.free.is_some()
    }

    /// Waits for room. May be dropped at any time.
    pub(super) async fn room(&mut self) {
        if self.free.is_none() {
            self.free = Arc::clone(&self.window).acquire_owned().await.ok();
        }
    }

    /// The room goes to this one.
    pub(super) fn sent(&mut self, number: u64) {
        self.used
            .extend(self.free.take().map(|room| (number, room)));
    }

    /// None is due: others may have the room.
    pub(super) fn spare(&mut self) {
        self.free = None;
    }

    /// All up to this one are answered.
    pub(super) fn answered(&mut self, number: u64) {
        while self.used.front().is_some_and(|(sent, _)| *sent <= number) {
            self.used.pop_front();
        }
    }

    /// All of them are, one way or another.
    pub(super) fn all_answered(&mut self) {
        self.used.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(window: &Window) -> Share {
        let mut share = window.share();
        for step in (1..).take(REPORTS_MAX) {
            assert!(share.has_room());
            share.sent(step);
        }
        share
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_waits_for_an_answer_to_somebody() {
        let window = Windows::new().reports;
        let mut busy = full(&window);
        let mut other = window.share();
        assert!(!busy.has_room() && !other.has_room());
        let long = std::time::Duration::from_secs(60);
        assert!(tokio::time::timeout(long, other.room()).await.is_err());
        busy.answered(2);
        other.room().await;
        assert!(busy.has_room());
        assert!(!window.share().has_room());
    }

    #[test]
    fn what_is_not_used_and_what_is_over_makes_room() {
        let window = Windows::new().reports;
        let mut busy = full(&window);
        busy.answered(1);
        let mut other = window.share();
        assert!(other.has_room());
        assert!(!busy.has_room());
        other.spare();
        assert!(busy.has_room());
        busy.spare();
        busy.all_answered();
        drop(full(&window));
        drop(full(&window));
    }
}
