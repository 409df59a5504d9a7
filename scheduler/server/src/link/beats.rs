//! Heartbeats on their way into the store: gathered for a while, then one statement for all of them, then answered.
//!
//! Invariants: nothing is answered before it is stored; a host counts as heard no earlier than it was, so that storing late
//! makes a lease longer, never shorter; where heartbeats cannot be stored for as long as a host may be silent, all sessions
//! end. Otherwise hosts would stay with a replica that can do nothing for them.

use std::sync::Arc;
use std::time::Duration;

use davit_rpc::link as proto;
use davit_rpc::link::scheduler_message::Message;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use super::sessions::{Peer, Sessions};
use crate::store::limits::BATCH_ITEMS_MAX;
use crate::store::{Beat, Store, Verdict};

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
            let rows = batch.iter().map(|(peer, heartbeat)| Beat {
                from: peer.from(),
                body: heartbeat.body.clone(),
            });
            let done = timeout_at(stored + longest, store.beat(rows.collect())).await;
            match done {
                Ok(Ok(verdicts)) => {
                    stored = Instant::now();
                    for ((peer, heartbeat), verdict) in batch.iter().zip(verdicts) {
                        answer(peer, heartbeat.number, verdict);
                    }
                }
                Ok(Err(error)) if stored.elapsed() < longest => {
                    tracing::warn!(%error, cause = %error.failure, "heartbeats were not stored");
                    for (peer, heartbeat) in batch {
                        peer.keep(heartbeat.clone());
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

fn answer(peer: &Peer, number: u64, verdict: Verdict) {
    match verdict {
        Ok(_) => {
            peer.send(Message::HeartbeatAck(proto::HeartbeatAck { number }));
        }
        Err(refusal) => peer.close(&refusal.to_string()),
    }
}
