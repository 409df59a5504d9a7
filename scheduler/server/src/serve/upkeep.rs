//! Forgetting what is old: logs, runs, uploads, audit entries and idempotency keys. Any number of replicas may do it at once.

use std::sync::Arc;
use std::time::Duration;

use crate::files::Files;
use crate::logs::Logs;
use crate::service::now_ms;
use crate::settings::RetentionSettings;
use crate::store::limits::IDEMPOTENCY_KEEP_MS;
use crate::store::{Retention, Store};

/// How often it is looked for.
const PERIOD_MS: u64 = 60_000;
/// Rows of each kind at a time.
const ROWS_MAX: usize = 1_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

pub(super) async fn run(store: Arc<dyn Store>, logs: Logs, files: Files, keep: RetentionSettings) {
    loop {
        tokio::time::sleep(Duration::from_millis(PERIOD_MS)).await;
        let now_ms = now_ms();
        // Without a limit nothing is from before 1970.
        let before =
            |days: Option<u64>| days.map_or(0, |days| now_ms.saturating_sub(days * DAY_MS));
        // Logs first: a run that is forgotten has none.
        if keep.log_days.is_some() || keep.run_days.is_some() {
            let before_ms = before(keep.log_days).max(before(keep.run_days));
            if let Err(error) = logs.sweep(before_ms).await {
                tracing::warn!(%error, "old logs cannot be deleted; trying again");
                continue;
            }
        }
        let retention = Retention {
            runs_before_ms: before(keep.run_days),
            audit_before_ms: before(keep.audit_days),
            keys_before_ms: now_ms.saturating_sub(IDEMPOTENCY_KEEP_MS),
            rows_max: ROWS_MAX,
        };
        if let Err(error) = store.sweep_retention(retention).await {
            tracing::warn!(%error, "old rows cannot be deleted; trying again");
        }
        // After the runs, which were the last to need some.
        if let Err(error) = files.sweep().await {
            tracing::warn!(%error, "old uploads cannot be deleted; trying again");
        }
    }
}
