//! Since when there is no scheduler, and what must end for it.
//!
//! ```text
//!  hello, heartbeat ── sent at t ──► scheduler stores it ── answers ──► Contact = t ──► link-contact.json
//!                                                                          │ so long ago    while a run needs it
//!                                                                          ▼
//!                                              runs with on_lost = requeue: fenced.json, then the kill
//! ```
//!
//! The clock is CLOCK_BOOTTIME: it goes on while the host sleeps. Only what the scheduler has **stored** counts, and from
//! when it was **sent**: whoever gives the host's runs away counts from then or later, however long an answer took, whatever
//! stands between, and whether the connection still seems open. After a restart of the executor the time goes on from what
//! the one before it wrote down, or from the run's acceptance: a session there was then.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use davit_rundir::Stamp;
use davit_types::RunKey;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::runs::{Runs, offload, sentence};

/// How often silence is looked at, and presence written down, milliseconds.
const LOOK_PERIOD_MS: u64 = 500;
/// Heartbeats that wait for their answer; of more the oldest are forgotten.
const UNANSWERED_MAX: usize = 64;
/// The file, in the state directory.
const CONTACT_FILE: &str = "link-contact.json";
const NS_PER_MS: u64 = 1_000_000;

/// The last time the scheduler was there, as far as this host can prove: nanoseconds of CLOCK_BOOTTIME; 0: not in this boot,
/// as far as is known. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Contact(Arc<AtomicU64>);

impl Contact {
    /// It has stored what was sent then.
    fn proven(&self, sent_ns: u64) {
        self.0.fetch_max(sent_ns, Ordering::Relaxed);
    }

    /// The last time it was there.
    fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a session sent and hears the answers of.
#[derive(Debug)]
pub(super) struct Heartbeats {
    contact: Contact,
    /// Before the hello was sent.
    began_ns: u64,
    sent: Mutex<Sent>,
}

#[derive(Debug, Default)]
struct Sent {
    /// Of the latest heartbeat.
    number: u64,
    /// Those without an answer: number, and when it was made.
    unanswered: VecDeque<(u64, u64)>,
}

impl Heartbeats {
    /// For a session whose hello is sent from now on.
    pub(super) fn new(contact: Contact) -> Self {
        Self {
            contact,
            began_ns: Stamp::now().boot_ns,
            sent: Mutex::default(),
        }
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hello was stored.
    pub(super) fn welcomed(&self) {
        self.contact.proven(self.began_ns);
    }

    /// The number of a heartbeat that is sent from now on.
    pub(super) fn next(&self) -> u64 {
        let mut sent = self.sent();
        sent.number += 1;
        let number = sent.number;
        if sent.unanswered.len() == UNANSWERED_MAX {
            sent.unanswered.pop_front();
        }
        sent.unanswered.push_back((number, Stamp::now().boot_ns));
        number
    }

    /// This one was stored, and whatever came before it.
    pub(super) fn answered(&self, number: u64) {
        let mut sent = self.sent();
        while let Some((its, sent_ns)) = sent.unanswered.front().copied()
            && its <= number
        {
            sent.unanswered.pop_front();
            if its == number {
                self.contact.proven(sent_ns);
            }
        }
    }
}

/// What is written down. Not durable: a power cut that loses it ends the boot it is about.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    boot_id: String,
    boot_ns: u64,
}

/// How long a run has been without a scheduler at `now_ns`, if that is too long, milliseconds.
fn overdue_ms(stop_after_ms: u64, accepted_ns: u64, contact_ns: u64, now_ns: u64) -> Option<u64> {
    let silent_ms = now_ns.saturating_sub(accepted_ns.max(contact_ns)) / NS_PER_MS;
    (silent_ms >= stop_after_ms).then_some(silent_ms)
}

/// Ends, for ever, what must not go on without a scheduler.
pub(super) async fn keep(runs: Runs, contact: Contact) {
    let path = runs.host().settings.state_dir.join(CONTACT_FILE);
    let boot_id = runs.host().boot_id.clone();
    let (at, boot) = (path.clone(), boot_id.clone());
    let before_ns = offload(move || read(&at, &boot)).await;
    contact.proven(before_ns);
    let mut fences: HashMap<RunKey, JoinHandle<()>> = HashMap::new();
    let mut period = tokio::time::interval(Duration::from_millis(LOOK_PERIOD_MS));
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        fences.retain(|_, fence| !fence.is_finished());
        let bound = bound(&runs);
        if bound.is_empty() {
            continue;
        }
        let now_ns = Stamp::now().boot_ns;
        let boot_ns = contact.last();
        for (key, stop_after_ms, accepted_ns) in bound {
            let overdue_ms = overdue_ms(stop_after_ms, accepted_ns, boot_ns, now_ns);
            if let Some(silent_ms) = overdue_ms.filter(|_| !fences.contains_key(&key)) {
                fences.insert(key, tokio::spawn(fence(runs.clone(), key, silent_ms)));
            }
        }
        let (at, boot_id) = (path.clone(), boot_id.clone());
        offload(move || write(&at, &Record { boot_id, boot_ns })).await;
    }
}

