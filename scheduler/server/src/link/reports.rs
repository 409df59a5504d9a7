//! Hosts' reports on their way into the store: many sessions, few transactions.
//!
//! ```text
//!  sessions ──put──► lane (by run) ──up to a batch──► store.report ──► acknowledged, placed anew, or forgotten
//!                                                           ├────────► dispatch: started, over
//!                                                           └────────► starts: how long they took
//! ```
//!
//! Invariants: reports of an attempt stay in order, because a run's lane is always the same and a lane has one batch under
//! way; nothing is acknowledged that is not committed; a batch that is repeated after a lost answer is a batch of
//! duplicates; one report that the store cannot take does not hold up the others of its batch.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use davit_rpc::link as proto;
use davit_rpc::link::scheduler_message::Message;
use davit_types::RunKey;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::places::{Answer, answer, forget, live};
use super::sessions::Peer;
use super::words::told_key;
use crate::clock::unix_ms;
use crate::dispatch::retries::is_hosts_fault;
use crate::dispatch::told::{Teller, Told};
use crate::starts::{Phases, Starts};
use crate::store::limits::BATCH_ITEMS_MAX;
use crate::store::{ActiveRun, AttemptUpdate, Done, Event, Refusal, Store, StoreError, Verdict};

/// Batches that may be under way at once.
pub(super) const LANES: usize = 4;
/// Reports that wait in a lane; sessions stop reading from their hosts then.
pub(super) const LANE_REPORTS_MAX: usize = 2_048;
/// How long a batch is tried again before its sessions are ended.
pub(super) const STORE_RETRY_MS_MAX: u64 = 30_000;
/// Pause before the second try; it doubles.
const RETRY_PAUSE_MS: u64 = 20;
/// The longest pause.
const RETRY_PAUSE_MS_MAX: u64 = 1_000;

/// What a session is told when the lanes are gone.
const GOING_AWAY: &str = "the scheduler goes away";

/// A report, and whom to answer.
pub(super) struct Reported {
    pub(super) update: AttemptUpdate,
    /// Of a start: how long its parts took.
    pub(super) phases: Phases,
    pub(super) peer: Peer,
    /// One of those that a session may have under way.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// The lanes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reports(Arc<[mpsc::Sender<Reported>]>);

impl Reports {
    pub(super) fn start(
        store: &Arc<dyn Store>,
        teller: &Teller,
        starts: &Starts,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let lanes = (0..LANES).map(|_| {
            let (sender, queue) = mpsc::channel(LANE_REPORTS_MAX);
            let lane = Lane {
                store: Arc::clone(store),
                teller: teller.clone(),
                starts: starts.clone(),
            };
            tasks.spawn(lane.run(queue));
            sender
        });
        Self(lanes.collect())
    }

    /// Puts it into the run's lane, if there is room; else gives it back.
    pub(super) fn try_put(&self, reported: Reported) -> Result<(), Box<Reported>> {
        match self.lane(&reported).try_send(reported) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(reported)) => Err(Box::new(reported)),
            Err(TrySendError::Closed(reported)) => {
                reported.peer.close(GOING_AWAY);
                Ok(())
            }
        }
    }

    /// Waits for room in the run's lane.
    pub(super) async fn put(&self, reported: Reported) {
        let peer = reported.peer.clone();
        if self.lane(&reported).send(reported).await.is_err() {
            peer.close(GOING_AWAY);
        }
    }

    fn lane(&self, reported: &Reported) -> &mpsc::Sender<Reported> {
        let id = reported.update.key.run.as_uuid().as_u128();
        let lane = usize::try_from(id % LANES as u128).unwrap_or(0);
        &self.0[lane]
    }
}

struct Lane {
    store: Arc<dyn Store>,
    teller: Teller,
    starts: Starts,
}

impl Lane {
    async fn run(self, mut queue: mpsc::Receiver<Reported>) {
        let mut batch = Vec::new();
        while queue.recv_many(&mut batch, BATCH_ITEMS_MAX).await > 0 {
            self.settle(std::mem::take(&mut batch)).await;
        }
    }

    async fn settle(&self, batch: Vec<Reported>) {
        match self.store_all(&batch).await {
            Ok(verdicts) => self.answer_all(&batch, verdicts).await,
            Err(error) if error.is_retriable() => close_all(&batch, &error),
            Err(error) if batch.len() == 1 => close_all(&batch, &error),
            Err(_) => {
                for one in batch {
                    let one = [one];
                    match self.store_all(&one).await {
                        Ok(verdicts) => self.answer_all(&one, verdicts).await,
                        Err(error) => close_all(&one, &error),
                    }
                }
            }
        }
    }

