//! Accepting runs: the key, the run, its environment and the audit row in one commit.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use davit_types::{RunId, Tenant};

use super::super::error::Failure;
use super::super::limits::{IDEMPOTENCY_KEEP_MS, PRICE_SECOND_MICROS_MAX};
use super::super::model::{
    ActiveRun, ActiveState, AuditEntry, BaseRun, Desired, Idempotency, Refusal, Submission,
    Submitted,
};
use super::super::tx::{Bulk, Kind, Tx, Value, values};
use super::{changes, rows, secrets, tenants, uploads};

type Answer = Result<Submitted, Refusal>;

/// A stored key.
struct Kept {
    fingerprint: [u8; 32],
    run: RunId,
    answer: String,
    created_ms: u64,
}

/// What decides a batch, and what it has added to that itself.
struct Known {
    /// Keys that no other transaction is using.
    ours: HashMap<(Tenant, String), bool>,
    keys: HashMap<(Tenant, String), Kept>,
    tenants: HashMap<Tenant, tenants::Standing>,
    runs: HashMap<RunId, Tenant>,
}

pub(crate) async fn submit(tx: &mut dyn Tx, batch: &[Submission]) -> Result<Vec<Answer>, Failure> {
    let mut known = load(tx, batch).await?;
    let mut answers = Vec::with_capacity(batch.len());
    let mut new = Vec::new();
    for submission in batch {
        let answer = decide(&known, submission);
        if answer == Ok(Submitted::Created) {
            known.add(submission);
            new.push(submission);
        }
        answers.push(answer);
    }
    write(tx, &new).await?;
    Ok(answers)
}

/// All of them or none. The first one's key and answer count for the whole.
pub(crate) async fn submit_together(
    tx: &mut dyn Tx,
    batch: &[Submission],
) -> Result<Answer, Failure> {
    let mut known = load(tx, batch).await?;
    for submission in batch {
        match decide(&known, submission) {
            Ok(Submitted::Created) => known.add(submission),
            // The same call again: with its first run all the others were made.
            other => return Ok(other),
        }
    }
    write(tx, &batch.iter().collect::<Vec<_>>()).await?;
    Ok(Ok(Submitted::Created))
}

async fn write(tx: &mut dyn Tx, new: &[&Submission]) -> Result<(), Failure> {
    let keyed = new.iter().filter_map(|s| {
        let key = s.idempotency.as_ref()?;
        Some(values![
            &s.base.tenant,
            &key.key,
            &key.fingerprint[..],
            s.base.run,
            &s.answer,
            s.base.created_ms,
        ])
    });
    let keyed = keyed.collect();
    let sealed = new.iter().flat_map(|s| &s.secrets);
    let sealed = sealed.map(secrets::from_secret).collect();
    let uses = new
        .iter()
        .filter_map(|s| Some(values![s.base.run, s.upload?]));
    let uses = uses.collect();
    let bases = new.iter().map(|s| rows::from_base(&s.base)).collect();
    let hot = new.iter().map(|s| rows::from_active(&waiting(&s.base)));
    let hot = hot.collect();
    let audit = new
        .iter()
        .map(|s| rows::from_audit(&submitted(s)))
        .collect();
    tx.write_all(vec![
        (&INSERT_KEYS, keyed),
        (&INSERT_RUNS, bases),
        (&secrets::INSERT, sealed),
        (&uploads::INSERT_USES, uses),
        (&INSERT_ACTIVE, hot),
        (&changes::INSERT_AUDIT, audit),
    ])
    .await
}

fn name(tenant: &Tenant, key: &Idempotency) -> (Tenant, String) {
    (tenant.clone(), key.key.clone())
}

impl Known {
    fn add(&mut self, submission: &Submission) {
        let base = &submission.base;
        self.runs.insert(base.run, base.tenant.clone());
        if let Some(key) = &submission.idempotency {
            let kept = Kept {
                fingerprint: key.fingerprint,
                run: base.run,
                answer: submission.answer.clone(),
                created_ms: base.created_ms,
            };
            self.keys.insert(name(&base.tenant, key), kept);
        }
    }
}

fn decide(known: &Known, submission: &Submission) -> Answer {
    let base = &submission.base;
    if let Some(key) = &submission.idempotency {
        let name = name(&base.tenant, key);
        if known.ours.get(&name) != Some(&true) {
            return Err(Refusal::KeyInFlight);
        }
        let kept = known
            .keys
            .get(&name)
            .filter(|kept| base.created_ms < kept.created_ms.saturating_add(IDEMPOTENCY_KEEP_MS));
        if let Some(kept) = kept {
            if kept.fingerprint != key.fingerprint {
                return Err(Refusal::KeyReused);
            }
            return Ok(Submitted::Replayed {
                run: kept.run,
                answer: kept.answer.clone(),
            });
        }
    }
    if let Some(owner) = known.runs.get(&base.run) {
        // The same call again after a lost answer; another tenant's run is none of its business.
        return if *owner == base.tenant {
            Ok(Submitted::Replayed {
                run: base.run,
                answer: String::new(),
            })
        } else {
            Err(Refusal::UnknownRun { run: base.run })
        };
    }
    if base.price_second_micros > PRICE_SECOND_MICROS_MAX {
        return Err(Refusal::OutOfRange {
            what: "price_second_micros",
            given: base.price_second_micros,
        });
    }
    match known.tenants.get(&base.tenant) {
        Some(standing) => standing.may_submit(&base.tenant)?,
        None => {
            return Err(Refusal::TenantClosed {
                tenant: base.tenant.clone(),
            });
        }
    }
    Ok(Submitted::Created)
}

