//! A launch from the pool: nothing is made, and containerd is not asked.
//!
//! The order is what makes a crash harmless: `launch.json` names the slot, durably, before the slot
//! hears of the run. Whoever finds that record and no exit revokes before it launches again.

use davit_rundir::{Assignment, Granted, Stamp};

use super::{LaunchError, Order, Prepared};
use crate::containerd::ContainerName;
use crate::oci::{self, Late};
use crate::runs::cleanup;
use crate::runs::error::sentence;
use crate::runs::offload::offload;
use crate::warm::Profile;

/// What came of it.
pub(super) enum Attempt {
    /// A slot is the run now.
    Given(Prepared),
    /// There is none; the pool knows of the demand.
    NoSlot,
    /// The profile is not known before the container is made, or has no slots.
    Unknown,
}

pub(super) async fn attempt(order: Order<'_>) -> Result<Attempt, LaunchError> {
    let Order { host, dir, .. } = order;
    let run = order.run();
    if !order.may_take_a_slot() {
        return Ok(Attempt::Unknown);
    }
    let user_text = oci::user_text(run, &order.image.config);
    let Some(user) = host.warm.users().find(&order.image.chain_id, user_text) else {
        return Ok(Attempt::Unknown);
    };
    let spec = order.spec(&user, &host.given.complete(run))?;
    let mut security = order.security(&spec);
    let (shared, late) = oci::divide(spec);
    let profile = Profile::new(shared, order.image, order.runtime_binary()?);
    let Some(slot) = host.warm.take(&profile) else {
        return Ok(Attempt::NoSlot);
    };
    let prepared = Stamp::now();
    let name = ContainerName::Slot(slot.id().clone());
    security.ids = host.ids.of(&name);
    let network = host.network.record(&name).await;
    let record = order.launch_record(Some(slot.id().clone()), security, network)?;
    let at = dir.clone();
    offload(move || at.write_launch(&record)).await?;
    let assigned = match super::disk::bound_slot(order, &name) {
        Ok(()) => slot
            .assign(assignment(order, late))
            .await
            .map_err(|error| sentence(&error)),
        Err(error) => Err(sentence(&error)),
    };
    match assigned {
        Ok(()) => {
            slot.become_run(dir.key());
            Ok(Attempt::Given(Prepared {
                name,
                prepared,
                created: Stamp::now(),
            }))
        }
        Err(problem) => {
            tracing::warn!(key = %dir.key(), slot = %name, problem, "a slot did not take a run: making a container for it");
            // Nothing of it may be left when the directory is used for another launch.
            slot.spoil();
            cleanup::until_done(host, &name).await;
            let at = dir.clone();
            offload(move || at.reset()).await?;
            Ok(Attempt::NoSlot)
        }
    }
}

fn assignment(order: Order<'_>, late: Late) -> Assignment {
    let controllers = order.host.controllers;
    Assignment {
        run_dir: order.dir.path().to_owned(),
        args: late.args,
        env: late.env,
        redacted_env: order.host.given.redacted(order.run().key()),
        hostname: late.hostname,
        resources: order.run().instance_type.resources,
        granted: Granted {
            cpu: controllers.cpu,
            memory: controllers.memory,
            pids: controllers.pids,
        },
    }
}
