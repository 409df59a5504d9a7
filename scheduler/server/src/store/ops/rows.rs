//! Rows of the run tables, to values and back. The column lists are the order of both.

use davit_types::{EndReason, RunStatus};

use super::super::error::Failure;
use super::super::model::{
    ActiveRun, ActiveState, AttemptRow, AuditEntry, BaseRun, Desired, EndedRun, LedgerRow,
};
use super::super::tx::{Columns, Kind, Row, Value, values};
use Kind::{Int, Text, Uuid};

pub(super) const BASE: &[(&str, Kind)] = &[
    ("run", Uuid),
    ("tenant", Text),
    ("runner", Uuid),
    ("region", Text),
    ("instance_type", Text),
    ("price_second_micros", Int),
    ("priority", Int),
    ("spec", Text),
    ("created_ms", Int),
];

pub(super) const ACTIVE: &[(&str, Kind)] = &[
    ("run", Uuid),
    ("tenant", Text),
    ("runner", Uuid),
    ("region", Text),
    ("instance_type", Text),
    ("price_second_micros", Int),
    ("priority", Int),
    ("created_ms", Int),
    ("state", Int),
    ("not_before_ms", Int),
    ("replica", Uuid),
    ("host", Uuid),
    ("boot_id", Text),
    ("attempt", Int),
    ("step", Int),
    ("assigned_ms", Int),
    ("started_ms", Int),
    ("paused_at_ms", Int),
    ("ledger_sequence", Int),
    ("ledger_ms", Int),
    ("log_last_id", Int),
    ("active_ms", Int),
    ("ever_started", Int),
    ("image_digest", Text),
    ("profile", Uuid),
    ("desired", Text),
    ("desired_revision", Int),
    ("heeded_revision", Int),
];

/// The columns of [`ACTIVE`] that change, after the key.
pub(super) const ACTIVE_FIXED: usize = 8;
/// Where the host is in [`ACTIVE`].
pub(super) const ACTIVE_HOST: usize = 11;

pub(super) const ENDED: &[(&str, Kind)] = &[
    ("run", Uuid),
    ("tenant", Text),
    ("runner", Uuid),
    ("status", Text),
    ("end_reason", Text),
    ("exit_code", Int),
    ("message", Text),
    ("attempts", Int),
    ("host", Uuid),
    ("image_digest", Text),
    ("started_ms", Int),
    ("ended_ms", Int),
    ("active_ms", Int),
    ("billed_seconds", Int),
    ("cost_micros", Int),
];

pub(super) const ATTEMPT: &[(&str, Kind)] = &[
    ("run", Uuid),
    ("attempt", Int),
    ("host", Uuid),
    ("assigned_ms", Int),
    ("started_ms", Int),
    ("ended_ms", Int),
    ("end_reason", Text),
    ("exit_code", Int),
    ("message", Text),
    ("usage", Text),
    ("wall_ms", Int),
    ("log_last_id", Int),
    ("complete", Int),
    ("profile", Uuid),
    ("extracts", Text),
];

pub(super) const SEGMENT: &[(&str, Kind)] = &[
    ("id", Uuid),
    ("run", Uuid),
    ("attempt", Int),
    ("sequence", Int),
    ("begin_ms", Int),
    ("end_ms", Int),
    ("paused", Int),
    ("tenant", Text),
    ("runner", Uuid),
    ("region", Text),
    ("instance_type", Text),
    ("price_second_micros", Int),
    ("host", Uuid),
    ("at_ms", Int),
];

pub(super) const AUDIT: &[(&str, Kind)] = &[
    ("tenant", Text),
    ("actor", Text),
    ("action", Text),
    ("subject", Text),
    ("detail", Text),
    ("at_ms", Int),
];

/// `a.run, a.tenant, …` for a select.
pub(super) fn list(columns: &[(&str, Kind)], alias: &str) -> String {
    let names: Vec<_> = columns
        .iter()
        .map(|(name, _)| format!("{alias}.{name}"))
        .collect();
    names.join(", ")
}

pub(super) fn from_base(base: &BaseRun) -> Vec<Value> {
    values![
        base.run,
        &base.tenant,
        base.runner,
        &base.region,
        &base.instance_type,
        base.price_second_micros,
        base.priority,
        &base.spec,
        base.created_ms,
    ]
}

pub(super) fn base(row: Row) -> Result<BaseRun, Failure> {
    let mut c = row.columns();
    Ok(BaseRun {
        run: c.run()?,
        tenant: c.tenant()?,
        runner: c.opt_uuid()?,
        region: c.text()?,
        instance_type: c.text()?,
        price_second_micros: c.u64()?,
        priority: c.number()?,
        spec: c.text()?,
        created_ms: c.u64()?,
    })
}

pub(super) fn from_active(row: &ActiveRun) -> Vec<Value> {
    let mut values = values![
        row.run,
        &row.tenant,
        row.runner,
        &row.region,
        &row.instance_type,
        row.price_second_micros,
        row.priority,
        row.created_ms,
    ];
    values.extend(hot(row).into_iter().skip(1));
    values
}

/// The key and the columns that change.
pub(super) fn hot(row: &ActiveRun) -> Vec<Value> {
    let desired = serde_json::to_string(&row.desired).expect("plain numbers become JSON");
    values![
        row.run,
        position(&ActiveState::ALL, row.state),
        row.not_before_ms,
        row.replica,
        row.host,
        row.boot_id.as_ref(),
        row.attempt,
        row.step,
        row.assigned_ms,
        row.started_ms,
        row.paused_at_ms,
        row.ledger_sequence,
        row.ledger_ms,
        row.log_last_id,
        row.active_ms,
        row.ever_started,
        row.image_digest.as_ref(),
        row.profile,
        &desired,
        row.desired_revision,
        row.heeded_revision,
    ]
}

