//! Reading the books, in an order that no slower transaction can change behind a reader.

use std::sync::LazyLock;

use davit_types::{Attempt, RunId, RunKey, Tenant, UsageSegment};

use super::super::error::Failure;
use super::super::model::{Cursor, LedgerRow, Page, Totals, UsageBefore};
use super::super::tx::{Bulk, Kind, Row, Sql, Tx, values};
use super::rows;

/// Rows after ($1, $2) of an append-only table, at most $3, in both dialects. PostgreSQL shows only rows
/// of transactions older than every one under way: nothing can be committed before them any more.
pub(super) fn in_order(table: &str, columns: &str, filter: &str) -> [String; 2] {
    let select = |settled: &str, filter: &str| {
        format!(
            "SELECT t.txid, t.number, {columns} FROM {table} t \
             WHERE (t.txid, t.number) > ($1, $2) {settled} AND {filter} \
             ORDER BY t.txid, t.number LIMIT $3"
        )
    };
    let settled = "AND t.txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
    // SQLite's rows all have txid 0: their number alone is the order, and the primary key.
    let sqlite = format!(
        "SELECT 0, t.number, {columns} FROM {table} t WHERE t.number > $2 AND $1 = 0 AND {filter} \
         ORDER BY t.number LIMIT $3"
    );
    [
        sqlite,
        select(settled, &filter.replace("$4 IS", "$4::text IS")),
    ]
}

/// Columns of the cursor, before a row's own.
const CURSOR_COLUMNS: usize = 2;

/// Takes the cursor off each row.
pub(super) fn page<T>(
    found: Vec<Row>,
    after: Cursor,
    row: impl Fn(Row) -> Result<T, Failure>,
) -> Result<Page<T>, Failure> {
    let mut page = Page {
        rows: Vec::with_capacity(found.len()),
        next: after,
    };
    for each in found {
        let (cursor, rest) = each.split(CURSOR_COLUMNS);
        let mut c = cursor.columns();
        page.next = Cursor {
            transaction: c.u64()?,
            number: c.u64()?,
        };
        page.rows.push(row(rest)?);
    }
    Ok(page)
}

static PAGE: LazyLock<[String; 2]> = LazyLock::new(|| {
    let columns = rows::list(rows::SEGMENT, "t");
    in_order("usage_segments", &columns, "($4 IS NULL OR t.tenant = $4)")
});

pub(crate) async fn usage(
    tx: &mut dyn Tx,
    tenant: Option<&Tenant>,
    after: Cursor,
    limit: usize,
) -> Result<Page<LedgerRow>, Failure> {
    let sql = Sql {
        sqlite: &PAGE[0],
        postgres: &PAGE[1],
    };
    let values = values![after.transaction, after.number, limit, tenant];
    let found = tx.query(sql, values).await?;
    page(found, after, segment)
}

static OF_RUN: LazyLock<String> = LazyLock::new(|| {
    let columns = rows::list(rows::SEGMENT, "t");
    format!(
        "SELECT {columns} FROM usage_segments t WHERE t.run = $1 \
         AND (t.attempt, t.sequence) > ($2, $3) ORDER BY t.attempt, t.sequence LIMIT $4"
    )
});

/// Segments of one run, after a segment of one of its attempts.
pub(crate) async fn usage_of(
    tx: &mut dyn Tx,
    run: RunId,
    after: Option<(Attempt, u32)>,
    limit: usize,
) -> Result<Vec<LedgerRow>, Failure> {
    let (attempt, sequence) = after.map_or((0, 0), |(attempt, n)| (attempt.number(), n));
    let values = values![run, attempt, sequence, limit];
    let found = tx.query(Sql::both(&OF_RUN), values).await?;
    found.into_iter().map(segment).collect()
}

static BEFORE: LazyLock<Bulk> = LazyLock::new(|| {
    let sums = "CAST(COUNT(t.number) AS BIGINT), \
                CAST(COALESCE(SUM(CASE WHEN t.paused = 0 THEN t.end_ms - t.begin_ms END), 0) AS BIGINT)";
    Bulk::new(
        &[Kind::Uuid, Kind::Int, Kind::Int],
        &format!(
            "SELECT $1, $2, $3, {sums} FROM usage_segments t \
             WHERE t.run = $1 AND (t.attempt, t.sequence) < ($2, $3)"
        ),
        &format!(
            "SELECT u.run, u.attempt, u.sequence, {sums} \
             FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS u(run, attempt, sequence) \
             LEFT JOIN usage_segments t ON t.run = u.run \
             AND (t.attempt, t.sequence) < (u.attempt, u.sequence) \
             GROUP BY u.run, u.attempt, u.sequence"
        ),
    )
});

/// What comes before segments, in any order.
pub(crate) async fn usage_before(
    tx: &mut dyn Tx,
    segments: &[(RunKey, u32)],
) -> Result<Vec<UsageBefore>, Failure> {
    let keys = segments
        .iter()
        .map(|(key, sequence)| values![key.run, key.attempt.number(), *sequence]);
    let keys = keys.collect();
    let found = tx.bulk(&BEFORE, keys).await?;
    let before = found.into_iter().map(|row| {
        let mut c = row.columns();
        let run = c.run()?;
        Ok(UsageBefore {
            key: RunKey {
                run,
                attempt: attempt(c.number()?)?,
            },
            sequence: c.number()?,
            segments: c.u64()?,
            active_ms: c.u64()?,
        })
    });
    before.collect()
}

fn attempt(number: u32) -> Result<Attempt, Failure> {
    Attempt::new(number).ok_or(Failure::Corrupt {
        column: 3,
        wanted: "an attempt from 1",
        found: number.to_string(),
    })
}

fn segment(row: Row) -> Result<LedgerRow, Failure> {
    let mut c = row.columns();
    let id = c.uuid()?;
    let run = c.run()?;
    let attempt = attempt(c.number()?)?;
    Ok(LedgerRow {
        segment: UsageSegment {
            id,
            key: RunKey { run, attempt },
            sequence: c.number()?,
            begin_ms: c.u64()?,
            end_ms: c.u64()?,
            paused: c.flag()?,
        },
        tenant: c.tenant()?,
        runner: c.opt_uuid()?,
        region: c.text()?,
        instance_type: c.text()?,
        price_second_micros: c.u64()?,
        host: c.uuid()?,
        at_ms: c.u64()?,
    })
}

const TOTALS: Sql = Sql::both(
    "SELECT CAST(COALESCE(SUM(active_ms), 0) AS BIGINT), CAST(COALESCE(SUM(cost_micros), 0) AS BIGINT) \
     FROM tenant_totals WHERE tenant = $1",
);

pub(crate) async fn totals(tx: &mut dyn Tx, tenant: &Tenant) -> Result<Totals, Failure> {
    let found = tx.query(TOTALS, values![tenant]).await?;
    let Some(row) = found.into_iter().next() else {
        return Ok(Totals::default());
    };
    let mut c = row.columns();
    Ok(Totals {
        active_ms: c.u64()?,
        cost_micros: c.u64()?,
    })
}
