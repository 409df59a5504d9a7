//! Replicas: a dead one's claims go back to the queue, its hosts count as disconnected.

use std::sync::LazyLock;

use uuid::Uuid;

use super::super::error::Failure;
use super::super::limits::STEP_BACK_MS_MIN;
use super::super::model::Swept;
use super::super::rules;
use super::super::tx::{Bulk, Kind, Sql, Tx, values};
use super::changes::Changes;
use super::{load, rows};

/// A replica lives; by the store's clock, which all replicas share.
pub(crate) async fn beat(tx: &mut dyn Tx, replica: Uuid) -> Result<(), Failure> {
    let now_ms = tx.now_ms().await?;
    let upsert = Sql::both(
        "INSERT INTO replicas (replica, heard_ms) VALUES ($1, $2) \
         ON CONFLICT (replica) DO UPDATE SET heard_ms = excluded.heard_ms",
    );
    tx.query(upsert, values![replica, now_ms]).await.map(drop)
}

const AHEAD: Sql = Sql::both("UPDATE replicas SET heard_ms = $1 WHERE heard_ms > $2");

const DEAD: Sql = Sql {
    sqlite: "SELECT replica FROM replicas WHERE heard_ms < $1 ORDER BY replica",
    postgres: "SELECT replica FROM replicas WHERE heard_ms < $1 ORDER BY replica FOR UPDATE",
};

static CLAIMED: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = rows::list(rows::ACTIVE, "a");
    let select = format!("SELECT {columns} FROM active_runs a WHERE a.state = 1 AND a.replica");
    Bulk::new(
        &[Kind::Uuid],
        &format!("{select} = $1"),
        &format!("{select} = ANY($1::uuid[])"),
    )
});

static DISCONNECT: LazyLock<Bulk> = LazyLock::new(|| {
    let update = "UPDATE host_sessions SET replica = NULL WHERE replica";
    Bulk::new(
        &[Kind::Uuid],
        &format!("{update} = $1 RETURNING host"),
        &format!("{update} = ANY($1::uuid[]) RETURNING host"),
    )
});

static FORGET: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        &[Kind::Uuid],
        "DELETE FROM replicas WHERE replica = $1",
        "DELETE FROM replicas WHERE replica = ANY($1::uuid[])",
    )
});

/// Clears up after replicas that have been silent for `dead_after_ms`.
pub(crate) async fn sweep(tx: &mut dyn Tx, dead_after_ms: u64) -> Result<Swept, Failure> {
    let now_ms = tx.now_ms().await?;
    // The clock has stepped back: their silence counts from now on, not from when it is there again.
    let ahead_ms = now_ms.saturating_add(STEP_BACK_MS_MIN);
    tx.query(AHEAD, values![now_ms, ahead_ms]).await?;
    let before_ms = now_ms.saturating_sub(dead_after_ms);
    let mut swept = Swept::default();
    for row in tx.query(DEAD, values![before_ms]).await? {
        swept.replicas.push(row.columns().uuid()?);
    }
    if swept.replicas.is_empty() {
        return Ok(swept);
    }
    let keys = || {
        swept
            .replicas
            .iter()
            .map(|r| values![*r])
            .collect::<Vec<_>>()
    };
    let hosts = tx.bulk(&DISCONNECT, keys()).await?;
    let claimed = tx.bulk(&CLAIMED, keys()).await?;
    tx.bulk(&FORGET, keys()).await?;
    for row in hosts {
        swept.hosts.push(row.columns().uuid()?);
    }
    let mut runs = Vec::new();
    for row in claimed {
        runs.push(rows::active(row)?.run);
    }
    give_back(tx, &mut swept, runs).await?;
    Ok(swept)
}

async fn give_back(
    tx: &mut dyn Tx,
    swept: &mut Swept,
    runs: Vec<davit_types::RunId>,
) -> Result<(), Failure> {
    // Loaded again, locked: the first look was not.
    let mut active = load::active(tx, runs.into_iter()).await?;
    let mut changes = Changes::default();
    for row in active.values_mut() {
        let host_before = row.host;
        let owner: Option<Uuid> = row.replica.filter(|r| swept.replicas.contains(r));
        if owner.is_some_and(|owner| rules::unclaim(row, owner)) {
            changes.keep(row, host_before);
            swept.runs.push(row.run);
        }
    }
    changes.write(tx).await
}
