//! Forgetting, in bounded pieces. The ledger is never swept, nor a run whose log is still indexed.

use std::sync::LazyLock;

use super::super::error::Failure;
use super::super::model::{Expired, Retention};
use super::super::tx::{Bulk, Kind, Sql, Tx, values};
use super::profiles;

const OLD_RUNS: Sql = Sql::both(
    "SELECT e.run FROM ended_runs e WHERE e.ended_ms < $1 \
     AND NOT EXISTS (SELECT 1 FROM log_chunks c WHERE c.run = e.run) ORDER BY e.ended_ms LIMIT $2",
);

/// Tables that hold a run, and the column that names it.
const RUN_TABLES: [(&str, &str); 6] = [
    ("attempts", "run"),
    ("ended_runs", "run"),
    ("runs", "run"),
    ("secrets", "owner"),
    ("upload_uses", "run"),
    ("run_extracts", "run"),
];

static FORGET: LazyLock<Vec<Bulk>> = LazyLock::new(|| {
    let forget = |(table, column): &(&str, &str)| {
        Bulk::new(
            &[Kind::Uuid],
            &format!("DELETE FROM {table} WHERE {column} = $1"),
            &format!("DELETE FROM {table} WHERE {column} = ANY($1::uuid[])"),
        )
    };
    RUN_TABLES.iter().map(forget).collect()
});

const OLD_AUDIT: Sql = Sql::both(
    "DELETE FROM audit WHERE number IN ( \
       SELECT number FROM audit WHERE at_ms < $1 ORDER BY at_ms LIMIT $2) RETURNING number",
);

const OLD_KEYS: Sql = Sql::both(
    "DELETE FROM idempotency WHERE (tenant, key) IN ( \
       SELECT tenant, key FROM idempotency WHERE created_ms < $1 ORDER BY created_ms LIMIT $2) \
     RETURNING key",
);

pub(crate) async fn sweep(tx: &mut dyn Tx, keep: &Retention) -> Result<Expired, Failure> {
    let mut runs = Vec::new();
    let old = values![keep.runs_before_ms, keep.rows_max];
    for row in tx.query(OLD_RUNS, old).await? {
        runs.push(values![row.columns().uuid()?]);
    }
    let count = runs.len();
    let writes = FORGET.iter().map(|bulk| (bulk, runs.clone()));
    tx.write_all(writes.collect()).await?;
    let audit = values![keep.audit_before_ms, keep.rows_max];
    let keys = values![keep.keys_before_ms, keep.rows_max];
    Ok(Expired {
        runs: count,
        profiles: profiles::sweep(tx, keep.runs_before_ms, keep.rows_max).await?,
        audit: tx.query(OLD_AUDIT, audit).await?.len(),
        keys: tx.query(OLD_KEYS, keys).await?.len(),
    })
}
