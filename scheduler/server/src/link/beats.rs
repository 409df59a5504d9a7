//! Heartbeats on their way into the store: gathered for a while, then one statement for all of them.
//!
//! Invariant: a host counts as heard no earlier than it was: storing late only makes a lease longer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::sessions::Sessions;
use crate::store::Store;
use crate::store::limits::BATCH_ITEMS_MAX;

/// Heartbeats are stored this often, milliseconds.
pub(super) const BEAT_PERIOD_MS: u64 = 1_000;

/// Stores heartbeats for ever; sessions that the store does not know any more are ended.
pub(super) async fn run(store: Arc<dyn Store>, sessions: Sessions) {
    let mut ticks = tokio::time::interval(Duration::from_millis(BEAT_PERIOD_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let beats = sessions.take_beats();
        for batch in beats.chunks(BATCH_ITEMS_MAX) {
            match store.beat(batch.to_vec()).await {
                Ok(verdicts) => {
                    for (beat, verdict) in batch.iter().zip(verdicts) {
                        let peer = sessions.at(beat.from);
                        if let (Err(refusal), Some(peer)) = (verdict, peer) {
                            peer.close(&refusal.to_string());
                        }
                    }
                }
                // The next heartbeat says the same.
                Err(error) => {
                    tracing::warn!(%error, cause = %error.failure, "heartbeats were not stored");
                }
            }
        }
    }
}
