//! Tenants: whether they may submit, and what they may spend.

use davit_types::Tenant;

use super::{Service, ServiceError, now_ms};
use crate::store::{Tenancy, Totals};

/// A tenant and what it used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its row.
    pub tenancy: Tenancy,
    /// Up to now.
    pub totals: Totals,
}

/// Makes or changes a tenant.
///
/// # Errors
/// The store's.
pub async fn put(
    service: &Service,
    actor: &str,
    tenant: Tenant,
    open: bool,
    spend_cap_micros: Option<u64>,
) -> Result<Account, ServiceError> {
    let at_ms = now_ms();
    let tenancy = Tenancy {
        tenant: tenant.clone(),
        open,
        spend_cap_micros: spend_cap_micros.map(|cap| cap.min(i64::MAX.unsigned_abs())),
        created_ms: at_ms,
    };
    service
        .store
        .put_tenant(tenancy, actor.to_owned(), at_ms)
        .await?;
    show(service, &tenant).await
}

/// One tenant.
///
/// # Errors
/// It is not there; the store's.
pub async fn show(service: &Service, tenant: &Tenant) -> Result<Account, ServiceError> {
    // Pages of tenants begin after a name. There is no last name before this one to begin after that is surely a valid
    // one, so the page begins after its longest proper prefix; what lies between is bounded by the page.
    let mut after = prefix(tenant);
    loop {
        let page = service.store.tenants(after, PAGE_ROWS).await?;
        let last = page.last().map(|tenancy| tenancy.tenant.clone());
        let full = page.len() == PAGE_ROWS;
        if let Some(tenancy) = page.into_iter().find(|found| found.tenant == *tenant) {
            let totals = service.store.totals(tenant.clone()).await?;
            return Ok(Account { tenancy, totals });
        }
        match last {
            Some(last) if full && last < *tenant => after = Some(last),
            _ => return Err(ServiceError::not_found("tenant", tenant.as_str())),
        }
    }
}

/// Tenants of one page of the search above.
const PAGE_ROWS: usize = 100;

/// The name without its last letter: it sorts before the name.
fn prefix(tenant: &Tenant) -> Option<Tenant> {
    let name = tenant.as_str();
    name.get(..name.len().saturating_sub(1))?.parse().ok()
}

/// Tenants by name, after one.
///
/// # Errors
/// The store's.
pub async fn list(
    service: &Service,
    after: Option<Tenant>,
    limit: usize,
) -> Result<Vec<Tenancy>, ServiceError> {
    Ok(service.store.tenants(after, limit).await?)
}
