//! One follower: the latest lines if it keeps up, stored ones if it does not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::error::LogError;
use super::hub::{Progress, Subscription};
use super::limits::{FOLLOWER_BYTES_MAX, FOLLOWER_RECORDS_MAX};
use super::read::{Reader, Wanted};
use super::record::LogRecord;

/// Follows one attempt's log. It pulls: nothing waits for it but a bounded piece.
pub struct LogFollower {
    subscription: Subscription,
    progress: watch::Receiver<Progress>,
    reader: Arc<Reader>,
    after_id: u64,
    ready: VecDeque<LogRecord>,
    slow_after: Duration,
    /// When it was given the last line.
    given: Instant,
}

impl std::fmt::Debug for LogFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogFollower")
            .field("key", &self.subscription.topic.key)
            .field("after_id", &self.after_id)
            .finish_non_exhaustive()
    }
}

impl LogFollower {
    pub(super) fn new(
        subscription: Subscription,
        reader: Arc<Reader>,
        after_id: u64,
        slow_after: Duration,
    ) -> Self {
        Self {
            progress: subscription.topic.watch(),
            subscription,
            reader,
            after_id,
            ready: VecDeque::new(),
            slow_after,
            given: Instant::now(),
        }
    }

    /// The next record; `None` once the attempt is over and everything was given. May be dropped and called
    /// again without losing a line.
    ///
    /// # Errors
    /// The follower left lines lying for too long, there is no such run, or the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<LogRecord>, LogError> {
        if !self.ready.is_empty() && self.given.elapsed() > self.slow_after {
            return Err(LogError::TooSlow {
                after_id: self.after_id,
            });
        }
        loop {
            if let Some(record) = self.at_hand() {
                return Ok(Some(record));
            }
            let progress = *self.progress.borrow_and_update();
            self.ready = self.subscription.topic.after(self.after_id);
            if !self.ready.is_empty() {
                continue;
            }
            if progress.indexed_id > self.after_id {
                self.read(progress.indexed_id).await?;
                continue;
            }
            if progress.unknown {
                let key = self.subscription.topic.key;
                return Err(LogError::Unknown { key });
            }
            if progress
                .last_id
                .is_some_and(|last_id| last_id <= self.after_id)
            {
                return Ok(None);
            }
            if self.progress.changed().await.is_err() {
                // The topic lives as long as its subscriptions: this one.
                return Ok(None);
            }
        }
    }

    /// The next record, if it need not be waited for or read.
    pub fn at_hand(&mut self) -> Option<LogRecord> {
        let record = self.ready.pop_front()?;
        self.after_id = record.id;
        self.given = Instant::now();
        Some(record)
    }

    /// Reads a piece of what is stored.
    async fn read(&mut self, indexed_id: u64) -> Result<(), LogError> {
        let wanted = Wanted {
            after_id: self.after_id,
            records_max: FOLLOWER_RECORDS_MAX,
            bytes_max: FOLLOWER_BYTES_MAX,
            stream: None,
        };
        let page = self
            .reader
            .page(self.subscription.topic.key, wanted)
            .await?;
        if page.records.is_empty() {
            // Indexed once and not any more: retention took it.
            self.after_id = indexed_id;
        }
        self.ready = page.records.into();
        Ok(())
    }
}
