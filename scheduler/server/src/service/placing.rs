//! What the service asks of the part that places runs: to look, and to warm. It decides nothing here.
//!
//! ```text
//!  GET …/runs/:id, POST /v1/explain ─► explain, explain_new ─┐
//!  POST …/runners/:id/warmup ────────► warm ─────────────────┴► dyn Placing (dispatch implements it)
//! ```
//!
//! Invariants: every call answers at once from memory, and changes no run.
//!
//! Absent on purpose: submit, stop and the like. These are desired state in the store; dispatch finds them there.

use std::collections::BTreeMap;

use async_trait::async_trait;
use davit_types::{RunId, Tenant};
use uuid::Uuid;

use super::planned::PlannedRun;

/// Answers questions about placement.
#[async_trait]
pub trait Placing: Send + Sync {
    /// Why a run waits. `None`: this replica does not know of it (it may be another's, or not claimed yet).
    async fn explain(&self, run: RunId) -> Option<Explained>;
    /// What would become of a run that was submitted now, alone in the queue.
    async fn explain_new(&self, candidate: Candidate) -> Explained;
    /// Lets a host of the region fetch a runner's image and prefers that host for the runner's next run.
    ///
    /// # Errors
    /// No host can.
    async fn warm(&self, wish: WarmWish) -> Result<(), WarmRefused>;
}

/// A run that nobody has submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whose.
    pub tenant: Tenant,
    /// Of which saved runner.
    pub runner: Option<Uuid>,
    /// Where.
    pub region: String,
    /// Higher goes first.
    pub priority: i32,
    /// What.
    pub plan: PlannedRun,
}

/// Why a run waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// One word for programs, as `full`, `runner_at_cap`, `no_hosts`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// The dimension that is short: `cpu`, `memory`, `pids` or `disk`.
    pub scarce: Option<String>,
    /// Where in the queue.
    pub position: Option<QueuePosition>,
    /// How many hosts say what. Words, never names of hosts: these are the operator's business.
    pub hosts: BTreeMap<String, u64>,
}

/// How many runs come before one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePosition {
    /// So many.
    pub ahead: u64,
    /// Or more, because counting was ended there.
    pub or_more: bool,
}

/// A runner that is to be warmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmWish {
    /// Names the wish: warmed is told with it.
    pub warm_id: Uuid,
    /// Whose.
    pub tenant: Tenant,
    /// Which.
    pub runner: Uuid,
    /// Where.
    pub region: String,
    /// The image as a request names it.
    pub image: String,
    /// The registry whose credentials the pull needs.
    pub registry_owner: Option<Uuid>,
    /// Names of the executors it may be warmed on; any, when empty.
    pub executors: Vec<String>,
    /// Labels the host must have.
    pub labels_wanted: BTreeMap<String, String>,
}

/// Why nothing is warmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WarmRefused {
    /// There is no host that could.
    #[error("no host of region `{region}` that the runner may go to is online")]
    NoHost {
        /// Which region.
        region: String,
    },
    /// Too many are warmed at once.
    #[error("{limit} images are being fetched ahead already")]
    Busy {
        /// How many may be.
        limit: usize,
    },
}
