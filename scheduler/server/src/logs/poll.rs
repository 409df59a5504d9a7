//! Looks for what other replicas indexed, and for attempts that are over: one query for a thousand runs.
//!
//! Runs while anybody follows. Polling is the truth; what this replica itself stores is told at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use davit_types::RunId;
use tokio::time::Instant;

use super::hub::{Hub, Topic};
use crate::store::limits::BATCH_ITEMS_MAX;
use crate::store::{ActiveRun, ActiveState, RunView, Stored};

pub(super) async fn run(hub: Arc<Hub>) {
    let period = Duration::from_millis(hub.settings.poll_ms);
    while let Some(topics) = hub.growing() {
        let next = Instant::now() + period;
        for some in topics.chunks(BATCH_ITEMS_MAX) {
            if let Err(error) = look(&hub, some).await {
                tracing::warn!(%error, "cannot see how far followed logs are; trying again");
            }
        }
        // Curiosity shortens a pause; it does not end all pauses.
        let curious = tokio::time::timeout_at(next, hub.curious.notified());
        let rest = if curious.await.is_ok() {
            period / 10
        } else {
            Duration::ZERO
        };
        tokio::time::sleep(rest).await;
    }
}

async fn look(hub: &Hub, topics: &[Arc<Topic>]) -> Stored<()> {
    let mut runs: Vec<RunId> = topics.iter().map(|topic| topic.key.run).collect();
    runs.sort_unstable();
    runs.dedup();
    let found = hub.store.runs(None, runs).await?;
    let found: HashMap<RunId, RunView> = found.into_iter().map(|v| (v.base.run, v)).collect();
    for topic in topics {
        let attempt = topic.key.attempt.number();
        match found.get(&topic.key.run) {
            None => topic.advance(|progress| progress.unknown = true),
            Some(RunView {
                active: Some(row), ..
            }) if row.attempt <= attempt => of_row(topic, row),
            Some(_) => of_past(hub, topic).await?,
        }
    }
    Ok(())
}

/// The attempt is the row's, or has not begun.
fn of_row(topic: &Topic, row: &ActiveRun) {
    if row.attempt < topic.key.attempt.number() {
        return;
    }
    let waits = matches!(row.state, ActiveState::Pending | ActiveState::Claimed);
    topic.advance(|progress| {
        progress.indexed_id = progress.indexed_id.max(row.log_last_id);
        // Back in the queue: this attempt is over, the next one has not begun.
        progress.last_id = waits.then_some(row.log_last_id);
    });
}

async fn of_past(hub: &Hub, topic: &Topic) -> Stored<()> {
    let attempts = hub.store.attempts(topic.key.run).await?;
    let wanted = topic.key.attempt.number();
    let last_id = attempts
        .iter()
        .find(|row| row.attempt == wanted)
        .map_or(0, |row| row.log_last_id);
    topic.advance(|progress| {
        progress.indexed_id = progress.indexed_id.max(last_id);
        progress.last_id = Some(last_id);
    });
    Ok(())
}
