//! From the queue to a replica, and from there to a host.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use davit_types::{RunId, Tenant};
use uuid::Uuid;

use super::super::error::Failure;
use super::super::limits::PUT_OFF_MS_MAX;
use super::super::model::{
    ActiveRun, ActiveState, Assignment, AuditEntry, Claim, ClaimedRun, Done, Refusal, Rejection,
    Verdict,
};
use super::super::rules::{self, Caps};
use super::super::tx::{Bulk, Kind, Sql, Tx, values};
use super::changes::Changes;
use super::{load, rows};

/// Tenants that have runs waiting in a region, found by jumping from one to the next in the index.
const WAITING: Sql = Sql::both(
    "WITH RECURSIVE heads(tenant) AS ( \
       SELECT (SELECT min(tenant) FROM active_runs \
               WHERE state = 0 AND region = $1 AND tenant > $2) \
       UNION ALL \
       SELECT (SELECT min(a.tenant) FROM active_runs a \
               WHERE a.state = 0 AND a.region = $1 AND a.tenant > heads.tenant) \
       FROM heads WHERE heads.tenant IS NOT NULL) \
     SELECT tenant FROM heads WHERE tenant IS NOT NULL LIMIT $3",
);

pub(crate) async fn waiting(
    tx: &mut dyn Tx,
    region: &str,
    after: Option<&Tenant>,
    tenants_max: usize,
) -> Result<Vec<Tenant>, Failure> {
    let after = after.map_or("", Tenant::as_str);
    let found = tx
        .query(WAITING, values![region, after, tenants_max])
        .await?;
    found
        .into_iter()
        .map(|row| row.columns().tenant())
        .collect()
}

static PICK: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = rows::list(rows::ACTIVE, "a");
    // What is put off for longer than anything may be was so by a clock that has stepped back since.
    // Runners that are full need not be looked at; `within_caps` counts the others one by one.
    let pick = |region, tenant, at_ms, limit| {
        format!(
            "SELECT {columns} FROM active_runs a WHERE a.state = 0 AND a.region = {region} \
             AND a.tenant = {tenant} \
             AND (a.not_before_ms <= {at_ms} OR a.not_before_ms > {at_ms} + {PUT_OFF_MS_MAX}) \
             AND (a.runner IS NULL OR a.runner NOT IN ( \
               SELECT c.id FROM catalog c WHERE c.runs_max IS NOT NULL AND c.runs_max <= ( \
                 SELECT count(*) FROM active_runs b WHERE b.runner = c.id AND b.state > 0))) \
             ORDER BY a.priority DESC, a.run LIMIT {limit}"
        )
    };
    Bulk::new(
        &[Kind::Text, Kind::Text, Kind::Int, Kind::Int],
        &pick("$1", "$2", "$3", "$4"),
        &format!(
            "SELECT p.* FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) \
             AS u(region, tenant, at_ms, runs_max) \
             CROSS JOIN LATERAL ({} FOR UPDATE SKIP LOCKED) AS p",
            pick("u.region", "u.tenant", "u.at_ms", "u.runs_max")
        ),
    )
});

static CAPS: LazyLock<Bulk> = LazyLock::new(|| {
    let select = "SELECT c.id, c.runs_max, \
                  (SELECT count(*) FROM active_runs b WHERE b.runner = c.id AND b.state > 0) \
                  FROM catalog c WHERE c.runs_max IS NOT NULL AND c.id";
    Bulk::new(
        &[Kind::Uuid],
        &format!("{select} = $1"),
        &format!("{select} = ANY($1::uuid[])"),
    )
});

static CAPPED: LazyLock<Bulk> = LazyLock::new(|| {
    let select = "SELECT c.id FROM catalog c WHERE c.runs_max IS NOT NULL AND c.id";
    Bulk::new(
        &[Kind::Uuid],
        &format!("{select} = $1"),
        &format!("{select} = ANY($1::uuid[])"),
    )
});

pub(crate) async fn claim(tx: &mut dyn Tx, claim: &Claim) -> Result<Vec<ClaimedRun>, Failure> {
    let shares = claim
        .shares
        .iter()
        .map(|share| values![&claim.region, &share.tenant, claim.at_ms, share.runs_max]);
    let shares = shares.collect();
    let mut found: Vec<ActiveRun> = Vec::new();
    for row in tx.bulk(&PICK, shares).await? {
        found.push(rows::active(row)?);
    }
    found.sort_by_key(|row| (std::cmp::Reverse(row.priority), row.run));
    let mut caps = caps(tx, &found).await?;
    let mut claimed = rules::within_caps(found, &mut caps);
    let mut changes = Changes::default();
    for row in &mut claimed {
        row.state = ActiveState::Claimed;
        row.replica = Some(claim.replica);
        changes.keep(row, row.host);
    }
    changes.write(tx).await?;
    with_specs(tx, claimed).await
}

