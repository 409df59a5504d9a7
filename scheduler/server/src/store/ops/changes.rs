//! All that one batch writes, sent together at its end: state, ledger, totals and audit are one commit.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use davit_types::{RunId, Tenant};
use uuid::Uuid;

use super::super::error::Failure;
use super::super::model::{
    ActiveRun, AttemptRow, AuditEntry, EndedRun, LedgerRow, LogChunk, Profile,
};
use super::super::rules::{Charge, Finished, Outcome};
use super::super::tx::{Bulk, Kind, Tx, Value, values};
use super::{logs, profiles, rows};

#[derive(Default)]
pub(super) struct Changes {
    active: BTreeMap<RunId, Kept>,
    ended: BTreeMap<RunId, EndedRun>,
    attempts: Vec<AttemptRow>,
    segments: Vec<LedgerRow>,
    charges: BTreeMap<Tenant, Charge>,
    chunks: Vec<LogChunk>,
    audit: Vec<AuditEntry>,
    profiles: BTreeMap<(Uuid, u64), Vec<Value>>,
}

/// A live run as it is to be stored.
struct Kept {
    row: ActiveRun,
    /// Whether it has another host than before the batch. Most changes leave it where it is, and then it is not written:
    /// SQLite would take the run out of the index of hosts and put it back, a page of its own for every run.
    is_moved: bool,
}

impl Changes {
    /// The row is so now; before, it had this host.
    pub(super) fn keep(&mut self, row: &ActiveRun, host_before: Option<Uuid>) {
        let was_moved = self.active.get(&row.run).is_some_and(|kept| kept.is_moved);
        let kept = Kept {
            row: row.clone(),
            is_moved: was_moved || row.host != host_before,
        };
        self.active.insert(row.run, kept);
    }

    /// The run is over.
    pub(super) fn end(&mut self, end: EndedRun) {
        self.active.remove(&end.run);
        self.ended.insert(end.run, end);
    }

    /// What a rule said of a message; the row has been changed by it. Whether the run is over.
    pub(super) fn take(
        &mut self,
        row: &ActiveRun,
        host_before: Option<Uuid>,
        outcome: Outcome,
    ) -> bool {
        self.segments.extend(outcome.segments);
        self.charge(&row.tenant, outcome.charge);
        match outcome.finished {
            Some(finished) => self.finish(row, host_before, finished),
            None => {
                self.keep(row, host_before);
                false
            }
        }
    }

    /// An attempt is over; whether the run is, too.
    pub(super) fn finish(
        &mut self,
        row: &ActiveRun,
        host_before: Option<Uuid>,
        finished: Finished,
    ) -> bool {
        self.attempts.push(finished.attempt);
        let over = finished.run.is_some();
        match finished.run {
            Some(end) => self.end(end),
            None => self.keep(row, host_before),
        }
        over
    }

    fn charge(&mut self, tenant: &Tenant, charge: Charge) {
        if charge == Charge::default() {
            return;
        }
        let total = self.charges.entry(tenant.clone()).or_default();
        total.active_ms += charge.active_ms;
        total.cost_micros += charge.cost_micros;
    }

    pub(super) fn index(&mut self, chunk: &LogChunk) {
        self.chunks.push(chunk.clone());
    }

    /// An attempt of the row's started, locked in so.
    pub(super) fn locked_in(&mut self, row: &ActiveRun, profile: &Profile) {
        let (key, values) = profiles::row(row, profile);
        self.profiles.entry(key).or_insert(values);
    }

    pub(super) fn audit(&mut self, entry: AuditEntry) {
        self.audit.push(entry);
    }

