//! The books.

use async_trait::async_trait;
use davit_types::{Attempt, RunId, RunKey, Tenant};

use super::super::Stored;
use super::super::contract::BookStore;
use super::super::model::*;
use super::super::ops::{audit, ledger, retention, tenants};
use super::{Database, Driver, fits_batch, fits_page, keys, run};

#[async_trait]
impl<D: Driver> BookStore for Database<D> {
    async fn usage_page(
        &self,
        tenant: Option<Tenant>,
        after: Cursor,
        limit: usize,
    ) -> Stored<Page<LedgerRow>> {
        let key = tenant
            .as_ref()
            .map_or("every tenant", Tenant::as_str)
            .to_owned();
        fits_page("usage_page", &key, limit)?;
        run!(self.read, "usage_page", key, [tenant, after, limit], |tx| {
            ledger::usage(tx, tenant.as_ref().as_ref(), *after, *limit)
        })
    }

    async fn usage_of_run(
        &self,
        run: RunId,
        after: Option<(Attempt, u32)>,
        limit: usize,
    ) -> Stored<Vec<LedgerRow>> {
        let key = run.to_string();
        fits_page("usage_of_run", &key, limit)?;
        run!(self.read, "usage_of_run", key, [run, after, limit], |tx| {
            ledger::usage_of(tx, *run, *after, *limit)
        })
    }

    async fn usage_before(&self, segments: Vec<(RunKey, u32)>) -> Stored<Vec<UsageBefore>> {
        let key = keys(segments.iter().map(|(key, _)| key));
        fits_batch("usage_before", &key, segments.len())?;
        run!(self.read, "usage_before", key, [segments], |tx| {
            ledger::usage_before(tx, &segments)
        })
    }

    async fn totals(&self, tenant: Tenant) -> Stored<Totals> {
        let key = tenant.as_str().to_owned();
        run!(self.read, "totals", key, [tenant], |tx| ledger::totals(
            tx, &tenant
        ))
    }

    async fn tenants_over_cap(&self, after: Option<Tenant>, limit: usize) -> Stored<Vec<Tenancy>> {
        let key = "every tenant".to_owned();
        fits_page("tenants_over_cap", &key, limit)?;
        run!(self.read, "tenants_over_cap", key, [after, limit], |tx| {
            tenants::over_cap(tx, after.as_ref().as_ref(), *limit)
        })
    }

    async fn audit_page(
        &self,
        tenant: Option<Tenant>,
        after: Cursor,
        limit: usize,
    ) -> Stored<Page<AuditRow>> {
        let key = tenant
            .as_ref()
            .map_or("every tenant", Tenant::as_str)
            .to_owned();
        fits_page("audit_page", &key, limit)?;
        run!(self.read, "audit_page", key, [tenant, after, limit], |tx| {
            audit::page(tx, tenant.as_ref().as_ref(), *after, *limit)
        })
    }

    async fn sweep_retention(&self, keep: Retention) -> Stored<Expired> {
        let key = format!("runs before {}", keep.runs_before_ms);
        fits_batch("sweep_retention", &key, keep.rows_max)?;
        run!(self.write, "sweep_retention", key, [keep], |tx| {
            retention::sweep(tx, &keep)
        })
    }
}
