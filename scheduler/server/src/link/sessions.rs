//! The hosts that are connected to this replica: one entry a host, the latest session wins.
//!
//! ```text
//!  dispatch ── send(host, epoch, …) ──► Peer ──► bounded queue ──► the host's stream
//!  a later hello ──► enter ──► the earlier Peer is closed
//! ```
//!
//! Invariants: no lock is held across an await; sending never waits: a host that does not read its queue in time is cut
//! off, and learns on its next hello what it missed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use davit_rpc::link as proto;
use davit_types::RunKey;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::error::LinkError;
use crate::dispatch::retries::RetryRules;
use crate::starts::Awaited;
use crate::store::Sender;

/// Hosts connected to one replica.
pub(super) const SESSIONS_MAX: usize = 20_000;
/// Messages that wait for one host to read them.
pub(super) const OUTGOING_MESSAGES_MAX: usize = 4_096;
/// How long a host is asked to wait before it dials again, milliseconds.
pub(super) const DIAL_AFTER_MS: u32 = 500;

/// What goes to a host. Boxed: a channel has room for 32 messages in advance, and most hosts are idle.
pub(super) type Outgoing = Box<proto::SchedulerMessage>;

/// One session as others see it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Peer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    from: Sender,
    outgoing: mpsc::Sender<Outgoing>,
    /// Why it is over, once it is. Not a watch channel: each of those has room for many who wait.
    closed: OnceLock<String>,
    ends: Notify,
    /// Its live attempts.
    given: Mutex<BTreeMap<RunKey, Given>>,
    /// Its latest heartbeat, until it is stored.
    beat: Mutex<Option<Heartbeat>>,
}

/// A heartbeat as it is kept until it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heartbeat {
    /// What it is answered by.
    pub(super) number: u64,
    /// As it is stored.
    pub(super) body: String,
}

/// What is remembered of a host's attempt.
#[derive(Debug)]
struct Given {
    /// An end is judged by it.
    retry_rules: RetryRules,
    /// A start is measured from it.
    awaited: Awaited,
}

impl Peer {
    /// A session, and its end of the queue.
    pub(super) fn new(from: Sender) -> (Self, mpsc::Receiver<Outgoing>) {
        let (outgoing, queue) = mpsc::channel(OUTGOING_MESSAGES_MAX);
        let inner = Inner {
            from,
            outgoing,
            closed: OnceLock::new(),
            ends: Notify::new(),
            given: Mutex::default(),
            beat: Mutex::default(),
        };
        (Self(Arc::new(inner)), queue)
    }

    /// Who it speaks for, in which epoch.
    pub(crate) fn from(&self) -> Sender {
        self.0.from
    }

    /// Queues a message. Where there is no room the session is over.
    pub(crate) fn send(&self, message: proto::scheduler_message::Message) -> bool {
        let message = proto::SchedulerMessage {
            message: Some(message),
        };
        let sent = self.0.outgoing.try_send(Box::new(message));
        if let Err(mpsc::error::TrySendError::Full(_)) = &sent {
            self.close("it does not read what it is sent");
        }
        sent.is_ok()
    }

    /// Ends the session; the first reason counts.
    pub(crate) fn close(&self, reason: &str) {
        self.0.closed.get_or_init(|| reason.to_owned());
        self.0.ends.notify_waiters();
    }

    /// Waits for the session's end; why it ends.
    pub(crate) async fn closed(&self) -> String {
        loop {
            // Before it is looked at: whoever closes the session between the two is heard.
            let ends = self.0.ends.notified();
            if let Some(reason) = self.0.closed.get() {
                return reason.clone();
            }
            ends.await;
        }
    }

    /// The last words, if there is room for them.
    pub(super) fn goodbye(&self, reason: &str) {
        let goodbye = proto::Goodbye {
            reason: reason.to_owned(),
            dial_after_ms: DIAL_AFTER_MS,
        };
        let message = proto::scheduler_message::Message::Goodbye(goodbye);
        let message = proto::SchedulerMessage {
            message: Some(message),
        };
        if self.0.outgoing.try_send(Box::new(message)).is_err() {
            tracing::debug!(host = %self.0.from.host, "no room for a goodbye");
        }
    }

    /// Remembers how an attempt's end is to be judged, and since when its start is awaited.
    pub(crate) fn give(&self, key: RunKey, retry_rules: RetryRules, awaited: Awaited) {
        let given = Given {
            retry_rules,
            awaited,
        };
        held(&self.0.given).insert(key, given);
    }

    /// How an attempt's end is to be judged.
    pub(super) fn retry_rules(&self, key: RunKey) -> Option<RetryRules> {
        let given = held(&self.0.given);
        given.get(&key).map(|given| given.retry_rules.clone())
    }

    /// Since when an attempt's start is awaited.
    pub(super) fn awaited(&self, key: RunKey) -> Option<Awaited> {
        let given = held(&self.0.given);
        given.get(&key).map(|given| given.awaited.clone())
    }

    /// The attempt is over.
    pub(super) fn forget(&self, key: RunKey) {
        held(&self.0.given).remove(&key);
    }

    /// Keeps a heartbeat for the next time they are stored.
    pub(super) fn heard(&self, heartbeat: Heartbeat) {
        *held(&self.0.beat) = Some(heartbeat);
    }

    /// Keeps a heartbeat that was not stored, unless a later one came.
    pub(super) fn keep(&self, heartbeat: Heartbeat) {
        held(&self.0.beat).get_or_insert(heartbeat);
    }

