//! What each container is allotted of the host: ids, and a place in its network.

use super::ServeError;
use crate::containerd::Containerd;
use crate::ids::{Ids, IdsError};
use crate::network::Network;
use crate::runs::sentence;
use crate::settings::{Settings, UserNamespaceMode};
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
