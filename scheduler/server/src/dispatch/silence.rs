//! Hosts that are not heard of: for how long, and when to look at their runs, so that a host with nothing to lose is not
//! looked at again.
//!
//! Invariants: silence is counted on this replica's own monotonic clock, from when it first saw that the host was heard of
//! then and not since. Wall clocks may step, here and at the store: that makes no silence longer than it was. A replica
//! that has just begun counts anew.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::store::Session;

/// What was found on silent hosts.
#[derive(Debug, Default)]
pub(super) struct Silences(HashMap<Uuid, Silence>);

/// What the store says of when a host was heard of last: session epoch and stamp. Only ever compared for being the same.
type Heard = (u64, u64);

#[derive(Debug)]
struct Silence {
    heard: Heard,
    since: Instant,
    due: Due,
}

/// When its runs are to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// They have not been yet.
    Now,
    At(Instant),
    /// Nothing will become due however long it is silent.
    Never,
}

impl Silences {
    /// A host is not connected here; how long it has been silent for sure, milliseconds.
    pub(super) fn seen(&mut self, host: Uuid, session: &Session, now: Instant) -> u64 {
        let heard = (session.epoch, session.heard_ms);
        let known = self.0.get(&host).filter(|known| known.heard == heard);
        let since = known.map_or(now, |known| known.since);
        if known.is_none() {
            let due = Due::Now;
            self.0.insert(host, Silence { heard, since, due });
        }
        u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether its runs are to be looked at now.
    pub(super) fn is_due(&self, host: Uuid, now: Instant) -> bool {
        self.0.get(&host).is_some_and(|known| match known.due {
            Due::Now => true,
            Due::At(due) => due <= now,
            Due::Never => false,
        })
    }

    /// Remembers when to look again; `None`: not before it was heard of again.
    pub(super) fn looked(&mut self, host: Uuid, due: Option<Instant>) {
        if let Some(known) = self.0.get_mut(&host) {
            known.due = due.map_or(Due::Never, Due::At);
        }
    }

    /// The host is heard again.
    pub(super) fn heard(&mut self, host: Uuid) {
        self.0.remove(&host);
    }
}

/// The earlier of two times to look again.
pub(super) fn earlier(known: Option<Instant>, now: Instant, after_ms: u64) -> Option<Instant> {
    let due = now.checked_add(Duration::from_millis(after_ms));
    match (known, due) {
        (Some(known), Some(due)) => Some(known.min(due)),
        (known, due) => known.or(due),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(epoch: u64, heard_ms: u64) -> Session {
        Session {
            epoch,
            replica: None,
            boot_id: String::new(),
            heard_ms,
            beat: String::new(),
        }
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_host_is_looked_at_when_something_is_due_or_it_was_heard_since() {
        let (host, now) = (Uuid::nil(), Instant::now());
        let mut silences = Silences::default();
        silences.seen(host, &session(1, 5), now);
        assert!(silences.is_due(host, now));
        silences.looked(host, None);
        assert!(!silences.is_due(host, now + Duration::from_secs(9_999)));
        silences.seen(host, &session(1, 6), now);
        assert!(silences.is_due(host, now), "it was back meanwhile");
        let due = earlier(earlier(None, now, 50), now, 20);
        silences.looked(host, due);
        assert!(!silences.is_due(host, now + ms(19)));
        assert!(silences.is_due(host, now + ms(20)));
        silences.heard(host);
        assert!(!silences.is_due(host, now + ms(20)));
    }

    /// Whatever the stamps of the store say, and to whichever clock they belong.
    #[test]
    fn silence_counts_from_what_was_seen_here() {
        let (host, now) = (Uuid::nil(), Instant::now());
        let mut silences = Silences::default();
        assert_eq!(
            silences.seen(host, &session(1, 5), now),
            0,
            "a day ago, or not"
        );
        assert_eq!(silences.seen(host, &session(1, 5), now + ms(700)), 700);
        // Heard again; then the clock that stamps steps back, and on.
        for (n, heard_ms) in [(1, 6), (2, 3), (3, u64::MAX)] {
            let then = now + ms(1_000 * n);
            assert_eq!(silences.seen(host, &session(1, heard_ms), then), 0);
            assert_eq!(
                silences.seen(host, &session(1, heard_ms), then + ms(10)),
                10
            );
        }
        let later = now + ms(9_000);
        assert_eq!(
            silences.seen(host, &session(2, u64::MAX), later),
            0,
            "a new session"
        );
    }
}
