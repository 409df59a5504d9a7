//! Hosts that are not heard of: when to look at their runs, so that a host with nothing to lose is not looked at again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

/// What was found on silent hosts.
#[derive(Debug, Default)]
pub(super) struct Silences(HashMap<Uuid, Silence>);

#[derive(Debug)]
struct Silence {
    heard_ms: u64,
    /// `None`: nothing will become due however long it is silent.
    due: Option<Instant>,
}

impl Silences {
    /// Whether the runs of a host that was heard of then are to be looked at now.
    pub(super) fn is_due(&self, host: Uuid, heard_ms: u64, now: Instant) -> bool {
        match self.0.get(&host) {
            Some(known) if known.heard_ms == heard_ms => known.due.is_some_and(|due| due <= now),
            _ => true,
        }
    }

    /// Remembers when to look again.
    pub(super) fn looked(&mut self, host: Uuid, heard_ms: u64, due: Option<Instant>) {
        self.0.insert(host, Silence { heard_ms, due });
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

    #[test]
    fn a_host_is_looked_at_when_something_is_due_or_it_was_heard_since() {
        let (host, now) = (Uuid::nil(), Instant::now());
        let mut silences = Silences::default();
        assert!(silences.is_due(host, 5, now));
        silences.looked(host, 5, None);
        assert!(!silences.is_due(host, 5, now + Duration::from_secs(9_999)));
        assert!(silences.is_due(host, 6, now), "it was back meanwhile");
        let due = earlier(earlier(None, now, 50), now, 20);
        silences.looked(host, 6, due);
        assert!(!silences.is_due(host, 6, now + Duration::from_millis(19)));
        assert!(silences.is_due(host, 6, now + Duration::from_millis(20)));
        silences.heard(host);
        assert!(silences.is_due(host, 6, now));
    }
}
