//! Tenants: whether they may submit, and whether they have spent what they may.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use davit_types::Tenant;

use super::super::error::Failure;
use super::super::model::{AuditEntry, Refusal, Tenancy};
use super::super::tx::{Bulk, Kind, Row, Sql, Tx, values};
use super::audit;

/// What decides whether a tenant may submit.
pub(super) struct Standing {
    open: bool,
    cap_micros: Option<u64>,
    spent_micros: u64,
}

impl Standing {
    pub(super) fn may_submit(&self, tenant: &Tenant) -> Result<(), Refusal> {
        if !self.open {
            return Err(Refusal::TenantClosed {
                tenant: tenant.clone(),
            });
        }
        match self.cap_micros {
            Some(cap_micros) if self.spent_micros >= cap_micros => Err(Refusal::SpendCap {
                spent_micros: self.spent_micros,
                cap_micros,
            }),
            _ => Ok(()),
        }
    }
}

static STANDING: LazyLock<Bulk> = LazyLock::new(|| {
    let select = "SELECT t.tenant, t.open, t.spend_cap_micros, CAST(COALESCE( \
                  (SELECT SUM(s.cost_micros) FROM tenant_totals s WHERE s.tenant = t.tenant), 0) \
                  AS BIGINT) FROM tenants t WHERE t.tenant";
    Bulk::new(
        &[Kind::Text],
        &format!("{select} = $1"),
        &format!("{select} = ANY($1::text[])"),
    )
});

pub(super) async fn standing(
    tx: &mut dyn Tx,
    tenants: impl Iterator<Item = &Tenant>,
) -> Result<HashMap<Tenant, Standing>, Failure> {
    let tenants: BTreeSet<&Tenant> = tenants.collect();
    let keys = tenants.into_iter().map(|tenant| values![tenant]).collect();
    let mut found = HashMap::new();
    for row in tx.bulk(&STANDING, keys).await? {
        let mut c = row.columns();
        let tenant = c.tenant()?;
        let standing = Standing {
            open: c.flag()?,
            cap_micros: c.opt_u64()?,
            spent_micros: c.u64()?,
        };
        found.insert(tenant, standing);
    }
    Ok(found)
}

const PUT: Sql = Sql::both(
    "INSERT INTO tenants (tenant, open, spend_cap_micros, created_ms) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (tenant) DO UPDATE SET open = excluded.open, \
     spend_cap_micros = excluded.spend_cap_micros",
);

pub(crate) async fn put(
    tx: &mut dyn Tx,
    tenancy: &Tenancy,
    actor: &str,
    at_ms: u64,
) -> Result<(), Failure> {
    let values = values![
        &tenancy.tenant,
        tenancy.open,
        tenancy.spend_cap_micros,
        tenancy.created_ms,
    ];
    tx.query(PUT, values).await?;
    let entry = AuditEntry {
        tenant: Some(tenancy.tenant.clone()),
        actor: actor.to_owned(),
        action: "tenant.set",
        subject: tenancy.tenant.as_str().to_owned(),
        detail: format!("open {}, cap {:?}", tenancy.open, tenancy.spend_cap_micros),
        at_ms,
    };
    audit::append(tx, vec![entry]).await
}

const LIST: Sql = Sql::both(
    "SELECT tenant, open, spend_cap_micros, created_ms FROM tenants \
     WHERE tenant > $1 ORDER BY tenant LIMIT $2",
);

/// Tenants by name, after one.
pub(crate) async fn list(
    tx: &mut dyn Tx,
    after: Option<&Tenant>,
    limit: usize,
) -> Result<Vec<Tenancy>, Failure> {
    let after = after.map_or("", Tenant::as_str);
    let found = tx.query(LIST, values![after, limit]).await?;
    found.into_iter().map(tenancy).collect()
}

const OVER_CAP: Sql = Sql::both(
    "SELECT t.tenant, t.open, t.spend_cap_micros, t.created_ms FROM tenants t \
     WHERE t.tenant > $1 AND t.spend_cap_micros IS NOT NULL AND t.spend_cap_micros <= \
       COALESCE((SELECT SUM(s.cost_micros) FROM tenant_totals s WHERE s.tenant = t.tenant), 0) \
     ORDER BY t.tenant LIMIT $2",
);

/// Tenants that have spent what they may, by name, after one.
pub(crate) async fn over_cap(
    tx: &mut dyn Tx,
    after: Option<&Tenant>,
    limit: usize,
) -> Result<Vec<Tenancy>, Failure> {
    let after = after.map_or("", Tenant::as_str);
    let found = tx.query(OVER_CAP, values![after, limit]).await?;
    found.into_iter().map(tenancy).collect()
}

fn tenancy(row: Row) -> Result<Tenancy, Failure> {
    let mut c = row.columns();
    Ok(Tenancy {
        tenant: c.tenant()?,
        open: c.flag()?,
        spend_cap_micros: c.opt_u64()?,
        created_ms: c.u64()?,
    })
}
