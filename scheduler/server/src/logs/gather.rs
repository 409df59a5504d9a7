//! Gathering an attempt's records into chunks, and storing them.
//!
//! ```text
//!  admit ── room in attempt and total ──► inbox ──► task of the attempt:  gathered records
//!                                                    │ full, or old, or flush
//!                                                    ▼
//!                                         object ──► index ──► receipts, room given back
//! ```
//!
//! A task exists for an attempt from its first batch until it was idle for a while. It never goes while a
//! batch is on its way: whoever is about to send holds its [`Handle::in_flight`], taken under the lock.
//!
//! When a chunk cannot be stored, all that waits is told so and forgotten; the host has it on its disk. The
//! next batch is measured against the index anew.

mod attempt;
mod room;
mod storing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use davit_types::RunKey;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::error::LogError;
use super::hub::Hub;
use super::index::Index;
use super::limits::{BATCH_BYTES_MAX, GATHERERS_MAX, INBOX_BATCHES_MAX, LINE_BYTES_MAX};
use super::objects::Objects;
use super::record::{LogRecord, cost_bytes};
use super::settings::LogSettings;
use crate::store::{Sender, Store};
use room::{Held, Room};

/// Records that were taken and are not stored yet.
#[derive(Debug)]
pub struct Receipt {
    key: RunKey,
    answered: oneshot::Receiver<Result<u64, LogError>>,
}

impl Receipt {
    /// Waits until they are durable and indexed; the last id that is.
    ///
    /// # Errors
    /// They were not stored, and nothing that was admitted after them: the host repeats all from its place on.
    pub async fn stored(self) -> Result<u64, LogError> {
        let stopped = |_| LogError::Stopped { key: self.key };
        self.answered.await.map_err(stopped)?
    }
}

/// What the task of an attempt is told.
enum Message {
    Records(Batch),
    Flush(oneshot::Sender<Result<u64, LogError>>),
}

struct Batch {
    from: Sender,
    records: Vec<LogRecord>,
    held: Held,
    receipt: oneshot::Sender<Result<u64, LogError>>,
}

/// A message, and the mark that it is on its way.
type Sent = (Message, Arc<()>);

struct Handle {
    inbox: mpsc::Sender<Sent>,
    room: Room,
    in_flight: Arc<()>,
}

/// What every task needs.
struct Shared {
    store: Arc<dyn Store>,
    objects: Objects,
    index: Index,
    hub: Arc<Hub>,
    settings: LogSettings,
    handles: Mutex<HashMap<RunKey, Handle>>,
}

impl Shared {
    fn handles(&self) -> std::sync::MutexGuard<'_, HashMap<RunKey, Handle>> {
        // Nothing panics while it holds the lock; if it did, the map is still a map.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tasks of all attempts.
pub(super) struct Gatherers {
    shared: Arc<Shared>,
    total: Room,
}

impl Gatherers {
    pub(super) fn new(
        store: Arc<dyn Store>,
        objects: Objects,
        index: Index,
        hub: Arc<Hub>,
        settings: LogSettings,
    ) -> Self {
        let total = Room::new(settings.total_bytes_max);
        let shared = Shared {
            store,
            objects,
            index,
            hub,
            settings,
            handles: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            total,
        }
    }

    pub(super) fn admit(
        &self,
        from: Sender,
        key: RunKey,
        records: Vec<LogRecord>,
    ) -> Result<Receipt, LogError> {
        check(key, &records)?;
        let (inbox, room, in_flight) = self.handle(key)?;
        let bytes = cost_bytes(&records);
        let no_room = |of| LogError::NoRoom { key, of };
        let mut held = room.take(bytes).ok_or_else(|| no_room("this attempt"))?;
        let total = self.total.take(bytes);
        held.join(total.ok_or_else(|| no_room("all attempts"))?);
        let (receipt, answered) = oneshot::channel();
        let batch = Message::Records(Batch {
            from,
            records,
            held,
            receipt,
        });
        inbox
            .try_send((batch, in_flight))
            .map_err(|error| match error {
                TrySendError::Full(_) => no_room("this attempt"),
                TrySendError::Closed(_) => LogError::Stopped { key },
            })?;
        Ok(Receipt { key, answered })
    }

    /// The task of an attempt, begun if there is none.
    fn handle(&self, key: RunKey) -> Result<(mpsc::Sender<Sent>, Room, Arc<()>), LogError> {
        let mut handles = self.shared.handles();
        if let Some(handle) = handles.get(&key).filter(|handle| !handle.inbox.is_closed()) {
            return Ok((
                handle.inbox.clone(),
                handle.room.clone(),
                Arc::clone(&handle.in_flight),
            ));
        }
        if handles.len() >= GATHERERS_MAX {
            return Err(LogError::Busy {
                what: "attempts whose lines are gathered",
                max: GATHERERS_MAX,
            });
        }
        let (inbox, messages) = mpsc::channel(INBOX_BATCHES_MAX);
        let handle = Handle {
            inbox: inbox.clone(),
            room: Room::new(self.shared.settings.attempt_bytes_max),
            in_flight: Arc::new(()),
        };
        let given = (inbox, handle.room.clone(), Arc::clone(&handle.in_flight));
        handles.insert(key, handle);
        tokio::spawn(attempt::run(Arc::clone(&self.shared), key, messages));
        Ok(given)
    }

    pub(super) async fn flush(&self, key: RunKey) -> Result<(), LogError> {
        let found = self
            .shared
            .handles()
            .get(&key)
            .map(|handle| (handle.inbox.clone(), Arc::clone(&handle.in_flight)));
        let Some((inbox, in_flight)) = found else {
            return Ok(());
        };
        let (answer, answered) = oneshot::channel();
        let stopped = || LogError::Stopped { key };
        let sent = inbox.send((Message::Flush(answer), in_flight)).await;
        sent.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?.map(drop)
    }

    pub(super) async fn flush_all(&self) {
        let keys: Vec<RunKey> = self.shared.handles().keys().copied().collect();
        let flushes = keys.into_iter().map(|key| self.flush(key));
        for flushed in futures::future::join_all(flushes).await {
            if let Err(error) = flushed {
                tracing::warn!(%error, "lines were not stored; their host repeats them");
            }
        }
    }
}

/// The bounds of a batch, and its ids: consecutive.
fn check(key: RunKey, records: &[LogRecord]) -> Result<(), LogError> {
    let too_much = |what, given, max| LogError::TooMuch {
        key,
        what,
        given,
        max,
    };
    let bytes = cost_bytes(records);
    if bytes > BATCH_BYTES_MAX {
        return Err(too_much("the lines", bytes, BATCH_BYTES_MAX));
    }
    let long = records
        .iter()
        .find(|record| record.line.len() > LINE_BYTES_MAX);
    if let Some(long) = long {
        return Err(too_much("a line", long.line.len(), LINE_BYTES_MAX));
    }
    for pair in records.windows(2) {
        let expected = pair[0].id.saturating_add(1);
        if pair[1].id != expected {
            let given = pair[1].id;
            return Err(LogError::Gap {
                key,
                given,
                expected,
            });
        }
    }
    Ok(())
}
