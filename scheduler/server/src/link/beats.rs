//! Heartbeats on their way into the store: gathered for a while, then one statement for all of them.
//!
//! Invariants: a host counts as heard no earlier than it was, so that storing late makes a lease longer, never shorter; where
//! heartbeats cannot be stored for as long as a host may be silent, all sessions end. Otherwise hosts would believe
//! themselves connected while other replicas take them for lost, and give their runs away.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use super::sessions::Sessions;
use crate::store::Store;
use crate::store::limits::BATCH_ITEMS_MAX;

/// Heartbeats are stored this often, milliseconds.
pub(super) const BEAT_PERIOD_MS: u64 = 1_000;

/// Stores heartbeats for ever; sessions that the store does not know any more are ended, and all of them when it has
/// taken nothing for `lost_ms`.
pub(super) async fn run(store: Arc<dyn Store>, sessions: Sessions, lost_ms: u64) {
    let longest = Duration::from_millis(lost_ms);
    let mut stored = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(BEAT_PERIOD_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let beats = sessions.take_beats();
        if beats.is_empty() {
            stored = Instant::now();
        }
        for batch in beats.chunks(BATCH_ITEMS_MAX) {
            let done = timeout_at(stored + longest, store.beat(batch.to_vec())).await;
            match done {
                Ok(Ok(verdicts)) => {
                    stored = Instant::now();
                    for (beat, verdict) in batch.iter().zip(verdicts) {
                        let peer = sessions.at(beat.from);
                        if let (Err(refusal), Some(peer)) = (verdict, peer) {
                            peer.close(&refusal.to_string());
                        }
                    }
                }
                Ok(Err(error)) if stored.elapsed() < longest => {
                    tracing::warn!(%error, cause = %error.failure, "heartbeats were not stored");
                    for beat in batch {
                        sessions.keep(beat);
                    }
                }
                Ok(Err(_)) | Err(_) => {
                    tracing::error!(lost_ms, "no heartbeat could be stored: all sessions end");
                    sessions.close_all("the store cannot be told that it lives");
                    stored = Instant::now();
                    break;
                }
            }
        }
    }
}
