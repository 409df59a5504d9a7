//! Runs as readers see them: one statement a page, so every page is one moment.

use std::sync::LazyLock;

use davit_types::{RunId, Tenant};
use uuid::Uuid;

use super::super::error::Failure;
use super::super::model::{AttemptRow, RunFilter, RunView};
use super::super::tx::{Bulk, Kind, Row, Sql, Tx, values};
use super::rows;

fn select() -> String {
    format!(
        "SELECT {}, {}, {} FROM runs r LEFT JOIN active_runs a ON a.run = r.run \
         LEFT JOIN ended_runs e ON e.run = r.run",
        rows::list(rows::BASE, "r"),
        rows::list(rows::ACTIVE, "a"),
        rows::list(rows::ENDED, "e"),
    )
}

fn view(row: Row) -> Result<RunView, Failure> {
    let (base, rest) = row.split(rows::BASE.len());
    let (active, ended) = rest.split(rows::ACTIVE.len());
    let active = (!active.is_absent()).then(|| rows::active(active));
    let ended = (!ended.is_absent()).then(|| rows::ended(ended));
    Ok(RunView {
        base: rows::base(base)?,
        active: active.transpose()?,
        ended: ended.transpose()?,
    })
}

static BY_ID: LazyLock<Bulk> = LazyLock::new(|| {
    let select = select();
    Bulk::new(
        &[Kind::Uuid],
        &format!("{select} WHERE r.run = $1"),
        &format!("{select} WHERE r.run = ANY($1::uuid[])"),
    )
});

/// These runs, as far as they exist and are the tenant's; operators name none.
pub(crate) async fn runs(
    tx: &mut dyn Tx,
    tenant: Option<&Tenant>,
    runs: &[RunId],
) -> Result<Vec<RunView>, Failure> {
    let keys = runs.iter().map(|run| values![*run]).collect();
    let found = tx.bulk(&BY_ID, keys).await?;
    let views: Result<Vec<_>, _> = found.into_iter().map(view).collect();
    let mut views = views?;
    views.retain(|view| tenant.is_none_or(|tenant| view.base.tenant == *tenant));
    Ok(views)
}

/// The page's statement for each way to begin: everything, a tenant, a runner of a tenant.
static PAGES: LazyLock<[String; 3]> = LazyLock::new(|| {
    let page = |who: &str| {
        format!(
            "{} WHERE r.run < $1 AND {who} AND ($3 = '' OR $3 = COALESCE(e.status, \
             CASE WHEN a.state >= 4 THEN 'running' ELSE 'pending' END)) \
             ORDER BY r.run DESC LIMIT $2",
            select()
        )
    };
    [
        page("TRUE"),
        page("r.tenant = $4"),
        page("($4 = '' OR r.tenant = $4) AND r.runner = $5"),
    ]
});

/// Runs before one, newest first.
pub(crate) async fn page(
    tx: &mut dyn Tx,
    filter: &RunFilter,
    before: Option<RunId>,
    limit: usize,
) -> Result<Vec<RunView>, Failure> {
    let which = match (&filter.tenant, filter.runner) {
        (_, Some(_)) => 2,
        (Some(_), None) => 1,
        (None, None) => 0,
    };
    let before = before.map_or(Uuid::max(), |run| *run.as_uuid());
    let mut values = values![
        before,
        limit,
        filter.status.map_or("", |status| status.as_str()),
        filter.tenant.as_ref().map_or("", Tenant::as_str),
        filter.runner.unwrap_or(Uuid::nil()),
    ];
    values.truncate(3 + which);
    let found = tx.query(Sql::both(&PAGES[which]), values).await?;
    found.into_iter().map(view).collect()
}

static ATTEMPTS: LazyLock<String> = LazyLock::new(|| {
    let columns = rows::list(rows::ATTEMPT, "t");
    format!("SELECT {columns} FROM attempts t WHERE t.run = $1 ORDER BY t.attempt LIMIT $2")
});

/// The attempts of a run that are over, first to last.
pub(crate) async fn attempts(
    tx: &mut dyn Tx,
    run: RunId,
    limit: usize,
) -> Result<Vec<AttemptRow>, Failure> {
    let found = tx.query(Sql::both(&ATTEMPTS), values![run, limit]).await?;
    found.into_iter().map(rows::attempt).collect()
}