    async fn store_all(&self, batch: &[Reported]) -> Result<Vec<Verdict>, StoreError> {
        let give_up = Instant::now() + Duration::from_millis(STORE_RETRY_MS_MAX);
        let mut pause_ms = RETRY_PAUSE_MS;
        loop {
            let updates = batch.iter().map(|one| one.update.clone()).collect();
            match self.store.report(updates).await {
                Err(error) if error.is_retriable() && Instant::now() < give_up => {
                    tracing::debug!(%error, pause_ms, "reports are stored again");
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    pause_ms = (pause_ms * 2).min(RETRY_PAUSE_MS_MAX);
                }
                done => return done,
            }
        }
    }

    async fn answer_all(&self, batch: &[Reported], verdicts: Vec<Verdict>) {
        let mut stored: BTreeMap<(Uuid, RunKey), (&Peer, u32)> = BTreeMap::new();
        let mut misplaced: Vec<(&Reported, Refusal)> = Vec::new();
        for (one, verdict) in batch.iter().zip(verdicts) {
            let (key, from) = (one.update.key, one.peer.from());
            match verdict {
                Ok(done) => {
                    let step = one.update.step;
                    let known = stored.entry((from.host, key)).or_insert((&one.peer, step));
                    known.1 = known.1.max(step);
                    self.count(one, done);
                    self.tell(one).await;
                }
                Err(refusal) => match answer(&refusal) {
                    Answer::Forget => let_go(&one.peer, key, &refusal),
                    Answer::EndSession => one.peer.close(&refusal.to_string()),
                    Answer::Place => misplaced.push((one, refusal)),
                },
            }
        }
        for ((_, key), (peer, step)) in stored {
            peer.send(Message::ReportAck(proto::ReportAck {
                key: Some(told_key(key)),
                step,
                refused: None,
            }));
        }
        self.place_anew(misplaced).await;
    }

    /// Counts a start, once: a repeat is a duplicate. One whose commit was not answered is a duplicate too, and not counted.
    fn count(&self, one: &Reported, done: Done) {
        if done == Done::Applied
            && matches!(one.update.event, Event::Started { .. })
            && let Some(awaited) = one.peer.awaited(one.update.key)
        {
            self.starts.observe(&awaited, &one.phases, unix_ms());
        }
    }

    /// Tells what changes room and trust. A duplicate too: the first answer may have been lost.
    async fn tell(&self, one: &Reported) {
        let key = one.update.key;
        match &one.update.event {
            Event::Started { .. } => self.teller.tell(Told::Started(key)).await,
            event @ (Event::Ended(_) | Event::Declined { .. }) => {
                one.peer.forget(key);
                let hosts_fault = is_hosts_fault(event);
                self.teller.tell(Told::Over { key, hosts_fault }).await;
            }
            _ => {}
        }
    }

    /// Tells hosts where the store has the attempts whose reports it refused: once an attempt and batch.
    async fn place_anew(&self, misplaced: Vec<(&Reported, Refusal)>) {
        if misplaced.is_empty() {
            return;
        }
        let runs: BTreeSet<_> = misplaced
            .iter()
            .map(|(one, _)| one.update.key.run)
            .collect();
        let found = self.store.runs(None, runs.into_iter().collect()).await;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                for (one, _) in misplaced {
                    one.peer.close(&error.to_string());
                }
                return;
            }
        };
        let rows = found.into_iter().filter_map(|view| view.active);
        let rows: HashMap<_, ActiveRun> = rows.map(|row| (row.run, row)).collect();
        let mut told = BTreeSet::new();
        for (one, refusal) in misplaced {
            let key = one.update.key;
            if told.insert((one.peer.from().host, key)) {
                place(&one.peer, key, rows.get(&key.run), &refusal);
            }
        }
    }
}

/// Tells a host where the store has an attempt, or that it is not the host's.
pub(super) fn place(peer: &Peer, key: RunKey, row: Option<&ActiveRun>, why: &dyn Display) {
    let its = |row: &&ActiveRun| {
        row.attempt == key.attempt.number() && row.host == Some(peer.from().host)
    };
    match row.filter(its) {
        Some(row) => {
            tracing::info!(%key, %why, "a host is told its place");
            let refused = proto::Refused {
                reason: why.to_string(),
                place: Some(live(key, row, None)),
            };
            peer.send(Message::ReportAck(proto::ReportAck {
                key: Some(told_key(key)),
                step: row.step,
                refused: Some(refused),
            }));
        }
        None => let_go(peer, key, why),
    }
}

/// Tells a host that an attempt is not its any more.
pub(super) fn let_go(peer: &Peer, key: RunKey, why: &dyn Display) {
    tracing::info!(%key, host = %peer.from().host, %why, "a host is told to forget an attempt");
    peer.forget(key);
    peer.send(Message::Forget(forget(key, &why.to_string())));
}

fn close_all(batch: &[Reported], error: &StoreError) {
    tracing::warn!(%error, cause = %error.failure, reports = batch.len(), "reports could not be stored");
    for one in batch {
        one.peer.close("the store does not take what it reports");
    }
}
