//! A run in the store: what was asked (immutable), what it is now (hot), how it ended (immutable).

use std::fmt;

use davit_types::{EndReason, RunId, RunStatus, Tenant};
use uuid::Uuid;

use super::{Desired, Secret};

/// A run to be accepted.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What stays as it is.
    pub base: BaseRun,
    /// The client's key, if it gave one.
    pub idempotency: Option<Idempotency>,
    /// What the client is answered, kept with the key.
    pub answer: String,
    /// Who asked, for the audit log.
    pub actor: String,
    /// Its environment, sealed: stored with it, so a run that can be claimed has it.
    pub secrets: Vec<Secret>,
    /// The upload it comes with, which is kept as long as the run is.
    pub upload: Option<Uuid>,
}

/// The part of a run that never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseRun {
    /// Chosen by the caller, so that a repeated submit is told from a second one.
    pub run: RunId,
    /// Whose.
    pub tenant: Tenant,
    /// Of which saved runner, if any.
    pub runner: Option<Uuid>,
    /// Where it may run.
    pub region: String,
    /// Slug of its instance type.
    pub instance_type: String,
    /// Price of a second when it was submitted, millionths.
    pub price_second_micros: u64,
    /// Higher goes first.
    pub priority: i32,
    /// The specification, JSON.
    pub spec: String,
    /// When it was accepted, Unix milliseconds.
    pub created_ms: u64,
}

/// A client's key for a request, and what tells the request from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The header's value; per tenant.
    pub key: String,
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
}

/// A submission's good end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is there now.
    Created,
    /// It was there before: the first answer.
    Replayed {
        /// The run the first request made.
        run: RunId,
        /// What it was answered; empty when the run was repeated without a key.
        answer: String,
    },
}

/// Where a live run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActiveState {
    /// Waits for a replica.
    Pending,
    /// A replica looks for a host.
    Claimed,
    /// It has a host, which may not have heard of it.
    Assigned,
    /// The host has it on its disk.
    Accepted,
    /// The container executes.
    Running,
    /// The container is frozen.
    Paused,
}

impl ActiveState {
    /// Every state, in the order of a run's life; the position is what is stored.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Claimed,
        Self::Assigned,
        Self::Accepted,
        Self::Running,
        Self::Paused,
    ];

    /// The public status.
    #[must_use]
    pub const fn status(self) -> RunStatus {
        match self {
            Self::Running | Self::Paused => RunStatus::Running,
            Self::Pending | Self::Claimed | Self::Assigned | Self::Accepted => RunStatus::Pending,
        }
    }

    /// Whether a host may be executing it.
    #[must_use]
    pub const fn has_host(self) -> bool {
        !matches!(self, Self::Pending | Self::Claimed)
    }
}

impl fmt::Display for ActiveState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Paused => "paused",
        })
    }
}

/// A live run: the hot row. Small on purpose; texts that do not change are in [`BaseRun`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveRun {
    /// Which.
    pub run: RunId,
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
    /// Higher goes first.
    pub priority: i32,
    /// When it was accepted.
    pub created_ms: u64,
    /// Where it is.
    pub state: ActiveState,
    /// Not claimed before this instant: a retry's pause.
    pub not_before_ms: u64,
    /// The replica that claimed or assigned it.
    pub replica: Option<Uuid>,
    /// The live attempt's host.
    pub host: Option<Uuid>,
    /// That host's boot when the attempt was assigned.
    pub boot_id: Option<String>,
    /// The live attempt, or the last; 0 before the first.
    pub attempt: u32,
    /// The attempt's last applied step.
    pub step: u32,
    /// When the attempt got its host.
    pub assigned_ms: Option<u64>,
    /// When the attempt's container started.
    pub started_ms: Option<u64>,
    /// Since when it is frozen.
    pub paused_at_ms: Option<u64>,
    /// The next usage segment's number.
    pub ledger_sequence: u32,
    /// Where it begins, milliseconds of the attempt.
    pub ledger_ms: u64,
    /// The last log line that is indexed without a hole.
    pub log_last_id: u64,
    /// Billable milliseconds over all attempts.
    pub active_ms: u64,
    /// Whether any attempt ever started: then at least one second is billed.
    pub ever_started: bool,
    /// The image's digest, once the host knows it.
    pub image_digest: Option<String>,
    /// What the attempt is locked in with, [`super::Profile::id`].
    pub profile: Option<Uuid>,
    /// What the user wants of it.
    pub desired: Desired,
    /// Counts changes of `desired`.
    pub desired_revision: u32,
    /// The last of them the host has heeded.
    pub heeded_revision: u32,
}