    fn take_beat(&self) -> Option<Heartbeat> {
        held(&self.0.beat).take()
    }
}

/// All sessions of a replica. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Mutex<HashMap<Uuid, Peer>>>);

impl Sessions {
    /// No sessions yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many hosts are connected.
    #[must_use]
    pub fn count(&self) -> usize {
        held(&self.0).len()
    }

    /// Adds a session; an earlier one of the host is closed, and so is this one if it is not the latest.
    pub(super) fn enter(&self, peer: &Peer) -> Result<(), LinkError> {
        let from = peer.from();
        let mut all = held(&self.0);
        let earlier = match all.get(&from.host) {
            Some(known) if known.from().epoch > from.epoch => {
                peer.close("a later session began");
                return Ok(());
            }
            None if all.len() >= SESSIONS_MAX => {
                let hosts_max = SESSIONS_MAX;
                return Err(LinkError::Full { hosts_max });
            }
            _ => all.insert(from.host, peer.clone()),
        };
        drop(all);
        if let Some(earlier) = earlier {
            earlier.close("a later session began");
        }
        Ok(())
    }

    /// Removes a session, unless a later one took its place; whether it was there.
    pub(super) fn leave(&self, from: Sender) -> bool {
        let mut all = held(&self.0);
        let is_it = all
            .get(&from.host)
            .is_some_and(|peer| peer.from().epoch == from.epoch);
        if is_it {
            all.remove(&from.host);
        }
        is_it
    }

    /// A host's session.
    pub(crate) fn of(&self, host: Uuid) -> Option<Peer> {
        held(&self.0).get(&host).cloned()
    }

    /// A host's session, if it is in this epoch.
    pub(crate) fn at(&self, to: Sender) -> Option<Peer> {
        self.of(to.host)
            .filter(|peer| peer.from().epoch == to.epoch)
    }

    /// Ends all of them.
    pub fn close_all(&self, reason: &str) {
        let all: Vec<Peer> = held(&self.0).values().cloned().collect();
        for peer in all {
            peer.close(reason);
        }
    }

    /// Heartbeats that came since they were stored last, and whose they are.
    pub(super) fn take_beats(&self) -> Vec<(Peer, Heartbeat)> {
        let all = held(&self.0);
        let beats = all.values();
        beats
            .filter_map(|peer| Some((peer.clone(), peer.take_beat()?)))
            .collect()
    }
}

/// A lock whose holder panicked guards nothing half-written here: every change is one call.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn peer(host: u128, epoch: u64) -> (Peer, mpsc::Receiver<Outgoing>) {
        Peer::new(Sender {
            host: Uuid::from_u128(host),
            epoch,
        })
    }

    #[test]
    fn the_latest_session_counts_in_whatever_order_they_enter() {
        for epochs in [[1, 2], [2, 1]] {
            let sessions = Sessions::new();
            let peers = epochs.map(|epoch| peer(7, epoch));
            for (peer, _) in &peers {
                assert!(sessions.enter(peer).is_ok());
            }
            let left = sessions.of(Uuid::from_u128(7)).expect("one is there");
            assert_eq!(left.from().epoch, 2, "{epochs:?}");
            for (peer, _) in &peers {
                let over = peer.closed().now_or_never().is_some();
                assert_eq!(over, peer.from().epoch == 1, "{epochs:?}");
            }
            let first = Sender {
                host: Uuid::from_u128(7),
                epoch: 1,
            };
            assert!(!sessions.leave(first) && sessions.at(first).is_none());
            assert!(sessions.leave(left.from()) && sessions.count() == 0);
        }
    }

    #[test]
    fn a_host_that_does_not_read_is_cut_off() {
        let (peer, _queue) = peer(1, 1);
        let message = || proto::scheduler_message::Message::Goodbye(proto::Goodbye::default());
        for _ in 0..OUTGOING_MESSAGES_MAX {
            assert!(peer.send(message()));
        }
        assert!(peer.closed().now_or_never().is_none());
        assert!(!peer.send(message()));
        let reason = peer.closed().now_or_never().expect("it is closed");
        assert!(reason.contains("read"), "{reason}");
    }

    #[tokio::test]
    async fn whoever_waits_for_the_end_hears_of_it_and_the_first_reason() {
        let (peer, _queue) = peer(1, 1);
        let waiting = tokio::spawn({
            let peer = peer.clone();
            async move { peer.closed().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        peer.close("first");
        peer.close("second");
        assert_eq!(waiting.await.expect("it waits to the end"), "first");
        assert_eq!(peer.closed().await, "first");
    }

    #[test]
    fn a_heartbeat_is_stored_once() {
        let sessions = Sessions::new();
        let (peer, _queue) = peer(1, 3);
        assert!(sessions.enter(&peer).is_ok());
        let beat = |number| Heartbeat {
            number,
            body: format!("heartbeat {number}"),
        };
        peer.heard(beat(1));
        peer.heard(beat(2));
        let taken = || {
            let beats = sessions.take_beats().into_iter();
            beats.map(|(_, beat)| beat).collect::<Vec<_>>()
        };
        assert_eq!(taken(), [beat(2)]);
        assert_eq!(taken(), []);
        // One that was not stored is tried again, but not in place of a later one.
        peer.keep(beat(2));
        assert_eq!(taken(), [beat(2)]);
        peer.heard(beat(3));
        peer.keep(beat(2));
        assert_eq!(taken(), [beat(3)]);
    }
}
