//! One session: reads what its host says, until one of them is done.
//!
//! ```text
//!             ┌─ Report ──────────► plan decides on a retry ──► lane ──► ack by the lane
//!  host ──────┼─ Report: Ended ───► log flushed first ────────┘
//!             ├─ LogBatch ────────► lines ··· stored ──► LogAck
//!             ├─ Heartbeat ───────► kept for the next batch of beats
//!             └─ Renew, Warmed
//! ```
//!
//! It ends when the connection breaks, nothing is heard for two heartbeats, the access token is over, a later
//! session begins, the host does not read, or it says something that cannot be read.
//!
//! Invariants: a host that is not heard of is not connected, whoever is to blame: its runs may be given away, so it must
//! begin to count; reports of an attempt are put in the order in which they came; neither reports
//! that wait for their lane nor lines that wait for an object store hold up a heartbeat behind them; no host has more
//! than [`REPORTS_MAX`] reports, and log batches as [`Lines`] says, under way: beyond that it is not read from. davit's own
//! hosts send fewer without an answer.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use davit_placement::ImageRef;
use davit_rpc::link as proto;
use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::scheduler_message::Message;
use davit_types::RunKey;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Streaming;
use uuid::Uuid;

use super::access::Gate;
use super::error::LinkError;
use super::facts::HostBeat;
use super::lines::{Lines, Outcome};
use super::places::{Answer, answer};
use super::reports::{Reported, Reports, let_go, place};
use super::sessions::{Heartbeat, Peer, Sessions};
use super::words;
use crate::clock::unix_ms;
use crate::dispatch::retries::decided;
use crate::dispatch::told::{Teller, Told};
use crate::logs::Logs;
use crate::store::{Event, Store};

/// Reports of one host that are not stored yet.
pub(super) const REPORTS_MAX: usize = 256;
/// Heartbeats that may be missed.
pub(super) const MISSED_BEATS_MAX: u32 = 2;

/// Why a session ends whose host is not read from for too long: nobody would know that it lives.
const TOO_SLOW: &str = "the store is too slow to hear it";

/// A running session.
pub(super) struct Session {
    pub(super) peer: Peer,
    pub(super) host: Uuid,
    /// When the access token is over.
    pub(super) expires: Instant,
    pub(super) gate: Arc<Gate>,
    pub(super) store: Arc<dyn Store>,
    pub(super) sessions: Sessions,
    pub(super) reports: Reports,
    pub(super) logs: Logs,
    pub(super) teller: Teller,
    pub(super) beat: HostBeat,
    pub(super) images: Vec<ImageRef>,
    pub(super) heartbeat_ms: u32,
    pub(super) permits: Arc<Semaphore>,
}

/// What is under way beside reading.
struct Pending {
    lines: Lines,
    ends: FuturesUnordered<BoxFuture<'static, Reported>>,
    /// Behind the one that is being put.
    reports: VecDeque<Reported>,
    putting: Option<BoxFuture<'static, ()>>,
}

/// Returns once the report that is being put has room in its lane; never, where there is none.
async fn put(putting: &mut Option<BoxFuture<'static, ()>>) {
    match putting {
        Some(room) => room.await,
        None => std::future::pending().await,
    }
    *putting = None;
}

impl Session {
    /// Runs it to its end. All of it is boxed: what is moved into a task takes its room there more than once.
    pub(super) async fn run(mut self: Box<Self>, mut incoming: Box<Streaming<proto::HostMessage>>) {
        let reason = self.talk(&mut incoming).await;
        let from = self.peer.from();
        tracing::info!(host = %from.host, epoch = from.epoch, reason, "a session ended");
        self.peer.close(&reason);
        self.peer.goodbye(&reason);
        self.sessions.leave(from);
        self.teller.tell(Told::Down(from)).await;
    }

    async fn talk(&mut self, incoming: &mut Streaming<proto::HostMessage>) -> String {
        let mut pending = Pending {
            lines: Lines::new(self.logs.clone()),
            ends: FuturesUnordered::new(),
            reports: VecDeque::new(),
            putting: None,
        };
        let silence = Duration::from_millis(u64::from(self.heartbeat_ms * MISSED_BEATS_MAX));
        let closing = self.peer.clone();
        let closed = closing.closed();
        tokio::pin!(closed);
        let mut heard = Instant::now();
        loop {
            self.put_waiting(&mut pending);
            let has_room = self.permits.available_permits() > 0;
            let full = pending.lines.is_full() || !has_room;
            let said = tokio::select! {
                biased;
                reason = &mut closed => return reason,
                () = sleep_until(self.expires) => return "the access token is over".to_owned(),
                (key, outcome) = pending.lines.next() => {
                    self.answer_log(key, outcome).await;
                    continue;
                }
                Some(reported) = pending.ends.next(), if !pending.ends.is_empty() => {
                    pending.reports.push_back(reported);
                    continue;
                }
                () = put(&mut pending.putting) => continue,
                Ok(_) = self.permits.acquire(), if !has_room => continue,
                () = sleep_until(heard + silence), if full => return TOO_SLOW.to_owned(),
                said = timeout_at(heard + silence, incoming.message()), if !full => said,
            };
            let message = match said {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return "the host ended it".to_owned(),
                Ok(Err(status)) => return format!("the connection broke: {}", status.message()),
                Err(_) => return "nothing was heard for too long".to_owned(),
            };
            heard = Instant::now();
            let done = tokio::select! {
                // Boxed: of thousands of sessions few hear something at the same time.
                done = Box::pin(self.hear(message, &mut pending)) => done,
                reason = &mut closed => return reason,
                () = sleep_until(heard + silence) => return TOO_SLOW.to_owned(),
            };
            if let Err(error) = done {
                return error.to_string();
            }
        }
    }