/// Caps of the runners among these runs. The names of capped ones are held first: what another replica
/// claimed of them is committed when it is counted.
async fn caps(tx: &mut dyn Tx, found: &[ActiveRun]) -> Result<Caps, Failure> {
    let runners: BTreeSet<Uuid> = found.iter().filter_map(|row| row.runner).collect();
    let keys = runners.into_iter().map(|runner| values![runner]).collect();
    let mut capped = Vec::new();
    for row in tx.bulk(&CAPPED, keys).await? {
        capped.push(row.columns().uuid()?);
    }
    capped.sort_unstable();
    let names = capped.iter().map(|runner| format!("runner/{runner}"));
    tx.hold(names.collect()).await?;
    let keys = capped.into_iter().map(|runner| values![runner]).collect();
    let mut caps = Caps::new();
    for row in tx.bulk(&CAPS, keys).await? {
        let mut c = row.columns();
        caps.insert(c.uuid()?, (c.u64()?, c.u64()?));
    }
    Ok(caps)
}

async fn with_specs(tx: &mut dyn Tx, claimed: Vec<ActiveRun>) -> Result<Vec<ClaimedRun>, Failure> {
    let mut specs = load::specs(tx, claimed.iter().map(|row| row.run)).await?;
    let with_spec = |row: ActiveRun| ClaimedRun {
        spec: specs.remove(&row.run).unwrap_or_default(),
        row,
    };
    Ok(claimed.into_iter().map(with_spec).collect())
}

static CLAIMS: LazyLock<String> = LazyLock::new(|| {
    let columns = rows::list(rows::ACTIVE, "a");
    format!(
        "SELECT {columns} FROM active_runs a WHERE a.state = 1 AND a.replica = $1 ORDER BY a.run"
    )
});

/// What a replica holds: how it goes on after an answer that was lost.
pub(crate) async fn claims(tx: &mut dyn Tx, replica: Uuid) -> Result<Vec<ClaimedRun>, Failure> {
    let found = tx.query(Sql::both(&CLAIMS), values![replica]).await?;
    let claimed: Result<Vec<_>, _> = found.into_iter().map(rows::active).collect();
    with_specs(tx, claimed?).await
}

pub(crate) async fn unclaim(
    tx: &mut dyn Tx,
    replica: Uuid,
    runs: &[RunId],
) -> Result<usize, Failure> {
    let mut active = load::active(tx, runs.iter().copied()).await?;
    let mut changes = Changes::default();
    let mut count = 0;
    for row in active.values_mut() {
        let host_before = row.host;
        if rules::unclaim(row, replica) {
            changes.keep(row, host_before);
            count += 1;
        }
    }
    changes.write(tx).await?;
    Ok(count)
}

pub(crate) async fn assign(tx: &mut dyn Tx, batch: &[Assignment]) -> Result<Vec<Verdict>, Failure> {
    let hosts = load::hosts(tx, batch.iter().map(|a| a.to.host)).await?;
    let mut active = load::active(tx, batch.iter().map(|a| a.run)).await?;
    let mut changes = Changes::default();
    let mut verdicts = Vec::with_capacity(batch.len());
    for assignment in batch {
        let verdict = match active.get_mut(&assignment.run) {
            None => Err(Refusal::UnknownRun {
                run: assignment.run,
            }),
            Some(row) => {
                let host_before = row.host;
                rules::assign(row, hosts.get(&assignment.to.host), assignment).map(|changed| {
                    if !changed {
                        return Done::Duplicate;
                    }
                    changes.keep(row, host_before);
                    changes.audit(assigned(row, assignment));
                    Done::Applied
                })
            }
        };
        verdicts.push(verdict);
    }
    changes.write(tx).await?;
    Ok(verdicts)
}

fn assigned(row: &ActiveRun, assignment: &Assignment) -> AuditEntry {
    AuditEntry {
        tenant: Some(row.tenant.clone()),
        actor: "davit".to_owned(),
        action: "run.assigned",
        subject: format!("{}.{}", row.run, row.attempt),
        detail: format!("host {}", assignment.to.host),
        at_ms: assignment.at_ms,
    }
}

/// Ends a claimed run that nobody can ever place.
pub(crate) async fn reject(tx: &mut dyn Tx, rejection: &Rejection) -> Result<Verdict, Failure> {
    let run = rejection.run;
    let mut active = load::active(tx, std::iter::once(run)).await?;
    let Some(row) = active.remove(&run) else {
        return Ok(Err(Refusal::NotClaimed));
    };
    let ended = match rules::reject(&row, rejection) {
        Ok(ended) => ended,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut changes = Changes::default();
    changes.end(ended);
    changes.audit(AuditEntry {
        tenant: Some(row.tenant),
        actor: rejection.actor.clone(),
        action: "run.rejected",
        subject: run.to_string(),
        detail: rejection.message.clone(),
        at_ms: rejection.at_ms,
    });
    changes.write(tx).await?;
    Ok(Ok(Done::Applied))
}
