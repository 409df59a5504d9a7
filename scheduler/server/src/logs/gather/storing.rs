//! Storing a chunk: its object first, then its row in the index. Tried again while there is hope.

use std::sync::Arc;
use std::time::Duration;

use davit_types::RunKey;
use tokio::time::Instant;

use super::Shared;
use crate::clock::unix_ms;
use crate::logs::chunk;
use crate::logs::error::LogError;
use crate::logs::limits::{
    COMPRESS_INLINE_BYTES_MAX, RETRY_PAUSE_MS, RETRY_PAUSE_MS_MAX, STORE_TRY_MS_MAX,
};
use crate::logs::objects;
use crate::logs::record::LogRecord;
use crate::store::{LogChunk, Refusal, Sender, Verdict};

/// Consecutive records that are stored together.
pub(super) struct Piece {
    pub(super) key: RunKey,
    pub(super) from: Sender,
    /// At least one.
    pub(super) records: Vec<LogRecord>,
    pub(super) bytes: usize,
}

impl Piece {
    /// The last line that is indexed then.
    pub(super) async fn store(mut self, shared: Arc<Shared>) -> Result<u64, LogError> {
        let give_up = Instant::now() + Duration::from_millis(STORE_TRY_MS_MAX);
        let mut pause_ms = RETRY_PAUSE_MS;
        let mut stored_id = 0;
        loop {
            let (Some(first), Some(last)) = (self.records.first(), self.records.last()) else {
                return Ok(stored_id);
            };
            let (first_id, last_id) = (first.id, last.id);
            let error = match self.store_once(&shared, first_id, last_id).await {
                Ok(Ok(_)) => return Ok(last_id),
                // Another replica stored the beginning: the host was there for a while.
                Ok(Err(Refusal::LogGap { expected, .. })) if expected > first_id => {
                    self.records.retain(|record| record.id >= expected);
                    stored_id = expected - 1;
                    continue;
                }
                Ok(Err(refusal)) => {
                    let key = self.key;
                    return Err(LogError::Refused { key, refusal });
                }
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
        shared: &Shared,
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
        shared.objects.put(&chunk.object, bytes).await?;
        shared.index.add(self.from, chunk).await
    }

    async fn encode(&mut self, object: &str) -> Result<bytes::Bytes, LogError> {
        let key = self.key;
        let encoded = if self.bytes <= COMPRESS_INLINE_BYTES_MAX {
            chunk::encode(key, &self.records)
        } else {
            let records = std::mem::take(&mut self.records);
            let encoding = tokio::task::spawn_blocking(move || {
                let encoded = chunk::encode(key, &records);
                (records, encoded)
            });
            let (records, encoded) = encoding.await.map_err(|_| LogError::Stopped { key })?;
            self.records = records;
            encoded
        };
        encoded.map_err(|problem| LogError::Damaged {
            object: object.to_owned(),
            problem,
        })
    }
}
