//! The operator's hosts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::run_view::Status;
use super::time;
use crate::service::executors::Detail;
use crate::store::{ActiveRun, Host, HostState};

/// A host.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct ExecutorView {
    id: Uuid,
    name: String,
    region: String,
    state: ExecutorState,
    /// Whether a replica ends its connection.
    connected: bool,
    /// When it was last heard of.
    heard_at: Option<String>,
    /// Counts its connections.
    epoch: Option<u64>,
    /// While it drains: until when it has its runs; as long as they take, when `null`.
    drain_deadline: Option<String>,
    /// Whether the runs that are left then are stopped.
    drain_stops_runs: bool,
}

/// Whether a host is given runs.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum ExecutorState {
    /// Yes.
    Online,
    /// It finishes what it has.
    Draining,
    /// Its starts fail.
    Quarantined,
    /// An operator took it out.
    Removed,
}

impl From<Host> for ExecutorView {
    fn from(host: Host) -> Self {
        let session = host.session;
        Self {
            id: host.host,
            name: host.name,
            region: host.region,
            state: match host.state {
                HostState::Online => ExecutorState::Online,
                HostState::Draining => ExecutorState::Draining,
                HostState::Quarantined => ExecutorState::Quarantined,
                HostState::Removed => ExecutorState::Removed,
            },
            connected: session.as_ref().is_some_and(|s| s.replica.is_some()),
            heard_at: session.as_ref().map(|s| time(s.heard_ms)),
            epoch: session.map(|s| s.epoch),
            drain_deadline: host.drain.deadline_ms.map(time),
            drain_stops_runs: host.drain.stops_runs,
        }
    }
}

/// A page of hosts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct ExecutorsReply {
    pub(in crate::rest) executors: Vec<ExecutorView>,
    /// Where the next page begins; `null` after the last.
    pub(in crate::rest) next: Option<String>,
}

/// How a host is drained.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::rest) struct DrainInput {
    /// How long it has its runs: 0 to 604800; as long as they take, when absent.
    pub(in crate::rest) deadline_seconds: Option<u64>,
    /// Whether those that are left then are stopped, as by a user: SIGTERM, and the kill after ten seconds.
    pub(in crate::rest) stop_runs: bool,
}

/// A run that a host has: what a drain waits for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct HeldView {
    run_id: Uuid,
    tenant: String,
    status: Status,
    started_at: Option<String>,
    /// Whether it is to stop.
    stopping: bool,
}

impl From<ActiveRun> for HeldView {
    fn from(row: ActiveRun) -> Self {
        Self {
            run_id: *row.run.as_uuid(),
            tenant: row.tenant.as_str().to_owned(),
            status: row.state.status().into(),
            started_at: row.started_ms.map(time),
            stopping: row.desired.stop.is_some(),
        }
    }
}

/// One host and the runs that it has.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct ExecutorReply {
    executor: ExecutorView,
    /// A host that drains is empty when there are none.
    runs: Vec<HeldView>,
}

impl From<Detail> for ExecutorReply {
    fn from(detail: Detail) -> Self {
        Self {
            executor: detail.host.into(),
            runs: detail.runs.into_iter().map(Into::into).collect(),
        }
    }
}
