//! Reads stored lines. A chunk is fetched and decoded once for all who want it at about the same time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use davit_types::RunKey;
use tokio::sync::Semaphore;

use super::chunk;
use super::error::LogError;
use super::limits::{CACHE_BYTES_MAX, FETCHES_MAX, INDEX_ROWS_MAX, PAGE_CHUNKS_MAX};
use super::objects::Objects;
use super::record::{LogRecord, LogStream, cost_bytes};
use crate::store::{LogChunk, Store};

/// Part of a stored log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// In order.
    pub records: Vec<LogRecord>,
    /// Where the next page begins: after this id, whether or not it is among the records.
    pub after_id: u64,
    /// Whether more may be stored.
    pub more: bool,
}

/// Which lines, and how many at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) after_id: u64,
    pub(super) records_max: usize,
    pub(super) bytes_max: usize,
    pub(super) stream: Option<LogStream>,
}

type Decoded = Arc<Vec<LogRecord>>;

/// Decoded chunks, the latest used last.
#[derive(Default)]
struct Cache {
    chunks: VecDeque<(String, Decoded, usize)>,
    bytes: usize,
}

impl Cache {
    fn find(&mut self, object: &str) -> Option<Decoded> {
        let at = self.chunks.iter().position(|(name, ..)| name == object)?;
        let found = self.chunks.remove(at)?;
        let decoded = Arc::clone(&found.1);
        self.chunks.push_back(found);
        Some(decoded)
    }

    fn keep(&mut self, object: String, decoded: Decoded) {
        let bytes = cost_bytes(&decoded);
        self.bytes += bytes;
        self.chunks.push_back((object, decoded, bytes));
        while self.bytes > CACHE_BYTES_MAX
            && let Some((.., bytes)) = self.chunks.pop_front()
        {
            self.bytes -= bytes;
        }
    }
}

/// Reads for all who read here.
pub(super) struct Reader {
    store: Arc<dyn Store>,
    objects: Objects,
    fetches: Semaphore,
    cache: Mutex<Cache>,
}

impl Reader {
    pub(super) fn new(store: Arc<dyn Store>, objects: Objects) -> Self {
        Self {
            store,
            objects,
            fetches: Semaphore::new(FETCHES_MAX),
            cache: Mutex::default(),
        }
    }

    /// Lines after one. At least one of them, if there is any within [`PAGE_CHUNKS_MAX`] chunks.
    pub(super) async fn page(&self, key: RunKey, wanted: Wanted) -> Result<LogPage, LogError> {
        let mut page = LogPage {
            records: vec![],
            after_id: wanted.after_id,
            more: true,
        };
        let mut bytes = 0;
        let mut chunks_read = 0;
        loop {
            let mut chunks = self
                .store
                .log_chunks(key.run, key.attempt, page.after_id, INDEX_ROWS_MAX)
                .await
                .map_err(|error| LogError::store(key, error))?;
            // The index goes on with the next attempt.
            chunks.retain(|chunk| chunk.key == key);
            if chunks.is_empty() {
                page.more = false;
                return Ok(page);
            }
            for chunk in &chunks {
                let decoded = self.chunk(chunk).await?;
                for record in decoded.iter().filter(|record| record.id > wanted.after_id) {
                    if wanted.stream.is_none_or(|stream| stream == record.stream) {
                        let cost = record.cost_bytes();
                        let fits = page.records.is_empty() || bytes + cost <= wanted.bytes_max;
                        if page.records.len() >= wanted.records_max || !fits {
                            return Ok(page);
                        }
                        bytes += cost;
                        page.records.push(record.detached());
                    }
                    page.after_id = record.id;
                }
                chunks_read += 1;
                if chunks_read >= PAGE_CHUNKS_MAX {
                    return Ok(page);
                }
            }
        }
    }

    fn cached(&self, object: &str) -> Option<Decoded> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.find(object)
    }

    async fn chunk(&self, chunk: &LogChunk) -> Result<Decoded, LogError> {
        if let Some(found) = self.cached(&chunk.object) {
            return Ok(found);
        }
        let permit = self.fetches.acquire().await;
        // Somebody else may have fetched it meanwhile.
        if let Some(found) = self.cached(&chunk.object) {
            return Ok(found);
        }
        let bytes = self.objects.read(&chunk.object).await?;
        let (key, first_id, last_id) = (chunk.key, chunk.first_id, chunk.last_id);
        let decoding =
            tokio::task::spawn_blocking(move || chunk::decode(key, first_id, last_id, &bytes));
        let decoded = decoding.await.map_err(|_| LogError::Stopped { key })?;
        let decoded = decoded.map_err(|problem| LogError::Damaged {
            object: chunk.object.clone(),
            problem,
        })?;
        let decoded = Arc::new(decoded);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.keep(chunk.object.clone(), Arc::clone(&decoded));
        drop(cache);
        drop(permit);
        Ok(decoded)
    }
}
