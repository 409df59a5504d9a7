//! What followers of this replica share: one topic for each followed attempt.
//!
//! Publishing costs one look-up where nobody follows. Followers pull: a topic holds the latest lines once, whoever
//! is behind them reads what is stored.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use davit_types::RunKey;
use tokio::sync::{Notify, watch};

use super::error::LogError;
use super::limits::{FOLLOWER_BYTES_MAX, FOLLOWER_RECORDS_MAX, TOPIC_BYTES_MAX};
use super::poll;
use super::record::LogRecord;
use super::settings::LogSettings;
use crate::store::Store;

/// How far a followed log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The last line that a gatherer here took.
    pub(super) live_id: u64,
    /// The last line known to be indexed.
    pub(super) indexed_id: u64,
    /// The last line there will ever be, once the attempt is over.
    pub(super) last_id: Option<u64>,
    /// The store knows no such run.
    pub(super) unknown: bool,
}

/// A followed attempt.
pub(super) struct Topic {
    pub(super) key: RunKey,
    progress: watch::Sender<Progress>,
    latest: Mutex<Latest>,
}

/// The latest lines: consecutive, bounded.
#[derive(Default)]
struct Latest {
    records: VecDeque<LogRecord>,
    bytes: usize,
}

impl Topic {
    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(super) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Tells followers, if it is news.
    pub(super) fn advance(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_if_modified(|progress| {
            let before = *progress;
            change(progress);
            *progress != before
        });
    }

    fn publish(&self, records: &[LogRecord]) {
        let mut latest = self.latest();
        for record in records {
            match latest.records.back().map(|last| last.id) {
                Some(last_id) if record.id <= last_id => continue,
                // What lies between was never taken here: followers read it once it is indexed.
                Some(last_id) if record.id > last_id + 1 => *latest = Latest::default(),
                _ => {}
            }
            latest.bytes += record.cost_bytes();
            latest.records.push_back(record.detached());
        }
        while latest.bytes > TOPIC_BYTES_MAX
            && let Some(oldest) = latest.records.pop_front()
        {
            latest.bytes -= oldest.cost_bytes();
        }
        let live_id = latest.records.back().map_or(0, |last| last.id);
        drop(latest);
        self.advance(|progress| progress.live_id = progress.live_id.max(live_id));
    }

    /// The lines that follow on one, as far as they are among the latest and a follower may hold them.
    pub(super) fn after(&self, after_id: u64) -> VecDeque<LogRecord> {
        let latest = self.latest();
        let Some(first_id) = latest.records.front().map(|first| first.id) else {
            return VecDeque::new();
        };
        let Some(skip) = (after_id + 1).checked_sub(first_id) else {
            return VecDeque::new();
        };
        let mut bytes = 0;
        let few = latest
            .records
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX));
        few.take(FOLLOWER_RECORDS_MAX)
            .take_while(|record| {
                let fits = bytes == 0 || bytes + record.cost_bytes() <= FOLLOWER_BYTES_MAX;
                bytes += record.cost_bytes();
                fits
            })
            .cloned()
            .collect()
    }
}

#[derive(Default)]
struct Topics {
    /// With how many follow each.
    of: HashMap<RunKey, (Arc<Topic>, usize)>,
    followers: usize,
    is_polling: bool,
}

/// All topics.
pub(super) struct Hub {
    pub(super) store: Arc<dyn Store>,
    pub(super) settings: LogSettings,
    /// Somebody new wants to know how far his log is.
    pub(super) curious: Notify,
    topics: Mutex<Topics>,
}

impl Hub {
    pub(super) fn new(store: Arc<dyn Store>, settings: LogSettings) -> Self {
        Self {
            store,
            settings,
            curious: Notify::new(),
            topics: Mutex::default(),
        }
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: RunKey) -> Option<Arc<Topic>> {
        self.topics()
            .of
            .get(&key)
            .map(|(topic, _)| Arc::clone(topic))
    }

    pub(super) fn slow_after(&self) -> Duration {
        Duration::from_millis(self.settings.slow_ms_max)
    }

    /// Shows lines to those who follow.
    pub(super) fn publish(&self, key: RunKey, records: &[LogRecord]) {
        if let Some(topic) = self.find(key) {
            topic.publish(records);
        }
    }

    /// Lines up to this one can be read.
    pub(super) fn indexed(&self, key: RunKey, indexed_id: u64) {
        if let Some(topic) = self.find(key) {
            topic.advance(|progress| progress.indexed_id = progress.indexed_id.max(indexed_id));
        }
    }

    /// Begins to follow.
    pub(super) fn subscribe(self: &Arc<Self>, key: RunKey) -> Result<Subscription, LogError> {
        let mut topics = self.topics();
        let max = self.settings.followers_max;
        if topics.followers >= max {
            return Err(LogError::Busy {
                what: "followers of logs",
                max,
            });
        }
        topics.followers += 1;
        let (topic, followers) = topics.of.entry(key).or_insert_with(|| {
            let topic = Topic {
                key,
                progress: watch::Sender::new(Progress::default()),
                latest: Mutex::default(),
            };
            (Arc::new(topic), 0)
        });
        *followers += 1;
        let topic = Arc::clone(topic);
        if !topics.is_polling {
            topics.is_polling = true;
            tokio::spawn(poll::run(Arc::clone(self)));
        }
        drop(topics);
        self.curious.notify_one();
        Ok(Subscription {
            hub: Arc::clone(self),
            topic,
        })
    }

    /// Topics that may still grow; `None`: nobody follows, the poller ends.
    pub(super) fn growing(&self) -> Option<Vec<Arc<Topic>>> {
        let mut topics = self.topics();
        if topics.of.is_empty() {
            topics.is_polling = false;
            return None;
        }
        let all = topics.of.values().map(|(topic, _)| topic);
        let growing = all.filter(|topic| topic.progress().last_id.is_none());
        Some(growing.cloned().collect())
    }
}

/// A follower's place in a topic, given up when dropped.
pub(super) struct Subscription {
    hub: Arc<Hub>,
    pub(super) topic: Arc<Topic>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut topics = self.hub.topics();
        topics.followers -= 1;
        if let Some((_, followers)) = topics.of.get_mut(&self.topic.key) {
            *followers -= 1;
            if *followers == 0 {
                topics.of.remove(&self.topic.key);
            }
        }
    }
}
