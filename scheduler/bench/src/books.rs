//! The check after every figure: what store, ledger and hosts say must be the same, run by run.

use std::collections::HashSet;

use anyhow::{Context as _, ensure};
use davit_scheduler::store::limits::PAGE_ROWS_MAX;
use davit_scheduler::store::{Cursor, RunFilter, Store};
use davit_types::{RunStatus, Tenant};

use crate::fleet::{Counts, WALL_MS};
use crate::place::PRICE_SECOND_MICROS;

/// What must have become of the runs.
pub(crate) struct Expected {
    /// Accepted by the API.
    pub(crate) runs: usize,
    /// Of these, so many had their end acknowledged; the others are on hosts.
    pub(crate) ended: usize,
    /// Every end has the usual runtime, so the money is known.
    pub(crate) priced: bool,
}

/// Reads all of it.
pub(crate) async fn check(
    store: &dyn Store,
    tenant: &Tenant,
    hosts: Counts,
    expected: &Expected,
) -> anyhow::Result<()> {
    ensure!(
        hosts.doubled == 0,
        "{} runs were begun twice",
        hosts.doubled
    );
    ensure!(
        hosts.unproven == 0,
        "{} runs came to their hosts without their secret",
        hosts.unproven
    );
    ensure!(
        hosts.placed == expected.runs,
        "{} runs were accepted, hosts began {}",
        expected.runs,
        hosts.placed
    );
    ensure!(
        hosts.ended == expected.ended,
        "{} ends were acknowledged, {} were expected",
        hosts.ended,
        expected.ended
    );
    let (live, ended, started) = count_runs(store, tenant).await?;
    ensure!(
        ended == expected.ended && live == expected.runs - expected.ended,
        "the store has {live} live and {ended} ended runs of {}",
        expected.runs
    );
    if expected.priced {
        check_money(store, tenant, expected.ended, started).await?;
    }
    Ok(())
}

/// Live runs, ended ones, and how many of the live have started.
async fn count_runs(store: &dyn Store, tenant: &Tenant) -> anyhow::Result<(usize, usize, usize)> {
    let mut known = HashSet::new();
    let (mut live, mut ended, mut started) = (0, 0, 0);
    let mut before = None;
    loop {
        let filter = RunFilter {
            tenant: Some(tenant.clone()),
            ..RunFilter::default()
        };
        let page = store.runs_page(filter, before, PAGE_ROWS_MAX).await?;
        let Some(last) = page.last() else {
            return Ok((live, ended, started));
        };
        before = Some(last.base.run);
        for view in page {
            let run = view.base.run;
            ensure!(known.insert(run), "run {run} is listed twice");
            match (view.active, view.ended) {
                (Some(row), None) => {
                    ensure!(row.attempt == 1, "run {run} is at attempt {}", row.attempt);
                    live += 1;
                    started += usize::from(row.ever_started);
                }
                (None, Some(end)) => {
                    let well = end.status == RunStatus::Succeeded && end.attempts == 1;
                    ensure!(well, "run {run} ended otherwise: {end:?}");
                    ended += 1;
                }
                (active, ended) => anyhow::bail!("run {run}: {active:?}, {ended:?}"),
            }
        }
    }
}

async fn check_money(
    store: &dyn Store,
    tenant: &Tenant,
    ended: usize,
    started: usize,
) -> anyhow::Result<()> {
    let begun = u64::try_from(ended + started).context("a number of runs")?;
    let ended = u64::try_from(ended).context("a number of runs")?;
    let (mut rows, mut sum_ms) = (0, 0);
    let mut after = Cursor::default();
    loop {
        let page = store.usage_page(Some(tenant.clone()), after, PAGE_ROWS_MAX);
        let page = page.await?;
        if page.rows.is_empty() {
            break;
        }
        after = page.next;
        for row in page.rows {
            rows += 1;
            sum_ms += row.segment.end_ms - row.segment.begin_ms;
        }
    }
    ensure!(rows == ended, "the ledger has {rows} rows for {ended} runs");
    let totals = store.totals(tenant.clone()).await?;
    // Less than a second is billed as one, from the start on.
    let exact = totals.active_ms == ended * WALL_MS
        && sum_ms == totals.active_ms
        && totals.cost_micros == begun * PRICE_SECOND_MICROS;
    ensure!(
        exact,
        "{ended} runs of {WALL_MS} ms, ledger {sum_ms} ms: {totals:?}"
    );
    Ok(())
}
