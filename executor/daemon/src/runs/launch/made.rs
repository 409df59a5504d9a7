//! A launch by containerd: root file system, record and task are made for the run.

use std::sync::Arc;

use davit_rundir::NetworkRecord;
use davit_types::{IdRange, NetworkMode};
use oci_spec::runtime::Spec;

use super::give::Offer;
use super::{LaunchError, Order, Prepared};
use crate::containerd::{ContainerName, ContainerSpec, Mount};
use crate::files::intake::Upload;
use crate::network::Wanted;
use crate::oci;
use crate::runs::offload::offload;
use crate::warm::Profile;

/// `counted` says that the pool knows of this demand already.
pub(super) async fn prepare(
    order: Order<'_>,
    counted: bool,
    files: &mut Option<Upload>,
) -> Result<Prepared, LaunchError> {
    let Order {
        host, dir, image, ..
    } = order;
    let secrets = order.secrets()?;
    let name = ContainerName::Run(dir.key());
    let containerd = &host.containerd;
    let ids = match host.ids.absent_for(order.run().runtime) {
        None => Some(host.ids.allot(&name)?),
        Some(_) => None,
    };
    let run = order.run();
    let wanted = (run.network == NetworkMode::Bridge).then(|| Wanted::of(run));
    let network = match &wanted {
        Some(wanted) => Some(host.network.allot(&name, wanted, &run.publish).await?),
        None => None,
    };
    let mounts = containerd.snapshot_prepare(&name, &image.chain_id).await?;
    super::disk::bound(order, &name, &mounts).await?;
    if run.files_in {
        super::files::take(order, mounts.clone(), files).await?;
        super::disk::check(order, &name).await?;
    }
    let record = host.network.record(&name).await;
    let described = Described {
        ids,
        network: record,
        counted,
        awaits_secrets: secrets.is_some(),
    };
    let spec = describe(order, mounts.clone(), described).await?;
    let container = ContainerSpec {
        name: &name,
        image: &image.name,
        image_digest: &image.digest,
        spec: &spec,
        runtime: &host.settings.containerd.runtime,
        options: None,
        ids,
        network: network.as_ref(),
        in_sandbox: false,
    };
    let offer = match &secrets {
        Some(secrets) => Some(Offer::make(dir, secrets)?),
        None => None,
    };
    let made = host.shims.create(container, mounts).await?;
    if let Some(offer) = offer {
        offer.was_taken()?;
    }
    if let Some(wanted) = &wanted {
        host.link(&name, made.pid, wanted).await?;
    }
    Ok(Prepared {
        name,
        prepared: made.prepared,
        created: made.created,
    })
}

/// What a container is given beside what its run says.
struct Described {
    ids: Option<IdRange>,
    network: Option<NetworkRecord>,
    /// The pool knows of this demand already.
    counted: bool,
    awaits_secrets: bool,
}

/// The OCI spec for containerd and `launch.json` for the shim.
async fn describe(
    order: Order<'_>,
    mounts: Vec<Mount>,
    described: Described,
) -> Result<Spec, LaunchError> {
    let (host, dir) = (Arc::clone(order.host), order.dir.clone());
    let (record, image) = (Arc::clone(order.spec), order.image.clone());
    offload(move || {
        let order = Order {
            host: &host,
            dir: &dir,
            spec: &record,
            image: &image,
        };
        let text = oci::user_text(order.run(), &image.config);
        let user = host.warm.users().resolve(&image.chain_id, text, &mounts)?;
        // containerd keeps it on its disk: without values.
        let mut spec = order.spec(&user, order.run())?;
        if !described.counted && order.may_take_a_slot() {
            let (shared, _) = oci::divide(spec.clone());
            let profile = Profile::new(shared, &image, order.runtime_binary()?);
            host.warm.missed(&profile);
        }
        if described.awaits_secrets {
            oci::await_secrets(&mut spec);
        }
        if let Some(ids) = described.ids {
            oci::give_ids(&mut spec, ids);
        }
        dir.write_launch(&order.launch_record(None, order.security(&spec), described.network)?)?;
        Ok(spec)
    })
    .await
}
