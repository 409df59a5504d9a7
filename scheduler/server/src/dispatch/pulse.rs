//! The replica's pulse: it says that it lives, and clears up after those that do not.
//!
//! Invariant: what a dead replica claimed waits again; what it assigned stays assigned, because its hosts have it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::DispatchSettings;
use crate::store::Store;

/// Beats and sweeps for ever.
pub(super) async fn run(store: Arc<dyn Store>, settings: DispatchSettings) {
    let mut ticks = tokio::time::interval(Duration::from_millis(settings.pulse_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let beat = store.replica_beat(settings.replica).await;
        if let Err(error) = beat {
            tracing::warn!(%error, cause = %error.failure, "this replica's pulse was not stored");
            continue;
        }
        match store.sweep_replicas(settings.dead_after_ms).await {
            Ok(swept) if swept.replicas.is_empty() => {}
            Ok(swept) => tracing::warn!(
                replicas = swept.replicas.len(),
                claims = swept.runs.len(),
                hosts = swept.hosts.len(),
                "cleared up after dead replicas"
            ),
            Err(error) => {
                tracing::warn!(%error, cause = %error.failure, "dead replicas were not looked for");
            }
        }
    }
}