/// The live runs that end without a scheduler: so much later, accepted then.
fn bound(runs: &Runs) -> Vec<(RunKey, u64, u64)> {
    let live = runs.unsettled_live().into_iter();
    live.filter_map(|(key, handle)| {
        let view = handle.view();
        let stop_after_ms = view.spec.scheduled.as_ref()?.stop_after_ms?;
        (!view.is_over()).then_some((key, stop_after_ms, view.spec.accepted.boot_ns))
    })
    .collect()
}

async fn fence(runs: Runs, key: RunKey, silent_ms: u64) {
    if let Err(error) = runs.fence(key, silent_ms).await {
        // It is tried again at the next look.
        tracing::error!(%key, problem = sentence(&error), "cannot end a run that has no scheduler");
    }
}

fn read(path: &Path, boot_id: &str) -> u64 {
    let bytes = std::fs::read(path).unwrap_or_default();
    let record: Option<Record> = serde_json::from_slice(&bytes).ok();
    record
        .filter(|record| record.boot_id == boot_id)
        .map_or(0, |record| record.boot_ns)
}

fn write(path: &Path, record: &Record) {
    let temporary: PathBuf = path.with_extension("json.tmp");
    let written = serde_json::to_vec(record)
        .map_err(std::io::Error::other)
        .and_then(|bytes| std::fs::write(&temporary, bytes))
        .and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        // Without it a restart counts from the run's acceptance: it ends sooner, never later.
        tracing::warn!(%error, path = %path.display(), "cannot write down when the scheduler was there");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn silence_counts_from_the_last_contact_or_the_acceptance() {
        let overdue = |accepted, contact, now| {
            overdue_ms(
                30_000,
                accepted * SECOND_NS,
                contact * SECOND_NS,
                now * SECOND_NS,
            )
        };
        assert_eq!(overdue(100, 0, 129), None);
        assert_eq!(overdue(100, 0, 130), Some(30_000));
        assert_eq!(overdue(100, 120, 149), None);
        assert_eq!(overdue(100, 120, 150), Some(30_000));
        assert_eq!(overdue(120, 100, 149), None);
    }

    #[test]
    fn only_what_was_answered_is_proof_and_from_when_it_was_sent() {
        let contact = Contact::default();
        let before_ns = Stamp::now().boot_ns;
        let heartbeats = Heartbeats::new(contact.clone());
        assert_eq!(contact.last(), 0, "a hello that is not answered");
        heartbeats.welcomed();
        let welcomed = contact.last();
        assert!(welcomed >= before_ns && welcomed <= Stamp::now().boot_ns);
        let (first, second, third) = (heartbeats.next(), heartbeats.next(), heartbeats.next());
        assert_eq!((first, second, third), (1, 2, 3));
        let all_sent_ns = Stamp::now().boot_ns;
        assert_eq!(contact.last(), welcomed, "sent, not answered");
        for never_sent in [0, 9] {
            Heartbeats::new(contact.clone()).answered(never_sent);
            assert_eq!(contact.last(), welcomed);
        }
        // An answer for the second one proves nothing of the third.
        heartbeats.answered(second);
        let proven = contact.last();
        assert!(proven > welcomed && proven < all_sent_ns);
        // An earlier answer that comes late takes nothing back.
        heartbeats.answered(first);
        assert_eq!(contact.last(), proven);
        heartbeats.answered(third);
        assert!(contact.last() > proven && contact.last() <= all_sent_ns);
    }

    #[test]
    fn heartbeats_without_answers_are_bounded() {
        let heartbeats = Heartbeats::new(Contact::default());
        let first = heartbeats.next();
        for _ in 0..UNANSWERED_MAX {
            heartbeats.next();
        }
        assert_eq!(heartbeats.sent().unanswered.len(), UNANSWERED_MAX);
        heartbeats.answered(first);
        assert_eq!(heartbeats.contact.last(), 0, "it was forgotten");
    }

    #[test]
    fn what_was_written_down_counts_in_its_own_boot_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CONTACT_FILE);
        assert_eq!(read(&path, "here"), 0);
        let record = Record {
            boot_id: "here".into(),
            boot_ns: 77,
        };
        write(&path, &record);
        assert_eq!(read(&path, "here"), 77);
        assert_eq!(read(&path, "elsewhere"), 0);
        std::fs::write(&path, "{\"boot_id\":").unwrap();
        assert_eq!(read(&path, "here"), 0);
    }
}
