//! Making one slot.

use std::sync::Arc;

use davit_cgroup::CgroupError;
use davit_rundir::{FORMAT_VERSION, RunDirError, SlotDir, SlotId, SlotRecord};

use super::profile::Blueprint;
use super::slot::{Line, SlotError};
use crate::containerd::{ContainerName, ContainerSpec, ContainerdError};
use crate::disk::DiskError;
use crate::ids::NoRange;
use crate::network::NetworkError;
use crate::oci::{self, SpecError};
use crate::runs::{Host, offload};

/// Why a slot cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum FillError {
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    SlotDir(#[from] RunDirError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Ids(#[from] NoRange),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// Makes the container `slot` and connects to its shim. What a failure leaves is the caller's to remove.
pub(super) async fn make(
    host: &Arc<Host>,
    slot: SlotId,
    blueprint: &Blueprint,
) -> Result<Line, FillError> {
    let name = ContainerName::Slot(slot.clone());
    let cgroup = host.cgroup_path(&name)?;
    let record = SlotRecord {
        version: FORMAT_VERSION,
        slot,
        cgroup: cgroup.as_str().to_owned(),
        runtime_binary: blueprint.runtime_binary.to_path_buf(),
    };
    let slots_dir = host.slots_dir.clone();
    let dir = offload(move || SlotDir::create(&slots_dir, &record)).await?;
    let text = name.to_string();
    let mut spec = oci::slot_spec(&blueprint.shared, &text, cgroup.as_str(), dir.path());
    let ids = match oci::has_user_namespace(&spec) {
        true => Some(host.ids.allot(&name)?),
        false => None,
    };
    if let Some(ids) = ids {
        oci::give_ids(&mut spec, ids);
    }
    let wanted = oci::network(&spec)?;
    let network = match &wanted {
        Some(wanted) => Some(host.network.allot(&name, wanted, &[]).await?),
        None => None,
    };
    let containerd = &host.containerd;
    let mounts = containerd
        .snapshot_prepare(&name, &blueprint.chain_id)
        .await?;
    if host.disk.absent().is_none() {
        let (host, name, mounts) = (Arc::clone(host), name.clone(), mounts.clone());
        offload(move || host.disk.claim(&name, &mounts)).await?;
    }
    let container = ContainerSpec {
        name: &name,
        image: &blueprint.image,
        image_digest: &blueprint.image_digest,
        spec: &spec,
        runtime: &host.settings.containerd.runtime,
        options: None,
        ids,
        network: network.as_ref(),
        in_sandbox: false,
    };
    let made = host.shims.create(container, mounts).await?;
    if let Some(wanted) = &wanted {
        host.link(&name, made.pid, wanted).await?;
    }
    Ok(Line::connect(&dir.socket_path()).await?)
}
