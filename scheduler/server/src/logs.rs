//! Logs of attempts: gathered, stored in pieces, read back and followed.
//!
//! ```text
//!  admit ──room──► gatherer, one an attempt ──chunk──► object store ──then──► index, in batches ──► receipts
//!                     │ at once                         deterministic name     the store's verdict
//!                     ▼
//!  follow ◄── topic, one a followed attempt: the latest lines, how far the index is, whether it is over
//!                     ▲                       │ behind the latest lines
//!                     └── poller: what other  └──► index ──► objects, decoded once for all
//!                         replicas indexed
//! ```
//!
//! Invariants:
//!
//! - A line is acknowledged once its chunk is durable and indexed, never before: the object first, then the index.
//! - A chunk's name follows from run, attempt, first and last line, and its lines from the host's own log: a
//!   repeat writes the same object again. A crash between object and index leaves an object that the repeat replaces,
//!   or that goes with the run's other objects.
//! - Lines of an attempt are consecutive from 1, in the index and for every follower.
//! - Lines waiting for the object store are bounded per attempt and in total; beyond that `admit` takes none.
//! - A follower holds a bounded piece of log and nothing is queued for it: a slow one costs others nothing.
//!
//! Absent on purpose: redaction (the host's, before it ships), who may read (the service's), a log of
//! what the followers saw before it was durable: such a line may be followed twice in another replica, never
//! acknowledged.

mod chunk;
mod error;
mod follow;
mod gather;
mod hub;
mod index;
pub mod limits;
mod objects;
mod poll;
mod read;
mod record;
mod settings;
mod sweep;

use std::sync::Arc;

use davit_types::{Attempt, RunId, RunKey};
use object_store::ObjectStore;

use crate::store::{Sender, Store};

pub use error::{ChunkProblem, LogError};
pub use follow::LogFollower;
pub use gather::Receipt;
pub use objects::{ObjectSettings, open_objects};
pub use read::LogPage;
pub use record::{LogRecord, LogStream};
pub use settings::LogSettings;

use gather::Gatherers;
use hub::Hub;
pub(crate) use objects::Objects;
use read::Reader;

/// Takes, keeps and gives logs. Cheap to clone.
#[derive(Clone)]
pub struct Logs {
    store: Arc<dyn Store>,
    objects: Objects,
    gatherers: Arc<Gatherers>,
    reader: Arc<Reader>,
    hub: Arc<Hub>,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

impl Logs {
    /// Logs whose pieces lie in `objects` and whose index is in `store`. Call it within a tokio runtime.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        objects: Arc<dyn ObjectStore>,
        settings: LogSettings,
    ) -> Self {
        let settings = settings.within_bounds();
        let objects = Objects::new(objects);
        let hub = Arc::new(Hub::new(Arc::clone(&store), settings.clone()));
        let index = index::start(Arc::clone(&store));
        Self {
            gatherers: Arc::new(Gatherers::new(
                Arc::clone(&store),
                objects.clone(),
                index,
                Arc::clone(&hub),
                settings,
            )),
            reader: Arc::new(Reader::new(Arc::clone(&store), objects.clone())),
            objects,
            hub,
            store,
        }
    }

    /// Takes records of an attempt; live followers see them at once. Waits for nothing: call it in order, and let the
    /// [`Receipt`] say when to acknowledge.
    ///
    /// # Errors
    /// A batch beyond its bounds; no room now.
    pub fn admit(
        &self,
        from: Sender,
        key: RunKey,
        records: Vec<LogRecord>,
    ) -> Result<Receipt, LogError> {
        self.gatherers.admit(from, key, records)
    }

    /// [`Logs::admit`], then [`Receipt::stored`].
    ///
    /// # Errors
    /// Of both.
    pub async fn append(
        &self,
        from: Sender,
        key: RunKey,
        records: Vec<LogRecord>,
    ) -> Result<u64, LogError> {
        self.admit(from, key, records)?.stored().await
    }

    /// Stores what was admitted of an attempt without waiting for company: before its end is reported.
    ///
    /// # Errors
    /// It could not be stored.
    pub async fn flush(&self, key: RunKey) -> Result<(), LogError> {
        self.gatherers.flush(key).await
    }

    /// Stores what was admitted of every attempt: before the scheduler stops. What fails is the hosts' to repeat.
    pub async fn flush_all(&self) {
        self.gatherers.flush_all().await;
    }

    /// Stored records after one, of one stream or both. May hold fewer than `limit` although there is more.
    ///
    /// # Errors
    /// The index or a piece cannot be read.
    pub async fn page(
        &self,
        run: RunId,
        attempt: Attempt,
        after_id: u64,
        limit: usize,
        stream: Option<LogStream>,
    ) -> Result<LogPage, LogError> {
        let key = RunKey { run, attempt };
        let limit = limit.clamp(1, limits::PAGE_RECORDS_MAX);
        let wanted = read::Wanted {
            after_id,
            records_max: limit,
            bytes_max: limits::PAGE_BYTES_MAX,
            stream,
        };
        self.reader.page(key, wanted).await
    }

    /// Stored records after one, then live ones, also those that another replica takes.
    ///
    /// # Errors
    /// Too many follow already.
    pub fn follow(
        &self,
        run: RunId,
        attempt: Attempt,
        after_id: u64,
    ) -> Result<LogFollower, LogError> {
        let topic = self.hub.subscribe(RunKey { run, attempt })?;
        Ok(LogFollower::new(
            topic,
            Arc::clone(&self.reader),
            after_id,
            self.hub.slow_after(),
        ))
    }

    /// Deletes pieces of ended runs that were indexed before an instant: the objects first, then the index; how
    /// many pieces. Bounded: call it again while it finds some.
    ///
    /// # Errors
    /// Some could not be deleted; what was, is forgotten.
    pub async fn sweep(&self, before_ms: u64) -> Result<usize, LogError> {
        sweep::sweep(&*self.store, &self.objects, before_ms).await
    }
}
