//! Hosts, their sessions, and the replicas that end them.

use std::fmt;

use davit_types::{RunId, RunKey};
use uuid::Uuid;

use super::{ActiveRun, Sender};

/// Whether a host may be given runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostState {
    /// Yes.
    Online,
    /// It finishes what it has.
    Draining,
    /// Its starts fail; it is probed.
    Quarantined,
    /// An operator took it out.
    Removed,
}

impl HostState {
    /// Every state; the position is what is stored.
    pub const ALL: [Self; 4] = [
        Self::Online,
        Self::Draining,
        Self::Quarantined,
        Self::Removed,
    ];
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Online => "online",
            Self::Draining => "draining",
            Self::Quarantined => "quarantined",
            Self::Removed => "removed",
        })
    }
}

/// A registered host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its id, for ever.
    pub host: Uuid,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Whether it is given runs.
    pub state: HostState,
    /// Labels and what else it was registered with, JSON.
    pub body: String,
    /// While it drains: until when.
    pub drain: Drain,
    /// Its session, if it ever had one.
    pub session: Option<Session>,
}

/// How long a draining host has its runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// By the store's clock, Unix milliseconds; as long as they take, when absent.
    pub deadline_ms: Option<u64>,
    /// Whether those that are left then are stopped.
    pub stops_runs: bool,
}

/// An order to drain a host.
#[derive(Clone, Debug)]
pub struct DrainOrder {
    /// Which.
    pub host: Uuid,
    /// How long from now on it has its runs; as long as they take, when absent.
    pub within_ms: Option<u64>,
    /// Whether those that are left then are stopped.
    pub stops_runs: bool,
    /// Who says so.
    pub actor: String,
    /// When.
    pub at_ms: u64,
}

/// A host's latest connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Bumped at each hello: what comes by an earlier connection is told apart.
    pub epoch: u64,
    /// Who ends the connection; absent once that replica is dead.
    pub replica: Option<Uuid>,
    /// Of the kernel.
    pub boot_id: String,
    /// When it was last heard of, by the store's clock, Unix milliseconds.
    pub heard_ms: u64,
    /// Its latest heartbeat, JSON.
    pub beat: String,
}

/// A host connects.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Who.
    pub host: Uuid,
    /// To whom.
    pub replica: Uuid,
    /// Of its kernel.
    pub boot_id: String,
    /// Capacity, inventory: JSON.
    pub beat: String,
}

/// What a host is told after its hello: what the store believes it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The epoch of the new session.
    pub epoch: u64,
    /// Live attempts of the host: which step, segment and log line is wanted next is in each.
    pub runs: Vec<HeldRun>,
}

/// An attempt that a host should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRun {
    /// The row.
    pub row: ActiveRun,
    /// What to execute, should the host never have heard of it.
    pub spec: String,
}

impl HeldRun {
    /// The attempt.
    #[must_use]
    pub fn key(&self) -> Option<RunKey> {
        let attempt = davit_types::Attempt::new(self.row.attempt)?;
        Some(RunKey {
            run: self.row.run,
            attempt,
        })
    }
}

/// A heartbeat.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Whose.
    pub from: Sender,
    /// Load, inventory: JSON.
    pub body: String,
}

/// A new one-time permission to register.
#[derive(Clone, Debug)]
pub struct JoinToken {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// The region of the host that uses it.
    pub region: String,
    /// Not valid after, Unix milliseconds.
    pub expires_ms: u64,
    /// Who made it.
    pub actor: String,
    /// When.
    pub at_ms: u64,
}

/// A host registers.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// SHA-256 of the token it shows.
    pub hash: [u8; 32],
    /// The id it will have.
    pub host: Uuid,
    /// The name it will have.
    pub name: String,
    /// Labels and so on, JSON.
    pub body: String,
    /// When.
    pub at_ms: u64,
}

/// What was left by replicas that are dead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The dead.
    pub replicas: Vec<Uuid>,
    /// Runs that wait again.
    pub runs: Vec<RunId>,
    /// Hosts without a connection, as far as anybody knows.
    pub hosts: Vec<Uuid>,
}
