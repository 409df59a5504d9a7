//! What a run may write to its root file system, bounded before anybody writes there.

use std::sync::Arc;

use super::{LaunchError, Order};
use crate::containerd::{ContainerName, Mount};
use crate::disk::DiskError;
use crate::runs::offload::offload;

/// Bounds the layer that `mounts` write to, if the run has a bound and the host can.
pub(super) async fn bound(
    order: Order<'_>,
    name: &ContainerName,
    mounts: &[Mount],
) -> Result<(), LaunchError> {
    let Some(bytes_max) = order.host.disk.bound_of(order.run()) else {
        return Ok(());
    };
    let (host, name, mounts) = (Arc::clone(order.host), name.clone(), mounts.to_vec());
    offload(move || {
        host.disk.claim(&name, &mounts)?;
        host.disk.bound(&name, bytes_max)
    })
    .await?;
    Ok(())
}

/// Bounds the run in the slot `name`, whose layer was claimed when it was made.
pub(super) fn bound_slot(order: Order<'_>, name: &ContainerName) -> Result<(), DiskError> {
    match order.host.disk.bound_of(order.run()) {
        Some(bytes_max) => order.host.disk.bound(name, bytes_max),
        None => Ok(()),
    }
}

/// Refuses a run whose own files leave it nothing: root, who put them there, is not held to a bound by every file system.
pub(super) async fn check(order: Order<'_>, name: &ContainerName) -> Result<(), LaunchError> {
    if order.host.disk.bound_of(order.run()).is_none() {
        return Ok(());
    }
    let (host, name) = (Arc::clone(order.host), name.clone());
    offload(move || host.disk.has_room(&name)).await?;
    Ok(())
}