    async fn hear(
        &mut self,
        message: proto::HostMessage,
        pending: &mut Pending,
    ) -> Result<(), LinkError> {
        match message.message {
            Some(Said::Report(report)) => self.report(report, pending),
            Some(Said::Log(batch)) => {
                let (key, records) = words::log_batch(batch)?;
                if let Some(outcome) = pending.lines.take(self.peer.from(), key, records) {
                    self.answer_log(key, outcome).await;
                }
                Ok(())
            }
            Some(Said::Heartbeat(state)) => {
                let images = self.beat.hear(&state)?;
                self.peer.heard(Heartbeat {
                    number: state.number,
                    body: self.beat.text(),
                });
                if images != self.images {
                    self.images.clone_from(&images);
                    let from = self.peer.from();
                    self.teller.tell(Told::Images { from, images }).await;
                }
                Ok(())
            }
            Some(Said::Warmed(warmed)) => self.warmed(warmed).await,
            Some(Said::Renew(renew)) => {
                let pass = self.gate.pass(&renew.access_token)?;
                if pass.host != self.host {
                    return Err(LinkError::Unauthenticated);
                }
                self.expires = self.expires.max(pass.expires());
                Ok(())
            }
            Some(Said::Hello(_)) => Err(LinkError::OutOfPlace {
                given: "a second hello",
                wanted: "a report, log, heartbeat or renewal",
            }),
            // Of a later davit: it says nothing that this one would need.
            None => Ok(()),
        }
    }

    fn report(&self, report: proto::Report, pending: &mut Pending) -> Result<(), LinkError> {
        // There is room: it was looked for before the host was read from.
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| LinkError::TooMuch {
            what: "reports under way",
            given: REPORTS_MAX + 1,
            max: REPORTS_MAX,
        })?;
        let phases = words::phases(&report);
        let update = words::report(report, self.peer.from())?;
        let rules = self.peer.retry_rules(update.key);
        let update = decided(update, rules.as_ref(), unix_ms());
        let key = update.key;
        let is_end = matches!(update.event, Event::Ended(_));
        let reported = Reported {
            update,
            phases,
            peer: self.peer.clone(),
            _permit: permit,
        };
        if !is_end {
            pending.reports.push_back(reported);
            return Ok(());
        }
        let logs = self.logs.clone();
        pending.ends.push(Box::pin(async move {
            // What was not stored is missing when the end is: the host is told where to go on.
            if let Err(error) = logs.flush(key).await {
                tracing::warn!(%key, %error, "a log was not stored before its end");
            }
            reported
        }));
        Ok(())
    }

    /// Puts what waits into its lanes, in order, until one of them has no room: that one is waited for beside reading.
    fn put_waiting(&self, pending: &mut Pending) {
        while pending.putting.is_none()
            && let Some(reported) = pending.reports.pop_front()
        {
            if let Err(reported) = self.reports.try_put(reported) {
                let reports = self.reports.clone();
                pending.putting = Some(Box::pin(async move { reports.put(*reported).await }));
            }
        }
    }

    async fn answer_log(&self, key: RunKey, outcome: Outcome) {
        let refusal = match outcome {
            Outcome::Stored(last_id) => {
                self.peer.send(Message::LogAck(proto::LogAck {
                    key: Some(words::told_key(key)),
                    last_id,
                }));
                return;
            }
            Outcome::Malformed(error) => return self.peer.close(&error.to_string()),
            Outcome::Again => return self.place_log(key, &"its lines were not taken").await,
            Outcome::Refused(refusal) => refusal,
        };
        match answer(&refusal) {
            Answer::EndSession => self.peer.close(&refusal.to_string()),
            Answer::Forget => let_go(&self.peer, key, &refusal),
            Answer::Place => self.place_log(key, &refusal).await,
        }
    }

    /// The host goes on from what is stored, or lets the attempt go.
    async fn place_log(&self, key: RunKey, why: &(dyn Display + Sync)) {
        match self.store.runs(None, vec![key.run]).await {
            Ok(found) => {
                let row = found.first().and_then(|view| view.active.as_ref());
                place(&self.peer, key, row, why);
            }
            Err(error) => self.peer.close(&error.to_string()),
        }
    }

    async fn warmed(&self, warmed: proto::Warmed) -> Result<(), LinkError> {
        let warm_id = Uuid::try_parse(&warmed.warm_id)
            .map_err(|_| LinkError::malformed("warm_id", &warmed.warm_id, "a UUID"))?;
        let problem = match warmed.outcome {
            Some(proto::warmed::Outcome::ImageDigest(_)) => None,
            Some(proto::warmed::Outcome::Problem(problem)) => Some(problem),
            None => Some("it does not say what became of it".to_owned()),
        };
        let from = self.peer.from();
        let told = Told::Warmed {
            from,
            warm_id,
            problem,
        };
        self.teller.tell(told).await;
        Ok(())
    }
}
