//! What a run has used: live from the kernel, afterwards from the record.

use std::sync::Arc;

use davit_rundir::{RunDir, Stamp, StateRecord, Traffic};
use davit_types::Usage;

use super::offload::offload;
use super::{Runs, View, elapsed};

impl Runs {
    /// What a run has used so far, or in all once it has ended.
    pub async fn usage(&self, view: &View) -> Option<Usage> {
        if let Some(end) = &view.end {
            return end.started.map(|_| end.usage);
        }
        let shim: Arc<StateRecord> = view.shim.clone()?;
        let host = Arc::clone(&self.host);
        let name = view.container_name();
        let dir = view.dir.clone();
        offload(move || {
            let clock = elapsed(&shim, Stamp::now());
            let figures = host
                .cgroup(&name)
                .ok()
                .flatten()
                .and_then(|cgroup| cgroup.usage().ok());
            let traffic = live_traffic(&dir, &shim);
            Some(Usage {
                wall_ms: clock.wall_ms,
                paused_ms: clock.paused_ms,
                network_received_bytes: traffic.map(|since| since.received_bytes),
                network_sent_bytes: traffic.map(|since| since.sent_bytes),
                ..figures.unwrap_or_default()
            })
        })
        .await
    }
}

/// What went over the link of a live run since its job was let go; blocking.
fn live_traffic(dir: &RunDir, shim: &StateRecord) -> Option<Traffic> {
    let before = shim.network_before?;
    let link = dir.read_launch().ok()??.network?;
    Some(Traffic::read(&link).ok()?.since(before))
}
