//! What users want of runs, and which hosts have not heeded it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use davit_types::{RunId, Tenant};
use uuid::Uuid;

use super::super::error::Failure;
use super::super::model::{ActiveRun, AuditEntry, OpenOrder, Order, Ordered, Refusal, Want};
use super::super::rules::{self, Decision};
use super::super::tx::{Sql, Tx, values};
use super::changes::Changes;
use super::{load, rows};

pub(crate) async fn order(
    tx: &mut dyn Tx,
    batch: &[Order],
) -> Result<Vec<Result<Ordered, Refusal>>, Failure> {
    let mut active = load::active(tx, batch.iter().map(|order| order.run)).await?;
    let gone = batch.iter().map(|order| order.run);
    let gone: BTreeSet<_> = gone.filter(|run| !active.contains_key(run)).collect();
    let past = load::past(tx, gone).await?;
    let mut changes = Changes::default();
    let mut canceled = BTreeSet::new();
    let mut answers = Vec::with_capacity(batch.len());
    for order in batch {
        let unknown = Refusal::UnknownRun { run: order.run };
        let answer = match active.get_mut(&order.run) {
            Some(row) if row.tenant != order.tenant => Err(unknown),
            Some(_) if canceled.contains(&order.run) => Ok(Ordered::Unchanged),
            Some(row) => Ok(match rules::order(row, order) {
                Decision::Unchanged => Ordered::Unchanged,
                Decision::Wanted => {
                    changes.keep(row, row.host);
                    changes.audit(ordered(row, order));
                    Ordered::Wanted
                }
                Decision::Canceled(end) => {
                    changes.audit(ordered(row, order));
                    changes.end(end);
                    canceled.insert(order.run);
                    Ordered::Canceled
                }
            }),
            None => match past.runs.get(&order.run) {
                Some((tenant, _)) if *tenant == order.tenant => Ok(Ordered::Unchanged),
                _ => Err(unknown),
            },
        };
        answers.push(answer);
    }
    changes.write(tx).await?;
    Ok(answers)
}

fn ordered(row: &ActiveRun, order: &Order) -> AuditEntry {
    let (action, detail) = match order.want {
        Want::Stop(stop) => (
            "run.stop",
            format!("signal {}, grace {} ms", stop.signal, stop.grace_ms),
        ),
        Want::End(cause) => ("run.stop", cause.sentence().to_owned()),
        Want::Pause => ("run.pause", String::new()),
        Want::Resume => ("run.resume", String::new()),
        Want::Timeout(seconds) => ("run.timeout", format!("{seconds} s")),
    };
    AuditEntry {
        tenant: Some(row.tenant.clone()),
        actor: order.actor.clone(),
        action,
        subject: row.run.to_string(),
        detail,
        at_ms: order.at_ms,
    }
}

static HOSTED: LazyLock<String> = LazyLock::new(|| {
    let columns = rows::list(rows::ACTIVE, "a");
    format!(
        "SELECT {columns} FROM active_runs a WHERE a.host IS NOT NULL AND a.tenant = $1 \
         AND (a.host, a.run) > ($2, $3) ORDER BY a.host, a.run LIMIT $4"
    )
});

/// A tenant's runs that have hosts, by host.
pub(crate) async fn hosted(
    tx: &mut dyn Tx,
    tenant: &Tenant,
    after: Option<(Uuid, RunId)>,
    limit: usize,
) -> Result<Vec<ActiveRun>, Failure> {
    let none = (Uuid::nil(), Uuid::nil());
    let (host, run) = after.map_or(none, |(host, run)| (host, *run.as_uuid()));
    let values = values![tenant, host, run, limit];
    let found = tx.query(Sql::both(&HOSTED), values).await?;
    found.into_iter().map(rows::active).collect()
}

macro_rules! open {
    ($from:literal) => {
        concat!(
            "SELECT a.run, a.attempt, a.host, a.desired, a.desired_revision FROM ",
            $from,
            " ON s.host = a.host WHERE a.unheeded AND s.replica = $1 AND a.run > $2 ORDER BY a.run LIMIT $3"
        )
    };
}

/// Orders that their hosts have not heeded: asked for in every round of dispatch, and there are few.
pub(crate) const OPEN: Sql = Sql {
    // By itself SQLite goes from host to host, and through all live runs of each.
    sqlite: open!("active_runs a INDEXED BY active_orders CROSS JOIN host_sessions s"),
    postgres: open!("active_runs a JOIN host_sessions s"),
};

/// Orders to hosts whose connections this replica ends.
pub(crate) async fn open(
    tx: &mut dyn Tx,
    replica: Uuid,
    after: Option<RunId>,
    limit: usize,
) -> Result<Vec<OpenOrder>, Failure> {
    let after = after.map_or(Uuid::nil(), |run| *run.as_uuid());
    let found = tx.query(OPEN, values![replica, after, limit]).await?;
    let open = found.into_iter().map(|row| {
        let mut c = row.columns();
        Ok(OpenOrder {
            run: c.run()?,
            attempt: c.number()?,
            host: c.uuid()?,
            desired: rows::desired(&mut c)?,
            revision: c.number()?,
        })
    });
    open.collect()
}
