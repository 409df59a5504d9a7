//! The task of one attempt: it owns the records that are gathered, and stores one chunk at a time. While that is stored,
//! the next is gathered and shown to followers: nobody who watches waits for a disk.

use std::sync::Arc;
use std::time::Duration;

use davit_types::RunKey;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::room::Held;
use super::storing::Piece;
use super::{Batch, Message, Sent, Shared};
use crate::logs::error::LogError;
use crate::logs::limits::GATHERER_IDLE_MS_MAX;
use crate::logs::record::{LogRecord, cost_bytes};
use crate::store::{Refusal, Sender};

/// Somebody waits until this line is stored.
struct Waiting {
    last_id: u64,
    receipt: oneshot::Sender<Result<u64, LogError>>,
}

/// Where the attempt's log stands, once the store was asked.
#[derive(Clone, Copy)]
struct Standing {
    from: Sender,
    /// The last line that is indexed.
    stored_id: u64,
    /// The next line to take.
    next_id: u64,
}

struct Gatherer {
    shared: Arc<Shared>,
    key: RunKey,
    standing: Option<Standing>,
    gathered: Vec<LogRecord>,
    bytes: usize,
    held: Held,
    waiting: Vec<Waiting>,
    /// Up to this line somebody wants it stored now.
    flush_to: u64,
    /// What came while a chunk was stored, and cannot be judged before that is.
    deferred: Option<Sent>,
    /// When what is gathered must be stored.
    due: Instant,
}

pub(super) async fn run(shared: Arc<Shared>, key: RunKey, mut inbox: mpsc::Receiver<Sent>) {
    let mut gatherer = Gatherer {
        shared,
        key,
        standing: None,
        gathered: vec![],
        bytes: 0,
        held: Held::none(),
        waiting: vec![],
        flush_to: 0,
        deferred: None,
        due: Instant::now(),
    };
    loop {
        let idle = Duration::from_millis(GATHERER_IDLE_MS_MAX);
        let due = if gatherer.gathered.is_empty() {
            Instant::now() + idle
        } else {
            gatherer.due
        };
        let sent = match gatherer.deferred.take() {
            Some(sent) => Ok(Some(sent)),
            None => tokio::time::timeout_at(due, inbox.recv()).await,
        };
        match sent {
            Ok(Some((message, in_flight))) => {
                gatherer.hear(message, &mut inbox).await;
                drop(in_flight);
            }
            Ok(None) => {
                gatherer.store(&mut inbox).await;
                if gatherer.gathered.is_empty() && gatherer.deferred.is_none() {
                    return;
                }
            }
            Err(_) if gatherer.gathered.is_empty() => {
                if gatherer.retire() {
                    return;
                }
            }
            Err(_) => gatherer.store(&mut inbox).await,
        }
    }
}

impl Gatherer {
    /// Ends the task, unless somebody is about to send it something.
    fn retire(&self) -> bool {
        let mut handles = self.shared.handles();
        let last = |in_flight: &Arc<()>| Arc::strong_count(in_flight) == 1;
        let retire = handles
            .get(&self.key)
            .is_none_or(|handle| last(&handle.in_flight));
        if retire {
            handles.remove(&self.key);
        }
        retire
    }

    async fn hear(&mut self, message: Message, inbox: &mut mpsc::Receiver<Sent>) {
        match message {
            Message::Records(batch) => {
                self.take(batch).await;
                if self.is_full() {
                    self.store(inbox).await;
                }
            }
            Message::Flush(receipt) => {
                self.flush(receipt);
                self.store(inbox).await;
            }
        }
    }

    /// Somebody wants all stored that came before.
    fn flush(&mut self, receipt: oneshot::Sender<Result<u64, LogError>>) {
        let standing = self.standing.map(|s| (s.stored_id, s.next_id - 1));
        let (stored_id, last_id) = standing.unwrap_or_default();
        if stored_id >= last_id {
            return drop(receipt.send(Ok(stored_id)));
        }
        self.flush_to = last_id;
        self.waiting.push(Waiting { last_id, receipt });
    }

    /// Whether what is gathered is a chunk.
    fn is_full(&self) -> bool {
        let settings = &self.shared.settings;
        self.bytes >= settings.chunk_bytes || self.gathered.len() >= settings.chunk_lines
    }