async fn load(tx: &mut dyn Tx, batch: &[Submission]) -> Result<Known, Failure> {
    let keys: BTreeSet<(Tenant, String)> = batch
        .iter()
        .filter_map(|s| Some(name(&s.base.tenant, s.idempotency.as_ref()?)))
        .collect();
    let keys: Vec<_> = keys.into_iter().collect();
    let locks: Vec<String> = keys
        .iter()
        .map(|(tenant, key)| format!("key/{}/{key}", tenant.as_str()))
        .collect();
    let held = tx.try_hold(&locks).await?;
    let lookups = keys.iter().map(|(t, k)| values![t, k]).collect();
    let mut known = Known {
        ours: keys.into_iter().zip(held).collect(),
        keys: HashMap::new(),
        tenants: tenants::standing(tx, batch.iter().map(|s| &s.base.tenant)).await?,
        runs: HashMap::new(),
    };
    for row in tx.bulk(&KEYS, lookups).await? {
        let mut c = row.columns();
        let name = (c.tenant()?, c.text()?);
        let kept = Kept {
            fingerprint: c.hash()?,
            run: c.run()?,
            answer: c.text()?,
            created_ms: c.u64()?,
        };
        known.keys.insert(name, kept);
    }
    let runs: Vec<Vec<Value>> = batch.iter().map(|s| values![s.base.run]).collect();
    for row in tx.bulk(&OWNERS, runs).await? {
        let mut c = row.columns();
        known.runs.insert(c.run()?, c.tenant()?);
    }
    Ok(known)
}

/// A run as it enters the queue.
fn waiting(base: &BaseRun) -> ActiveRun {
    ActiveRun {
        run: base.run,
        tenant: base.tenant.clone(),
        runner: base.runner,
        region: base.region.clone(),
        instance_type: base.instance_type.clone(),
        price_second_micros: base.price_second_micros,
        priority: base.priority,
        created_ms: base.created_ms,
        state: ActiveState::Pending,
        not_before_ms: 0,
        replica: None,
        host: None,
        boot_id: None,
        attempt: 0,
        step: 0,
        assigned_ms: None,
        started_ms: None,
        paused_at_ms: None,
        ledger_sequence: 0,
        ledger_ms: 0,
        log_last_id: 0,
        active_ms: 0,
        ever_started: false,
        image_digest: None,
        profile: None,
        desired: Desired::default(),
        desired_revision: 0,
        heeded_revision: 0,
    }
}

fn submitted(submission: &Submission) -> AuditEntry {
    AuditEntry {
        tenant: Some(submission.base.tenant.clone()),
        actor: submission.actor.clone(),
        action: "run.submitted",
        subject: submission.base.run.to_string(),
        detail: String::new(),
        at_ms: submission.base.created_ms,
    }
}

static KEYS: LazyLock<Bulk> = LazyLock::new(|| {
    let select =
        "SELECT i.tenant, i.key, i.fingerprint, i.run, i.answer, i.created_ms FROM idempotency i";
    Bulk::new(
        &[Kind::Text, Kind::Text],
        &format!("{select} WHERE i.tenant = $1 AND i.key = $2"),
        &format!(
            "{select} JOIN unnest($1::text[], $2::text[]) AS u(tenant, key) \
             ON i.tenant = u.tenant AND i.key = u.key"
        ),
    )
});

static OWNERS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        &[Kind::Uuid],
        "SELECT run, tenant FROM runs WHERE run = $1",
        "SELECT run, tenant FROM runs WHERE run = ANY($1::uuid[])",
    )
});

static INSERT_KEYS: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = [
        ("tenant", Kind::Text),
        ("key", Kind::Text),
        ("fingerprint", Kind::Bytes),
        ("run", Kind::Uuid),
        ("answer", Kind::Text),
        ("created_ms", Kind::Int),
    ];
    // What is in the way is too old to answer.
    let suffix = "ON CONFLICT (tenant, key) DO UPDATE SET fingerprint = excluded.fingerprint, \
                  run = excluded.run, answer = excluded.answer, created_ms = excluded.created_ms";
    Bulk::insert("idempotency", &columns, suffix)
});

static INSERT_RUNS: LazyLock<Bulk> = LazyLock::new(|| Bulk::insert("runs", rows::BASE, ""));

static INSERT_ACTIVE: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::insert("active_runs", rows::ACTIVE, ""));