    /// Writes it all.
    pub(super) async fn write(self, tx: &mut dyn Tx) -> Result<(), Failure> {
        let shard = tx.shard();
        let over: Vec<_> = self.ended.keys().map(|run| values![*run]).collect();
        let charges = self
            .charges
            .iter()
            .map(|(tenant, charge)| values![tenant, shard, charge.active_ms, charge.cost_micros]);
        let (moved, in_place): (Vec<_>, Vec<_>) =
            self.active.values().partition(|kept| kept.is_moved);
        tx.write_all(vec![
            (&profiles::INSERT, self.profiles.into_values().collect()),
            (&MOVE_ACTIVE, all(moved, |kept| rows::hot(&kept.row))),
            (
                &UPDATE_ACTIVE,
                all(in_place, |kept| hot_but_host(&kept.row)),
            ),
            (&DELETE_ACTIVE, over),
            (&INSERT_ENDED, all(self.ended.values(), rows::from_ended)),
            (&INSERT_ATTEMPTS, all(&self.attempts, rows::from_attempt)),
            (&INSERT_SEGMENTS, all(&self.segments, rows::from_segment)),
            (&INSERT_CHUNKS, all(&self.chunks, logs::from_chunk)),
            (&INSERT_AUDIT, all(&self.audit, rows::from_audit)),
            // Last: others may wait for these rows.
            (&ADD_TOTALS, charges.collect()),
        ])
        .await
    }
}

fn all<'a, T: 'a>(
    rows: impl IntoIterator<Item = &'a T>,
    values: impl Fn(&T) -> Vec<Value>,
) -> Vec<Vec<Value>> {
    rows.into_iter().map(values).collect()
}

fn hot_but_host(row: &ActiveRun) -> Vec<Value> {
    let mut values = rows::hot(row);
    values.remove(rows::ACTIVE_HOST - rows::ACTIVE_FIXED + 1);
    values
}

/// For runs whose host is another now.
pub(crate) static MOVE_ACTIVE: LazyLock<Bulk> = LazyLock::new(|| {
    let mut columns = rows::ACTIVE.to_vec();
    columns.drain(1..rows::ACTIVE_FIXED);
    Bulk::update("active_runs", &columns)
});

/// For the others.
pub(crate) static UPDATE_ACTIVE: LazyLock<Bulk> = LazyLock::new(|| {
    let mut columns = rows::ACTIVE.to_vec();
    columns.remove(rows::ACTIVE_HOST);
    columns.drain(1..rows::ACTIVE_FIXED);
    Bulk::update("active_runs", &columns)
});

static DELETE_ACTIVE: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        &[Kind::Uuid],
        "DELETE FROM active_runs WHERE run = $1",
        "DELETE FROM active_runs WHERE run = ANY($1::uuid[])",
    )
});

static INSERT_ENDED: LazyLock<Bulk> = LazyLock::new(|| Bulk::insert("ended_runs", rows::ENDED, ""));

static INSERT_ATTEMPTS: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::insert("attempts", rows::ATTEMPT, ""));

static INSERT_SEGMENTS: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::insert("usage_segments", rows::SEGMENT, ""));

static INSERT_CHUNKS: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::insert("log_chunks", logs::CHUNK, ""));

pub(super) static INSERT_AUDIT: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::insert("audit", rows::AUDIT, ""));

static ADD_TOTALS: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = [
        ("tenant", Kind::Text),
        ("shard", Kind::Int),
        ("active_ms", Kind::Int),
        ("cost_micros", Kind::Int),
    ];
    let suffix = "ON CONFLICT (tenant, shard) DO UPDATE SET \
                  active_ms = tenant_totals.active_ms + excluded.active_ms, \
                  cost_micros = tenant_totals.cost_micros + excluded.cost_micros";
    Bulk::insert("tenant_totals", &columns, suffix)
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rules::tests::assigned;

    #[test]
    fn a_run_that_moved_and_then_stayed_has_moved() {
        let mut changes = Changes::default();
        let mut run = assigned();
        changes.keep(&run, None);
        run.log_last_id = 3;
        changes.keep(&run, run.host);
        let kept = &changes.active[&run.run];
        assert!(kept.is_moved);
        assert_eq!(kept.row.log_last_id, 3);

        let mut changes = Changes::default();
        changes.keep(&run, run.host);
        assert!(!changes.active[&run.run].is_moved);
    }
}
