//! The task of one attempt: it owns the records that are gathered, and stores one chunk at a time.

use std::sync::Arc;
use std::time::Duration;

use davit_types::RunKey;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::room::Held;
use super::{Batch, Message, Sent, Shared};
use crate::clock::unix_ms;
use crate::logs::chunk;
use crate::logs::error::LogError;
use crate::logs::limits::{
    COMPRESS_INLINE_BYTES_MAX, GATHERER_IDLE_MS_MAX, RETRY_PAUSE_MS, RETRY_PAUSE_MS_MAX,
    STORE_TRY_MS_MAX,
};
use crate::logs::objects;
use crate::logs::record::{LogRecord, cost_bytes};
use crate::store::{LogChunk, Refusal, Sender, Verdict};

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
        due: Instant::now(),
    };
    loop {
        let idle = Duration::from_millis(GATHERER_IDLE_MS_MAX);
        let due = if gatherer.gathered.is_empty() {
            Instant::now() + idle
        } else {
            gatherer.due
        };
        match tokio::time::timeout_at(due, inbox.recv()).await {
            Ok(Some((message, in_flight))) => {
                gatherer.hear(message).await;
                drop(in_flight);
            }
            Ok(None) => {
                drop(gatherer.store().await);
                return;
            }
            Err(_) if gatherer.gathered.is_empty() => {
                if gatherer.retire() {
                    return;
                }
            }
            Err(_) => drop(gatherer.store().await),
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

    async fn hear(&mut self, message: Message) {
        match message {
            Message::Records(batch) => {
                self.take(batch).await;
                let settings = &self.shared.settings;
                if self.bytes >= settings.chunk_bytes || self.gathered.len() >= settings.chunk_lines
                {
                    drop(self.store().await);
                }
            }
            Message::Flush(answer) => drop(answer.send(self.store().await)),
        }
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

    /// Stores what is gathered and tells all who wait, whatever came of it.
    async fn store(&mut self) -> Result<(), LogError> {
        let stored = match self.standing {
            Some(standing) if !self.gathered.is_empty() => self.store_gathered(standing).await,
            _ => Ok(()),
        };
        if let Err(error) = &stored {
            // The host repeats it; how the log stands then is for the store to say.
            self.standing = None;
            tracing::warn!(key = %self.key, error = %chain(error), "log lines were not stored");
        }
        let stored_id = self.standing.map_or(0, |standing| standing.stored_id);
        for waiting in self.waiting.drain(..) {
            let answer = match &stored {
                Ok(()) => Ok(stored_id.max(waiting.last_id)),
                Err(error) => Err(error.clone()),
            };
            drop(waiting.receipt.send(answer));
        }
        self.gathered.clear();
        self.bytes = 0;
        self.held = Held::none();
        stored
    }

    async fn store_gathered(&mut self, standing: Standing) -> Result<(), LogError> {
        let give_up = Instant::now() + Duration::from_millis(STORE_TRY_MS_MAX);
        let mut pause_ms = RETRY_PAUSE_MS;
        loop {
            let (Some(first), Some(last)) = (self.gathered.first(), self.gathered.last()) else {
                return Ok(());
            };
            let (first_id, last_id) = (first.id, last.id);
            let error = match self.store_once(standing.from, first_id, last_id).await {
                Ok(Ok(_)) => {
                    self.standing = Some(Standing {
                        stored_id: last_id,
                        ..standing
                    });
                    self.shared.hub.indexed(self.key, last_id);
                    return Ok(());
                }
                // Another replica stored the beginning: the host was there for a while.
                Ok(Err(Refusal::LogGap { expected, .. })) if expected > first_id => {
                    self.gathered.retain(|record| record.id >= expected);
                    continue;
                }
                Ok(Err(refusal)) => return Err(self.refused(refusal)),
                Err(error) => error,
            };
            if !error.is_retriable() || Instant::now() >= give_up {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(RETRY_PAUSE_MS_MAX);
        }
    }

    /// The object first, then the index.
    async fn store_once(
        &mut self,
        from: Sender,
        first_id: u64,
        last_id: u64,
    ) -> Result<Verdict, LogError> {
        let object = objects::name(self.key, first_id, last_id);
        let bytes = self.encode(&object).await?;
        let chunk = LogChunk {
            key: self.key,
            first_id,
            last_id,
            bytes: bytes.len() as u64,
            at_ms: unix_ms(),
            object,
        };
        self.shared.objects.put(&chunk.object, bytes).await?;
        self.shared.index.add(from, chunk).await
    }

    async fn encode(&mut self, object: &str) -> Result<bytes::Bytes, LogError> {
        let key = self.key;
        let encoded = if self.bytes <= COMPRESS_INLINE_BYTES_MAX {
            chunk::encode(key, &self.gathered)
        } else {
            let records = std::mem::take(&mut self.gathered);
            let encoding = tokio::task::spawn_blocking(move || {
                let encoded = chunk::encode(key, &records);
                (records, encoded)
            });
            let (records, encoded) = encoding.await.map_err(|_| LogError::Stopped { key })?;
            self.gathered = records;
            encoded
        };
        encoded.map_err(|problem| LogError::Damaged {
            object: object.to_owned(),
            problem,
        })
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
