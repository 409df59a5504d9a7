//! What each container is allotted of the host: ids, and a place in its network.

use super::ServeError;
use crate::containerd::Containerd;
use crate::disk::Disk;
use crate::ids::{Ids, IdsError};
use crate::network::Network;
use crate::runs::sentence;
use crate::settings::{DiskQuotaMode, Settings, UserNamespaceMode};
use crate::shims::Shims;

/// The ids of user namespaces, with a warning where there are none against the operator's will.
pub(super) async fn ids(
    settings: &Settings,
    containerd: &Containerd,
    shims: &Shims,
    warnings: &mut Vec<String>,
) -> Result<Ids, ServeError> {
    let opened = Ids::open(settings, containerd, shims.binary()).await;
    let ids = opened.map_err(|error| match error {
        IdsError::Required(problem) => ServeError::Setting {
            setting: "user_namespaces.mode = \"required\"",
            problem,
        },
        IdsError::Containerd(error) => error.into(),
    })?;
    let wished = settings.user_namespaces.mode == UserNamespaceMode::Off;
    let absent = ids.absent().filter(|_| !wished);
    warnings.extend(absent.map(|why| {
        format!("runs have no user namespaces, root in one is root of the host: {why}")
    }));
    let ranges = settings.user_namespaces.ranges;
    let containers = settings.live_runs_max + settings.warm.slots_max;
    if ids.absent().is_none() && (ranges as usize) < containers {
        warnings.push(format!(
            "user_namespaces.ranges = {ranges} is less than live_runs_max + warm.slots_max = \
             {containers}: of more runs at once than that the last fail to start"
        ));
    }
    Ok(ids)
}

/// What containers may write, with a warning where nothing bounds it against the operator's will.
pub(super) async fn disk(
    settings: &Settings,
    containerd: &Containerd,
    ids: &Ids,
    warnings: &mut Vec<String>,
) -> Result<Disk, ServeError> {
    let opened = Disk::open(settings, containerd, ids.absent()).await;
    let disk = opened.map_err(|problem| ServeError::Setting {
        setting: "disk_quota.mode = \"required\"",
        problem,
    })?;
    let wished = settings.disk_quota.mode == DiskQuotaMode::Off;
    let absent = disk.absent().filter(|_| !wished);
    warnings.extend(absent.map(|why| {
        format!("nothing bounds what a run writes to its disk, it can fill the host's: {why}")
    }));
    if disk.absent().is_none() && ids.absent().is_some() {
        warnings.push(
            "without user namespaces a job that means to can leave its disk quota: it owns its files \
             as the host's root, who may count them as anybody's"
                .to_owned(),
        );
    }
    Ok(disk)
}

/// The network of bridges, which need not be there.
pub(super) async fn network(
    settings: &Settings,
    boot_id: &str,
    containerd: &Containerd,
) -> Result<Network, ServeError> {
    let opened = Network::open(settings, boot_id, containerd).await;
    opened.map_err(|error| ServeError::Setting {
        setting: "network",
        problem: sentence(&error),
    })
}