pub(super) fn active(row: Row) -> Result<ActiveRun, Failure> {
    let mut c = row.columns();
    Ok(ActiveRun {
        run: c.run()?,
        tenant: c.tenant()?,
        runner: c.opt_uuid()?,
        region: c.text()?,
        instance_type: c.text()?,
        price_second_micros: c.u64()?,
        priority: c.number()?,
        created_ms: c.u64()?,
        state: at(&ActiveState::ALL, &mut c)?,
        not_before_ms: c.u64()?,
        replica: c.opt_uuid()?,
        host: c.opt_uuid()?,
        boot_id: c.opt_text()?,
        attempt: c.number()?,
        step: c.number()?,
        assigned_ms: c.opt_u64()?,
        started_ms: c.opt_u64()?,
        paused_at_ms: c.opt_u64()?,
        ledger_sequence: c.number()?,
        ledger_ms: c.u64()?,
        log_last_id: c.u64()?,
        active_ms: c.u64()?,
        ever_started: c.flag()?,
        image_digest: c.opt_text()?,
        profile: c.opt_uuid()?,
        desired: desired(&mut c)?,
        desired_revision: c.number()?,
        heeded_revision: c.number()?,
    })
}

pub(super) fn desired(c: &mut Columns) -> Result<Desired, Failure> {
    c.word("what is wanted, in JSON", |text| {
        serde_json::from_str(text).ok()
    })
}

/// An enum as it is stored.
pub(super) fn position<T: PartialEq + Copy>(all: &[T], one: T) -> usize {
    all.iter()
        .position(|each| *each == one)
        .expect("ALL holds every variant")
}

/// An enum as it was stored.
pub(super) fn at<T: Copy>(all: &'static [T], c: &mut Columns) -> Result<T, Failure> {
    let position: usize = c.number()?;
    all.get(position).copied().ok_or(Failure::Corrupt {
        column: 0,
        wanted: "a known state",
        found: position.to_string(),
    })
}

fn end_reason(c: &mut Columns) -> Result<EndReason, Failure> {
    c.word("an end reason", |text| {
        EndReason::ALL.into_iter().find(|r| r.as_str() == text)
    })
}

fn status(c: &mut Columns) -> Result<RunStatus, Failure> {
    use RunStatus::{Canceled, Failed, Succeeded};
    c.word("a final status", |text| {
        [Succeeded, Failed, Canceled]
            .into_iter()
            .find(|s| s.as_str() == text)
    })
}

pub(super) fn from_ended(end: &EndedRun) -> Vec<Value> {
    values![
        end.run,
        &end.tenant,
        end.runner,
        end.status.as_str(),
        end.end_reason.as_str(),
        end.exit_code,
        &end.message,
        end.attempts,
        end.host,
        end.image_digest.as_ref(),
        end.started_ms,
        end.ended_ms,
        end.active_ms,
        end.billed_seconds,
        end.cost_micros,
    ]
}

pub(super) fn ended(row: Row) -> Result<EndedRun, Failure> {
    let mut c = row.columns();
    Ok(EndedRun {
        run: c.run()?,
        tenant: c.tenant()?,
        runner: c.opt_uuid()?,
        status: status(&mut c)?,
        end_reason: end_reason(&mut c)?,
        exit_code: c.opt_number()?,
        message: c.text()?,
        attempts: c.number()?,
        host: c.opt_uuid()?,
        image_digest: c.opt_text()?,
        started_ms: c.opt_u64()?,
        ended_ms: c.u64()?,
        active_ms: c.u64()?,
        billed_seconds: c.u64()?,
        cost_micros: c.u64()?,
    })
}

pub(super) fn from_attempt(row: &AttemptRow) -> Vec<Value> {
    values![
        row.run,
        row.attempt,
        row.host,
        row.assigned_ms,
        row.started_ms,
        row.ended_ms,
        row.end_reason.as_str(),
        row.exit_code,
        &row.message,
        &row.usage,
        row.wall_ms,
        row.log_last_id,
        row.complete,
        row.profile,
        row.extracts.as_ref(),
    ]
}

pub(super) fn attempt(row: Row) -> Result<AttemptRow, Failure> {
    let mut c = row.columns();
    Ok(AttemptRow {
        run: c.run()?,
        attempt: c.number()?,
        host: c.opt_uuid()?,
        assigned_ms: c.opt_u64()?,
        started_ms: c.opt_u64()?,
        ended_ms: c.u64()?,
        end_reason: end_reason(&mut c)?,
        exit_code: c.opt_number()?,
        message: c.text()?,
        usage: c.text()?,
        wall_ms: c.u64()?,
        log_last_id: c.u64()?,
        complete: c.flag()?,
        profile: c.opt_uuid()?,
        extracts: c.opt_text()?,
    })
}

pub(super) fn from_segment(row: &LedgerRow) -> Vec<Value> {
    values![
        row.segment.id,
        row.segment.key.run,
        row.segment.key.attempt.number(),
        row.segment.sequence,
        row.segment.begin_ms,
        row.segment.end_ms,
        row.segment.paused,
        &row.tenant,
        row.runner,
        &row.region,
        &row.instance_type,
        row.price_second_micros,
        row.host,
        row.at_ms,
    ]
}

pub(super) fn from_audit(entry: &AuditEntry) -> Vec<Value> {
    values![
        entry.tenant.as_ref(),
        &entry.actor,
        entry.action,
        &entry.subject,
        &entry.detail,
        entry.at_ms,
    ]
}
