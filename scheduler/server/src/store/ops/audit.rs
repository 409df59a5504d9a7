//! Who did what: appended with what was done, read in commit order.

use std::sync::LazyLock;

use davit_types::Tenant;

use super::super::error::Failure;
use super::super::model::{AuditEntry, AuditRow, Cursor, Page};
use super::super::tx::{Row, Sql, Tx, values};
use super::{changes, ledger, rows};

/// Writes entries of the transaction under way.
pub(super) async fn append(tx: &mut dyn Tx, entries: Vec<AuditEntry>) -> Result<(), Failure> {
    let values = entries.iter().map(rows::from_audit).collect();
    tx.bulk(&changes::INSERT_AUDIT, values).await.map(drop)
}

static PAGE: LazyLock<[String; 2]> = LazyLock::new(|| {
    let columns = rows::list(rows::AUDIT, "t");
    ledger::in_order("audit", &columns, "($4 IS NULL OR t.tenant = $4)")
});

pub(crate) async fn page(
    tx: &mut dyn Tx,
    tenant: Option<&Tenant>,
    after: Cursor,
    limit: usize,
) -> Result<Page<AuditRow>, Failure> {
    let sql = Sql {
        sqlite: &PAGE[0],
        postgres: &PAGE[1],
    };
    let values = values![after.transaction, after.number, limit, tenant];
    let found = tx.query(sql, values).await?;
    ledger::page(found, after, entry)
}

fn entry(row: Row) -> Result<AuditRow, Failure> {
    let mut c = row.columns();
    Ok(AuditRow {
        tenant: c.opt_text()?.and_then(|text| text.parse().ok()),
        actor: c.text()?,
        action: c.text()?,
        subject: c.text()?,
        detail: c.text()?,
        at_ms: c.u64()?,
    })
}
