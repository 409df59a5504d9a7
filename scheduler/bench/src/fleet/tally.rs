//! What all hosts have seen so far.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::now_ns;
use crate::statistics::{Pace, Spread};

/// Numbers since the beginning.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Runs that a host began.
    pub(crate) placed: usize,
    /// Begun more often than once, on whatever host.
    pub(crate) doubled: usize,
    /// Ends that were acknowledged.
    pub(crate) ended: usize,
    /// Reports that were refused, and attempts that were to be forgotten.
    pub(crate) refused: usize,
    /// Runs that came without the secret they should have.
    pub(crate) unproven: usize,
    /// Hosts in session now.
    pub(crate) sessions: usize,
    /// Lines that were acknowledged.
    pub(crate) lines: u64,
}

/// Times since they were cleared.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) placed: Pace,
    pub(crate) ended: Pace,
    /// Sessions that began.
    pub(crate) sessions: Pace,
    /// Of lines, by batch.
    pub(crate) lines: Pace,
    /// Submit to begin.
    pub(crate) latency: Spread,
    /// When each host first began a run: by its name.
    pub(crate) first_placed_ns: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Inner {
    known: HashSet<u128>,
    counts: Counts,
    placed_ns: Vec<u64>,
    ended_ns: Vec<u64>,
    sessions_ns: Vec<u64>,
    lines_ns: Vec<u64>,
    latencies_ns: Vec<u64>,
    first_placed_ns: BTreeMap<String, u64>,
}

#[derive(Default)]
pub(super) struct Tally {
    inner: Mutex<Inner>,
    sessions: watch::Sender<usize>,
}

impl Tally {
    fn held(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host begins a run that was submitted then, if it says when.
    pub(super) fn begun(&self, host: &str, run: u128, submitted_ns: Option<u64>) {
        let now_ns = now_ns();
        let mut inner = self.held();
        if !inner.known.insert(run) {
            inner.counts.doubled += 1;
            return;
        }
        inner.counts.placed += 1;
        inner.placed_ns.push(now_ns);
        if let Some(then_ns) = submitted_ns {
            inner.latencies_ns.push(now_ns.saturating_sub(then_ns));
        }
        if !inner.first_placed_ns.contains_key(host) {
            inner.first_placed_ns.insert(host.to_owned(), now_ns);
        }
    }

    pub(super) fn ended(&self) {
        let now_ns = now_ns();
        let mut inner = self.held();
        inner.counts.ended += 1;
        inner.ended_ns.push(now_ns);
    }

    pub(super) fn unproven(&self) {
        self.held().counts.unproven += 1;
    }

    pub(super) fn refused(&self) {
        self.held().counts.refused += 1;
    }

    pub(super) fn stored_lines(&self, count: u64) {
        let mut inner = self.held();
        inner.counts.lines += count;
        inner.lines_ns.push(now_ns());
    }

    pub(super) fn session_began(&self) {
        let mut inner = self.held();
        inner.counts.sessions += 1;
        inner.sessions_ns.push(now_ns());
        self.sessions.send_replace(inner.counts.sessions);
    }

    pub(super) fn session_ended(&self) {
        let mut inner = self.held();
        inner.counts.sessions -= 1;
        self.sessions.send_replace(inner.counts.sessions);
    }

    /// Waits until so many hosts are in session.
    pub(super) async fn in_session(&self, hosts: usize) {
        let mut sessions = self.sessions.subscribe();
        // The sender is ours: it lives as long as we do.
        drop(sessions.wait_for(|count| *count >= hosts).await);
    }

    pub(super) fn counts(&self) -> Counts {
        self.held().counts
    }

    pub(super) fn seen(&self) -> Seen {
        let inner = self.held();
        Seen {
            placed: Pace::of(&inner.placed_ns),
            ended: Pace::of(&inner.ended_ns),
            sessions: Pace::of(&inner.sessions_ns),
            lines: Pace::of(&inner.lines_ns),
            latency: Spread::of(&inner.latencies_ns),
            first_placed_ns: inner.first_placed_ns.clone(),
        }
    }

    /// Forgets times; runs stay known.
    pub(super) fn clear(&self) {
        let mut inner = self.held();
        inner.placed_ns.clear();
        inner.ended_ns.clear();
        inner.sessions_ns.clear();
        inner.lines_ns.clear();
        inner.latencies_ns.clear();
        inner.first_placed_ns.clear();
    }
}
