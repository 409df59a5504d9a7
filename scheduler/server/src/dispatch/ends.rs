//! What davit itself ends: runs with hosts of tenants that spent what they may, and what is left on a host whose time to
//! drain is over.
//!
//! ```text
//!  store: who is over the cap ──► spent ──► keeper: claims nothing for them, gives back what it has claimed
//!                          └────► their runs with hosts ─┐
//!  store: drains that are due ──► runs left on the host ─┴─► order: end ──► told to hosts by whoever has them
//! ```
//!
//! Every replica does it: what should end is state in the store, and an order that is there already changes nothing.
//! What was assigned meanwhile, by a replica that had not looked yet, is found by the next look. A run that waits costs
//! nothing: it goes on waiting until the cap is raised.
//!
//! Absent on purpose: foresight. A cap is compared with what hosts have reported, so a run may go on for as long as its
//! host takes to report, and for its grace.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use davit_types::{RunId, Tenant};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::DispatchSettings;
use crate::clock::unix_ms;
use crate::store::limits::{BATCH_ITEMS_MAX, PAGE_ROWS_MAX};
use crate::store::{ActiveRun, Cause, Order, Store, StoreError, Want};

/// The runs of a tenant that stays over its cap are looked for again after so long.
const AGAIN_MS: u64 = 10_000;

/// Tenants for which nothing is started.
pub(super) type Spent = Arc<BTreeSet<Tenant>>;

/// Looks for ever.
pub(super) async fn run(
    store: Arc<dyn Store>,
    settings: DispatchSettings,
    spent: watch::Sender<Spent>,
) {
    let mut ticks = tokio::time::interval(Duration::from_millis(settings.survey_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked: HashMap<Tenant, Instant> = HashMap::new();
    loop {
        ticks.tick().await;
        if let Err(error) = look(&*store, &spent, &mut looked).await {
            tracing::warn!(%error, cause = %error.failure, "spend caps are not enforced; trying again");
        }
        if let Err(error) = drain(&*store).await {
            tracing::warn!(%error, cause = %error.failure, "hosts are not drained; trying again");
        }
    }
}

async fn look(
    store: &dyn Store,
    spent: &watch::Sender<Spent>,
    looked: &mut HashMap<Tenant, Instant>,
) -> Result<(), StoreError> {
    let over = over_cap(store).await?;
    spent.send_replace(Arc::new(over.clone()));
    looked.retain(|tenant, _| over.contains(tenant));
    for tenant in over {
        let again = Duration::from_millis(AGAIN_MS);
        if looked.get(&tenant).is_none_or(|at| at.elapsed() >= again) {
            let stopped = stop_all(store, &tenant).await?;
            if stopped > 0 {
                tracing::info!(tenant = tenant.as_str(), stopped, "a spend cap is reached");
            }
            looked.insert(tenant, Instant::now());
        }
    }
    Ok(())
}

async fn over_cap(store: &dyn Store) -> Result<BTreeSet<Tenant>, StoreError> {
    let mut over = BTreeSet::new();
    loop {
        let after = over.last().cloned();
        let page = store.tenants_over_cap(after, PAGE_ROWS_MAX).await?;
        let whole = page.len() == PAGE_ROWS_MAX;
        over.extend(page.into_iter().map(|tenancy| tenancy.tenant));
        if !whole {
            return Ok(over);
        }
    }
}

/// Orders the end of every run of a tenant that has a host; how many had not been told to end.
async fn stop_all(store: &dyn Store, tenant: &Tenant) -> Result<usize, StoreError> {
    let mut after: Option<(Uuid, RunId)> = None;
    let mut count = 0;
    loop {
        let page = store.hosted(tenant.clone(), after, BATCH_ITEMS_MAX).await?;
        let whole = page.len() == BATCH_ITEMS_MAX;
        after = page.last().and_then(|row| Some((row.host?, row.run)));
        count += end(store, &page, Cause::SpendCap).await?;
        if !whole {
            return Ok(count);
        }
    }
}

/// Ends what is left on hosts whose time to drain is over.
async fn drain(store: &dyn Store) -> Result<(), StoreError> {
    for host in store.drains_due(PAGE_ROWS_MAX).await? {
        let held = store.held(host).await?;
        let rows: Vec<ActiveRun> = held.into_iter().map(|held| held.row).collect();
        let mut stopped = 0;
        for batch in rows.chunks(BATCH_ITEMS_MAX) {
            stopped += end(store, batch, Cause::Drained).await?;
        }
        if stopped > 0 {
            tracing::info!(%host, stopped, "the time to drain is over");
        }
    }
    Ok(())
}

/// Orders the end of those that are not to end yet; how many they are.
async fn end(store: &dyn Store, rows: &[ActiveRun], cause: Cause) -> Result<usize, StoreError> {
    let going = rows.iter().filter(|row| row.desired.stop.is_none());
    let orders: Vec<Order> = going
        .map(|row| Order {
            tenant: row.tenant.clone(),
            run: row.run,
            want: Want::End(cause),
            actor: "davit".to_owned(),
            at_ms: unix_ms(),
        })
        .collect();
    let count = orders.len();
    if count > 0 {
        // What ended meanwhile is refused or unchanged: either is fine.
        store.order(orders).await?;
    }
    Ok(count)
}
