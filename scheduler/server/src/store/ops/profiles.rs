//! What attempts are locked in with: documents by their content, a row each day on which an attempt with them started.
//!
//! Invariant: a row, once there, is never written again, so no two transactions wait for each other over it.

use std::sync::LazyLock;

use uuid::Uuid;

use super::super::error::Failure;
use super::super::model::{ActiveRun, Profile};
use super::super::tx::{Bulk, Kind, Sql, Tx, Value, values};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// An attempt ends so much later than it starts, at most: a day of work, and pauses.
const LIFE_DAYS_MAX: u64 = 60;

pub(super) static INSERT: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = [
        ("profile", Kind::Uuid),
        ("day", Kind::Int),
        ("body", Kind::Text),
    ];
    Bulk::insert("profiles", &columns, "ON CONFLICT DO NOTHING")
});

/// The key and the document of an attempt's profile. The day is that of the replica that gave the attempt away: no host's
/// clock says how long it is kept.
pub(super) fn row(row: &ActiveRun, profile: &Profile) -> ((Uuid, u64), Vec<Value>) {
    let day = row.assigned_ms.unwrap_or(row.created_ms) / DAY_MS;
    let values = values![profile.id, day, &profile.body];
    ((profile.id, day), values)
}

const FIND: Sql = Sql::both("SELECT body FROM profiles WHERE profile = $1 LIMIT 1");

pub(crate) async fn find(tx: &mut dyn Tx, profile: Uuid) -> Result<Option<String>, Failure> {
    let found = tx.query(FIND, values![profile]).await?;
    let body = |row: super::super::tx::Row| row.columns().text();
    found.into_iter().next().map(body).transpose()
}

const OLD: Sql = Sql::both(
    "DELETE FROM profiles WHERE (profile, day) IN ( \
       SELECT profile, day FROM profiles WHERE day < $1 ORDER BY day LIMIT $2) RETURNING profile",
);

/// Forgets those of which no run that ended since `runs_before_ms` can have one.
pub(super) async fn sweep(
    tx: &mut dyn Tx,
    runs_before_ms: u64,
    rows_max: usize,
) -> Result<usize, Failure> {
    let before = (runs_before_ms / DAY_MS).saturating_sub(LIFE_DAYS_MAX);
    Ok(tx.query(OLD, values![before, rows_max]).await?.len())
}
