//! The books: usage, totals, audit, and what may be forgotten.

use davit_types::{RunKey, Tenant, UsageSegment};
use uuid::Uuid;

/// The rounding rule of billed seconds: active milliseconds of all attempts of a run, rounded up to a
/// second once, at least one second if it ever started.
pub const RULE_CEIL_SECOND: &str = "ceil-second-1";

/// A place in an append-only log, after a row. Rows that a slower transaction commits later come later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The transaction that wrote the row (0 in SQLite, which has one writer).
    pub transaction: u64,
    /// The row's number.
    pub number: u64,
}

/// Rows after a cursor, and the cursor after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In order.
    pub rows: Vec<T>,
    /// Where the next page begins; the same as given when there are no rows.
    pub next: Cursor,
}

/// A usage segment with what bills it. Raw milliseconds: rounding is the export's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The segment.
    pub segment: UsageSegment,
    /// Whose.
    pub tenant: Tenant,
    /// Of which runner.
    pub runner: Option<Uuid>,
    /// Where.
    pub region: String,
    /// Slug.
    pub instance_type: String,
    /// Millionths a second.
    pub price_second_micros: u64,
    /// On which host.
    pub host: Uuid,
    /// When it was stored, Unix milliseconds.
    pub at_ms: u64,
}

impl LedgerRow {
    /// Whose segment it is.
    #[must_use]
    pub const fn key(&self) -> RunKey {
        self.segment.key
    }
}

/// What a run used before one of its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageBefore {
    /// Of which attempt the segment is.
    pub key: RunKey,
    /// Its number there.
    pub sequence: u32,
    /// How many segments of the run come before it, those of earlier attempts included.
    pub segments: u64,
    /// Their billable milliseconds.
    pub active_ms: u64,
}

/// What a tenant used up to now. The run part of it is exact at every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Billable milliseconds.
    pub active_ms: u64,
    /// Billed by [`RULE_CEIL_SECOND`], millionths.
    pub cost_micros: u64,
}

/// Who did what to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// In whose realm; absent for the operator's own.
    pub tenant: Option<Tenant>,
    /// Who: a token's, principal's or host's id, or `davit`.
    pub actor: String,
    /// `run.ended` and the like.
    pub action: &'static str,
    /// The thing's id.
    pub subject: String,
    /// For people.
    pub detail: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
}

/// An audit entry as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// As in [`AuditEntry`].
    pub tenant: Option<Tenant>,
    /// As in [`AuditEntry`].
    pub actor: String,
    /// As in [`AuditEntry`].
    pub action: String,
    /// As in [`AuditEntry`].
    pub subject: String,
    /// As in [`AuditEntry`].
    pub detail: String,
    /// As in [`AuditEntry`].
    pub at_ms: u64,
}

/// What may go. The ledger never does.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Runs that ended before.
    pub runs_before_ms: u64,
    /// Audit entries before.
    pub audit_before_ms: u64,
    /// Idempotency keys before.
    pub keys_before_ms: u64,
    /// Rows of each kind at a time.
    pub rows_max: usize,
}

/// How much went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Runs, with attempts, specification and secrets.
    pub runs: usize,
    /// Audit entries.
    pub audit: usize,
    /// Idempotency keys.
    pub keys: usize,
    /// Security profiles, once for each day they were used.
    pub profiles: usize,
}
