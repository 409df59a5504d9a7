//! Logs of attempts: gathered, stored in pieces, read back and followed.

use std::sync::Arc;

use bytes::Bytes;
use davit_types::{Attempt, RunId, RunKey};
use object_store::ObjectStore;

use crate::store::{Refusal, Sender, Store, StoreError};

/// How logs are gathered and followed.
#[derive(Clone, Debug, Default)]
pub struct LogSettings {}

/// Which of the job's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogStream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// One line, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// From 1 within the attempt, without gaps.
    pub id: u64,
    /// When it was read from the job, nanoseconds since 1970.
    pub unix_ns: u64,
    /// Where from.
    pub stream: LogStream,
    /// The line goes on in the next record of this stream.
    pub partial: bool,
    /// davit's own mark: output is missing here.
    pub truncated: bool,
    /// The job wrote `\n` after it.
    pub newline: bool,
    /// The bytes, without the newline.
    pub line: Bytes,
}

/// Part of a stored log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// In order.
    pub records: Vec<LogRecord>,
    /// Where the next page begins: after this id, whether or not it is among the records.
    pub after_id: u64,
    /// Whether more is stored.
    pub more: bool,
}

/// Takes, keeps and gives logs. Cheap to clone.
#[derive(Clone)]
pub struct Logs {
    store: Arc<dyn Store>,
    objects: Arc<dyn ObjectStore>,
}

/// Records that were taken and are not stored yet.
pub struct Receipt {}

impl Receipt {
    /// Waits until they are; the last id that is.
    ///
    /// # Errors
    /// They were not stored: the host repeats them.
    pub async fn stored(self) -> Result<u64, LogError> {
        unimplemented!()
    }
}

impl Logs {
    /// Logs whose pieces lie in `objects` and whose index is in `store`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        objects: Arc<dyn ObjectStore>,
        _settings: LogSettings,
    ) -> Self {
        Self { store, objects }
    }

    /// Takes records of an attempt that follow on; live followers see them at once. Waits for room, not for
    /// the disk: call it in order, and let the [`Receipt`] say when to acknowledge.
    ///
    /// # Errors
    /// A hole before them, or the attempt is not the sender's.
    pub async fn admit(
        &self,
        from: Sender,
        key: RunKey,
        records: Vec<LogRecord>,
    ) -> Result<Receipt, LogError> {
        unimplemented!("{from:?} {key} {records:?} {}", self.objects)
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
        self.admit(from, key, records).await?.stored().await
    }

    /// Stores what was admitted of an attempt without waiting for company: before its end is reported.
    ///
    /// # Errors
    /// It could not be stored.
    pub async fn flush(&self, key: RunKey) -> Result<(), LogError> {
        unimplemented!("{key} {:?}", self.store.hints())
    }

    /// Stored records after one, of one stream or both.
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
        unimplemented!("{run} {attempt} {after_id} {limit} {stream:?}")
    }

    /// Stored records after one, then live ones, also those another replica takes.
    ///
    /// # Errors
    /// Too many follow already.
    pub fn follow(
        &self,
        run: RunId,
        attempt: Attempt,
        after_id: u64,
    ) -> Result<LogFollower, LogError> {
        unimplemented!("{run} {attempt} {after_id}")
    }

    /// Deletes pieces of ended runs that were indexed before an instant; how many.
    ///
    /// # Errors
    /// Some could not be deleted; what was, is forgotten.
    pub async fn sweep(&self, before_ms: u64) -> Result<usize, LogError> {
        unimplemented!("{before_ms}")
    }
}

/// Follows one attempt's log.
pub struct LogFollower {}

impl LogFollower {
    /// The next record; `None` once the attempt is over and everything was given.
    ///
    /// # Errors
    /// The follower was too slow, or the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<LogRecord>, LogError> {
        unimplemented!()
    }
}

/// What can go wrong with logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Records before these are missing.
    #[error("line {expected} of {key} is wanted next, not {given}")]
    Gap {
        /// Whose.
        key: RunKey,
        /// The first of the records.
        given: u64,
        /// What is wanted.
        expected: u64,
    },
    /// The store does not take them from this sender.
    #[error("the log of {key} is not taken")]
    Refused {
        /// Whose.
        key: RunKey,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// The follower read too slowly; it may go on after a line.
    #[error("too slow: go on after line {after_id}")]
    TooSlow {
        /// The last line that was given.
        after_id: u64,
    },
    /// Too many follow.
    #[error("{followers_max} follow logs already")]
    Busy {
        /// The bound.
        followers_max: usize,
    },
    /// The index failed.
    #[error("the index of {key} cannot be used")]
    Store {
        /// Whose.
        key: String,
        /// Why.
        #[source]
        source: StoreError,
    },
}
