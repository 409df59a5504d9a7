//! Log batches of one session on their way into the logs.
//!
//! ```text
//!  LogBatch ─► Logs::admit ─► receipt ··· stored ─────────► acknowledged
//!                  │             └─────── not stored ─┐
//!                  └─ no room ─► the attempt rests ◄──┘ ──► its place, after a while
//! ```
//!
//! Invariants: taking a batch waits for nothing, so that no heartbeat behind it does; of an attempt that rests no line is
//! taken, and its host is told its place once nothing of it is under way: so a host knows of every batch that is counted
//! here. What is not taken costs nothing: the host has it on its disk.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use davit_types::RunKey;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use crate::logs::{LogError, LogRecord, Logs};
use crate::store::{Refusal, Sender};

/// Batches of one host that are not stored yet, and its attempts that rest.
const BATCHES_MAX: usize = 64;
/// Lines that were not taken are asked for again after so long, milliseconds.
const REST_MS: u64 = 5_000;

/// What the host of an attempt is to hear.
pub(super) enum Outcome {
    /// All up to this line is stored.
    Stored(u64),
    /// The store refuses them.
    Refused(Refusal),
    /// They were not taken: it goes on from what is stored.
    Again,
    /// It is no host of ours.
    Malformed(LogError),
}

/// A session's.
pub(super) struct Lines {
    logs: Logs,
    receipts: FuturesUnordered<BoxFuture<'static, (RunKey, Result<u64, LogError>)>>,
    /// Of whom those are, and how many.
    under_way: BTreeMap<RunKey, usize>,
    /// Attempts of which no line is taken until then; the earliest first.
    resting: VecDeque<(Instant, RunKey)>,
}

impl Lines {
    pub(super) fn new(logs: Logs) -> Self {
        Self {
            logs,
            receipts: FuturesUnordered::new(),
            under_way: BTreeMap::new(),
            resting: VecDeque::new(),
        }
    }

    /// Whether no more may be taken.
    pub(super) fn is_full(&self) -> bool {
        self.receipts.len() + self.resting.len() >= BATCHES_MAX
    }

    /// Takes a batch, or tells at once what its host is to hear.
    pub(super) fn take(
        &mut self,
        from: Sender,
        key: RunKey,
        records: Vec<LogRecord>,
    ) -> Option<Outcome> {
        if self.rests(key) {
            return None;
        }
        match self.logs.admit(from, key, records) {
            Ok(receipt) => {
                let stored = async move { (key, receipt.stored().await) };
                self.receipts.push(Box::pin(stored));
                *self.under_way.entry(key).or_default() += 1;
                None
            }
            Err(error) => self.failed(key, error),
        }
    }

    /// What somebody is to hear next; never, while there is nothing under way. May be dropped at any time.
    pub(super) async fn next(&mut self) -> (RunKey, Outcome) {
        loop {
            let rested = self.resting.front().map(|(until, _)| *until);
            let rested = async {
                match rested {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let outcome = tokio::select! {
                Some((key, stored)) = self.receipts.next() => self.answered(key, stored),
                () = rested => self.rested(),
            };
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }

    fn answered(
        &mut self,
        key: RunKey,
        stored: Result<u64, LogError>,
    ) -> Option<(RunKey, Outcome)> {
        if let Some(batches) = self.under_way.get_mut(&key) {
            *batches -= 1;
            if *batches == 0 {
                self.under_way.remove(&key);
            }
        }
        let outcome = match stored {
            Ok(last_id) => Some(Outcome::Stored(last_id)),
            Err(error) => self.failed(key, error),
        };
        outcome.map(|outcome| (key, outcome))
    }

    fn rested(&mut self) -> Option<(RunKey, Outcome)> {
        let (_, key) = self.resting.pop_front()?;
        if self.under_way.contains_key(&key) {
            self.rest(key);
            return None;
        }
        Some((key, Outcome::Again))
    }

    fn failed(&mut self, key: RunKey, error: LogError) -> Option<Outcome> {
        // Whoever rests is told its place anyway.
        if self.rests(key) {
            return None;
        }
        match error {
            LogError::Refused { refusal, .. } => Some(Outcome::Refused(refusal)),
            LogError::Gap {
                given, expected, ..
            } => Some(Outcome::Refused(Refusal::LogGap { given, expected })),
            LogError::TooMuch { .. } => Some(Outcome::Malformed(error)),
            error => {
                tracing::warn!(%key, %error, rest_ms = REST_MS, "lines were not taken");
                self.rest(key);
                None
            }
        }
    }

    fn rests(&self, key: RunKey) -> bool {
        self.resting.iter().any(|(_, resting)| *resting == key)
    }

    fn rest(&mut self, key: RunKey) {
        let until = Instant::now() + Duration::from_millis(REST_MS);
        self.resting.push_back((until, key));
    }
}
