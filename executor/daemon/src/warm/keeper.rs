//! The task that makes slots and destroys them.

use std::sync::Arc;
use std::time::Duration;

use davit_rundir::SlotId;
use davit_types::RunKey;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::profile::Profile;
use super::{fill, pressure, slot};
use crate::containerd::ContainerName;
use crate::runs::{Host, cleanup, sentence};

/// Slots destroyed at a time.
const DESTROYED_AT_ONCE_MAX: usize = 2;
/// How long no slot is made after memory ran short, seconds.
const SHORT_SECONDS: u64 = 30;

/// Keeps the pool of `host` filled, until the task is aborted.
pub(crate) async fn keep(host: Arc<Host>) {
    let pool = host.warm.clone();
    if !pool.is_on() {
        return;
    }
    host.containerd.when_known().await;
    let turns = Arc::new(Semaphore::new(DESTROYED_AT_ONCE_MAX));
    let mut tasks = JoinSet::new();
    let pressure = pressure::watch(host.settings.warm.memory_stall_ms);
    let mut short_until = None;
    loop {
        let work = pool.work();
        host.metrics.warm_slots(work.ready, work.making);
        for id in work.destroy {
            tasks.spawn(destroy(Arc::clone(&host), id, Arc::clone(&turns)));
        }
        for profile in work.make {
            tasks.spawn(make(Arc::clone(&host), profile, short_until));
        }
        for (id, key) in work.label {
            tasks.spawn(label(Arc::clone(&host), id, key));
        }
        let again = async {
            match work.again {
                Some(delay) => tokio::time::sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pool.changed() => {}
            Some(_) = tasks.join_next() => {}
            () = again => {}
            () = pressure.notified() => {
                tracing::info!("memory runs short: warm slots are given up for {SHORT_SECONDS} s");
                short_until = Some(tokio::time::Instant::now() + Duration::from_secs(SHORT_SECONDS));
                pool.shrink();
            }
        }
    }
}

async fn make(host: Arc<Host>, profile: Profile, not_before: Option<tokio::time::Instant>) {
    let pool = &host.warm;
    if let Some(instant) = not_before {
        tokio::time::sleep_until(instant).await;
    }
    pool.quiet().await;
    let id = slot::fresh_id();
    if !pool.begin(&profile, &id) {
        return;
    }
    match fill::make(&host, id.clone(), &profile.blueprint).await {
        Ok(line) => pool.shelve(profile.id, id, line),
        Err(error) => {
            cleanup::until_done(&host, &id.into()).await;
            pool.failed(profile.id, &sentence(&error));
        }
    }
}

async fn destroy(host: Arc<Host>, id: SlotId, turns: Arc<Semaphore>) {
    // Never closed.
    let _turn = turns.acquire().await;
    cleanup::until_done(&host, &id.into()).await;
}

/// So that whoever looks into containerd finds the run: nothing here depends on it.
async fn label(host: Arc<Host>, id: SlotId, key: RunKey) {
    host.warm.quiet().await;
    if !host.warm.owns(&id) {
        return;
    }
    let name = ContainerName::Slot(id);
    if let Err(error) = host.containerd.container_given(&name, key).await {
        tracing::warn!(%key, %name, problem = sentence(&error), "cannot label a container with its run");
    }
}
