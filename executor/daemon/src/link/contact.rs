//! Since when there is no scheduler, and what must end for it.
//!
//! ```text
//!  session ── last word of the scheduler ──► Contact ──► link-contact.json, while a run needs it
//!                                              │ silent for so long
//!                                              ▼
//!                        runs with on_lost = requeue: fenced.json, then the kill
//! ```
//!
//! The clock is CLOCK_BOOTTIME: it goes on while the host sleeps. A connection proves the scheduler's presence only as far
//! as keepalive does, so that much is counted as silence already. After a restart of the executor the time goes on from
//! what the one before it wrote down, or from the run's acceptance: a session there was then.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use davit_rundir::Stamp;
use davit_types::RunKey;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::dial::KEEPALIVE_WINDOW_MS;
use crate::runs::{Runs, offload, sentence};

/// How often silence is looked at, and presence written down, milliseconds.
const LOOK_PERIOD_MS: u64 = 500;
/// The file, in the state directory.
const CONTACT_FILE: &str = "link-contact.json";
const NS_PER_MS: u64 = 1_000_000;

/// The last time the scheduler was there, as far as this host can prove. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Contact(Arc<Mutex<Last>>);

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    connected: bool,
    /// CLOCK_BOOTTIME; 0: not in this boot, as far as is known.
    boot_ns: u64,
}

/// What is written down. Not durable: a power cut that loses it ends the boot it is about.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    boot_id: String,
    boot_ns: u64,
}

impl Contact {
    fn change(&self, change: impl FnOnce(&mut Last)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The scheduler said something.
    pub(super) fn heard(&self) {
        let boot_ns = Stamp::now().boot_ns;
        self.change(|last| {
            *last = Last {
                connected: true,
                boot_ns,
            };
        });
    }

    /// The session is over.
    pub(super) fn lost(&self) {
        let boot_ns = proven(Stamp::now().boot_ns);
        self.change(|last| {
            if last.connected {
                last.boot_ns = last.boot_ns.max(boot_ns);
            }
            last.connected = false;
        });
    }

    /// The last time it was there.
    fn last(&self, now_ns: u64) -> u64 {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.connected {
            last.boot_ns.max(proven(now_ns))
        } else {
            last.boot_ns
        }
    }
}

/// A connection that is open at `now_ns` proves that the other end was there then.
const fn proven(now_ns: u64) -> u64 {
    now_ns.saturating_sub(KEEPALIVE_WINDOW_MS * NS_PER_MS)
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
    contact.change(|last| last.boot_ns = last.boot_ns.max(before_ns));
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
        let boot_ns = contact.last(now_ns);
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
    fn an_open_connection_is_proof_up_to_its_keepalive() {
        let contact = Contact::default();
        let now_ns = Stamp::now().boot_ns;
        assert_eq!(contact.last(now_ns), 0);
        contact.heard();
        let heard = contact.last(now_ns);
        assert!(heard >= now_ns);
        let later = now_ns + 60 * SECOND_NS;
        assert_eq!(contact.last(later), later - KEEPALIVE_WINDOW_MS * NS_PER_MS);
        contact.lost();
        let lost = contact.last(later);
        assert!(lost >= heard && lost < later - SECOND_NS, "{lost} {heard}");
        // Losing what was lost already proves nothing.
        contact.lost();
        assert_eq!(contact.last(later), lost);
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