    /// Adds what is new of a batch, and shows it to followers.
    async fn take(&mut self, batch: Batch) {
        let standing = match self.stand(batch.from).await {
            Ok(standing) => standing,
            Err(error) => return drop(batch.receipt.send(Err(error))),
        };
        let (Some(first), Some(last)) = (batch.records.first(), batch.records.last()) else {
            return drop(batch.receipt.send(Ok(standing.stored_id)));
        };
        let (first_id, last_id) = (first.id, last.id);
        if first_id > standing.next_id {
            let gap = LogError::Gap {
                key: self.key,
                given: first_id,
                expected: standing.next_id,
            };
            return drop(batch.receipt.send(Err(gap)));
        }
        if last_id <= standing.stored_id {
            return drop(batch.receipt.send(Ok(standing.stored_id)));
        }
        let mut new = batch.records;
        new.retain(|record| record.id >= standing.next_id);
        if !new.is_empty() {
            if self.gathered.is_empty() {
                let period = Duration::from_millis(self.shared.settings.flush_ms);
                self.due = Instant::now() + period;
            }
            self.shared.hub.publish(self.key, &new);
            self.bytes += cost_bytes(&new);
            self.gathered.append(&mut new);
            self.standing = Some(Standing {
                next_id: last_id + 1,
                ..standing
            });
        }
        self.held.join(batch.held);
        self.waiting.push(Waiting {
            last_id,
            receipt: batch.receipt,
        });
    }

    /// Where the log stands for this sender; the store is asked when he is new.
    async fn stand(&mut self, from: Sender) -> Result<Standing, LogError> {
        if let Some(standing) = &mut self.standing
            && standing.from.host == from.host
        {
            if from.epoch < standing.from.epoch {
                let refusal = Refusal::StaleEpoch {
                    given: from.epoch,
                    current: standing.from.epoch,
                };
                return Err(self.refused(refusal));
            }
            standing.from = from;
            return Ok(*standing);
        }
        let runs = self.shared.store.runs(None, vec![self.key.run]).await;
        let runs = runs.map_err(|error| LogError::store(self.key, error))?;
        let Some(row) = runs.into_iter().next().and_then(|run| run.active) else {
            return Err(self.refused(Refusal::UnknownRun { run: self.key.run }));
        };
        if row.attempt != self.key.attempt.number() {
            return Err(self.refused(Refusal::StaleAttempt {
                given: self.key.attempt,
                live: row.attempt,
            }));
        }
        if row.host != Some(from.host) {
            return Err(self.refused(Refusal::WrongHost));
        }
        let standing = Standing {
            from,
            stored_id: row.log_last_id,
            next_id: row.log_last_id + 1,
        };
        self.standing = Some(standing);
        Ok(standing)
    }

    fn refused(&self, refusal: Refusal) -> LogError {
        LogError::Refused {
            key: self.key,
            refusal,
        }
    }

    /// Stores what is gathered; and what is gathered meanwhile, if that is a chunk or wanted stored.
    async fn store(&mut self, inbox: &mut mpsc::Receiver<Sent>) {
        loop {
            if let Err(error) = self.store_piece(inbox).await {
                tracing::warn!(key = %self.key, error = %chain(&error), "log lines were not stored");
                return self.forget(&error);
            }
            let Some(first) = self.gathered.first() else {
                self.held = Held::none();
                return;
            };
            if first.id > self.flush_to && !self.is_full() {
                return;
            }
        }
    }

    /// Stores one chunk, gathers the next meanwhile, and tells all whose lines are stored.
    async fn store_piece(&mut self, inbox: &mut mpsc::Receiver<Sent>) -> Result<(), LogError> {
        let Some(standing) = self.standing.filter(|_| !self.gathered.is_empty()) else {
            return Ok(());
        };
        let piece = Piece {
            key: self.key,
            from: standing.from,
            records: std::mem::take(&mut self.gathered),
            bytes: std::mem::take(&mut self.bytes),
        };
        // Given back when it is stored.
        let _held = std::mem::replace(&mut self.held, Held::none());
        let storing = piece.store(Arc::clone(&self.shared));
        tokio::pin!(storing);
        let mut open = true;
        let stored_id = loop {
            let room = open && self.deferred.is_none() && !self.is_full();
            tokio::select! {
                biased;
                stored = &mut storing => break stored?,
                sent = inbox.recv(), if room => match sent {
                    Some((Message::Records(batch), _in_flight))
                        if batch.from.host == standing.from.host => self.take(batch).await,
                    Some((Message::Flush(receipt), _in_flight)) => self.flush(receipt),
                    // Another host's: where the log stands is for the store to say, and it does not know yet.
                    Some(sent) => self.deferred = Some(sent),
                    None => open = false,
                },
            }
        };
        if let Some(standing) = &mut self.standing {
            standing.stored_id = stored_id;
            // Another replica stored more than was here.
            standing.next_id = standing.next_id.max(stored_id + 1);
        }
        self.shared.hub.indexed(self.key, stored_id);
        let (told, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| waiting.last_id <= stored_id);
        self.waiting = waiting;
        for waiting in told {
            drop(waiting.receipt.send(Ok(stored_id)));
        }
        Ok(())
    }

    /// Tells all who wait that nothing of it is stored. The host repeats it; how the log stands then is for the store to say.
    fn forget(&mut self, error: &LogError) {
        self.standing = None;
        self.flush_to = 0;
        self.gathered.clear();
        self.bytes = 0;
        self.held = Held::none();
        for waiting in self.waiting.drain(..) {
            drop(waiting.receipt.send(Err(error.clone())));
        }
    }
}

/// An error with its causes, for the log.
fn chain(error: &LogError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
