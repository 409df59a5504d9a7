//! Removing the slots that an executor before this one left: no run's `launch.json` names them.

use std::collections::BTreeSet;
use std::sync::Arc;

use davit_cgroup::Cgroup;
use davit_rundir::{SlotDir, SlotId};
use futures::StreamExt;

use crate::containerd::{ContainerName, Inventory};
use crate::runs::{Host, cleanup, offload, sentence};

/// Slots removed at a time: one that resists must not keep the others.
const REMOVED_AT_ONCE_MAX: usize = 4;

/// Removes every slot in `inventory`, in the slots' directory and among the cgroups but those of
/// `runs` and this executor's own.
pub(crate) async fn sweep(host: Arc<Host>, inventory: Inventory, runs: BTreeSet<ContainerName>) {
    let mut stale: BTreeSet<ContainerName> = on_disk(&host)
        .await
        .into_iter()
        .map(ContainerName::Slot)
        .collect();
    let records = inventory.containers.into_iter().chain(inventory.snapshots);
    stale.extend(records.map(|found| found.name));
    stale.extend(inventory.tasks.into_iter().map(|task| task.name));
    let unowned = |name: &ContainerName| {
        let slot = name.slot().filter(|slot| !host.warm.owns(slot));
        slot.is_some() && !runs.contains(name)
    };
    stale.retain(unowned);
    if stale.is_empty() {
        return;
    }
    tracing::info!(
        slots = stale.len(),
        "removing warm slots of an executor before this one"
    );
    let removals = stale.into_iter().map(|name| {
        let host = &host;
        async move { cleanup::until_done(host, &name).await }
    });
    futures::stream::iter(removals)
        .buffer_unordered(REMOVED_AT_ONCE_MAX)
        .collect::<()>()
        .await;
}

async fn on_disk(host: &Arc<Host>) -> Vec<SlotId> {
    let host = Arc::clone(host);
    offload(move || {
        let directories = SlotDir::list(&host.slots_dir).unwrap_or_else(|error| {
            tracing::warn!(problem = sentence(&error), "cannot look for old slots");
            Vec::new()
        });
        let mut found: Vec<SlotId> = directories.iter().map(|dir| dir.slot().clone()).collect();
        let parent = Cgroup::open(&host.hierarchy, &host.cgroup_parent);
        let names = parent.and_then(|parent| parent.children());
        found.extend(
            names
                .into_iter()
                .flatten()
                .filter_map(|name| name.parse().ok()),
        );
        found
    })
    .await
}
