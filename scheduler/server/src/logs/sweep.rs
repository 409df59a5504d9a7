//! Retention: objects are deleted, then forgotten. A crash between leaves index rows whose objects are gone;
//! the next sweep finds them and is content.
//!
//! When the last piece of a run is forgotten, whatever else lies under its name goes too: objects of repeats that
//! were never indexed. A run that never had a piece indexed keeps such an object.

use std::collections::BTreeSet;

use super::error::LogError;
use super::limits::SWEEP_CHUNKS_MAX;
use super::objects::Objects;
use crate::store::limits::BATCH_ITEMS_MAX;
use crate::store::{LogChunk, Store};

pub(super) async fn sweep(
    store: &dyn Store,
    objects: &Objects,
    before_ms: u64,
) -> Result<usize, LogError> {
    let failed = |error| LogError::store("-", error);
    let mut total = 0;
    while total < SWEEP_CHUNKS_MAX {
        let expired = store.expired_log_chunks(before_ms, BATCH_ITEMS_MAX).await;
        let expired = expired.map_err(failed)?;
        if expired.is_empty() {
            break;
        }
        let names: Vec<String> = expired.iter().map(|chunk| chunk.object.clone()).collect();
        let gone = objects.delete(&names).await?;
        let (deleted, stuck): (Vec<LogChunk>, Vec<LogChunk>) = expired
            .into_iter()
            .partition(|chunk| gone.contains(&chunk.object));
        total += deleted.len();
        let runs: BTreeSet<_> = deleted.iter().map(|chunk| chunk.key.run).collect();
        store.forget_log_chunks(deleted).await.map_err(failed)?;
        for run in runs {
            let left = store
                .log_chunks(run, davit_types::Attempt::FIRST, 0, 1)
                .await;
            if left.map_err(failed)?.is_empty() {
                objects.delete_run(run).await?;
            }
        }
        if !stuck.is_empty() {
            // They would be found again at once; the next sweep tries them again.
            tracing::warn!(objects = stuck.len(), first = %stuck[0].object, "cannot delete objects of logs");
            break;
        }
    }
    Ok(total)
}