/// A replica's wish for pending runs.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who claims.
    pub replica: Uuid,
    /// Runs of this region only.
    pub region: String,
    /// How many of which tenants: fairness is decided by who asks.
    pub shares: Vec<Share>,
    /// Now, Unix milliseconds: retries wait until their time.
    pub at_ms: u64,
}

/// A tenant's part of a claim.
#[derive(Clone, Debug)]
pub struct Share {
    /// Whose runs.
    pub tenant: Tenant,
    /// At most so many.
    pub runs_max: usize,
}

/// A claimed run and what is to be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedRun {
    /// The row as it is now.
    pub row: ActiveRun,
    /// The specification, JSON.
    pub spec: String,
}

/// A claimed run that nobody can ever place, and why.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Who claimed it.
    pub replica: Uuid,
    /// Which.
    pub run: RunId,
    /// For people.
    pub message: String,
    /// Who says so.
    pub actor: String,
    /// When.
    pub at_ms: u64,
}

/// One attempt that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    /// The run.
    pub run: RunId,
    /// From 1.
    pub attempt: u32,
    /// Where.
    pub host: Option<Uuid>,
    /// When it got the host.
    pub assigned_ms: Option<u64>,
    /// When its container started, if it did.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: u64,
    /// Why.
    pub end_reason: EndReason,
    /// What the kernel said; absent when nobody knows.
    pub exit_code: Option<u8>,
    /// For people.
    pub message: String,
    /// Totals, JSON.
    pub usage: String,
    /// Container start to end, milliseconds; what the ledger covers.
    pub wall_ms: u64,
    /// Its last log line; what the index covers.
    pub log_last_id: u64,
    /// Whether ledger and log are known to be whole: not so for a lost one.
    pub complete: bool,
    /// What it was locked in with, [`super::Profile::id`].
    pub profile: Option<Uuid>,
    /// What became of the files that were to come out of it, JSON, as far as its host told.
    pub extracts: Option<String>,
}

/// How a run ended: the books' last word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedRun {
    /// The run.
    pub run: RunId,
    /// Whose.
    pub tenant: Tenant,
    /// Of which runner.
    pub runner: Option<Uuid>,
    /// succeeded, failed or canceled.
    pub status: RunStatus,
    /// Why.
    pub end_reason: EndReason,
    /// The last attempt's.
    pub exit_code: Option<u8>,
    /// For people.
    pub message: String,
    /// How many attempts it had.
    pub attempts: u32,
    /// The last one's host.
    pub host: Option<Uuid>,
    /// What it ran.
    pub image_digest: Option<String>,
    /// The last attempt's start.
    pub started_ms: Option<u64>,
    /// When.
    pub ended_ms: u64,
    /// Billable milliseconds of all attempts.
    pub active_ms: u64,
    /// Rounded by [`super::RULE_CEIL_SECOND`].
    pub billed_seconds: u64,
    /// Seconds × price, millionths.
    pub cost_micros: u64,
}

/// A run as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    /// What was asked.
    pub base: BaseRun,
    /// What it is, while it lives.
    pub active: Option<ActiveRun>,
    /// How it ended, afterwards.
    pub ended: Option<EndedRun>,
}

/// Which runs a page shows, newest first.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this tenant; `None` for operators.
    pub tenant: Option<Tenant>,
    /// Of this runner.
    pub runner: Option<Uuid>,
    /// With this status.
    pub status: Option<RunStatus>,
}
