//! What is wanted of live runs: state, not messages.

use davit_types::{RunId, StopSignal, Tenant, limits};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How a live run should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Signal number.
    pub signal: i32,
    /// Then it is killed, milliseconds.
    pub grace_ms: u64,
}

/// What the user wants of a live run: state, not messages, so a lost message changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desired {
    /// It should end.
    pub stop: Option<Stop>,
    /// It should be frozen.
    pub paused: bool,
    /// Its timeout, if it was changed, seconds.
    pub timeout_seconds: Option<u64>,
    /// Why it should end, if no user said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<Cause>,
}

/// Why davit itself ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its tenant spent what it may.
    SpendCap,
    /// Its host was being drained, and the deadline came.
    Drained,
}

impl Cause {
    /// For the run's owner.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::SpendCap => "stopped because the tenant's spend cap is reached",
            Self::Drained => {
                "stopped because its executor is taken out of service and the deadline for that has passed"
            }
        }
    }

    /// How it is stopped: as by a user who says nothing else.
    #[must_use]
    pub const fn stop(self) -> Stop {
        Stop {
            signal: StopSignal::TERM.number(),
            grace_ms: limits::STOP_GRACE_MS_DEFAULT,
        }
    }
}

/// A change of what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Let it end; a second stop only makes it sooner.
    Stop(Stop),
    /// Let it end if it has a host; one that waits goes on waiting.
    End(Cause),
    /// Freeze it.
    Pause,
    /// Let it go on.
    Resume,
    /// Give it another timeout, seconds.
    Timeout(u64),
}

/// A user's order to a run.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whose run it must be.
    pub tenant: Tenant,
    /// Which.
    pub run: RunId,
    /// What.
    pub want: Want,
    /// Who says so.
    pub actor: String,
    /// When.
    pub at_ms: u64,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// The host will be told.
    Wanted,
    /// The run had no host: it is canceled.
    Canceled,
    /// The run was over, or the order changes nothing.
    Unchanged,
}

/// An order that a host has not heeded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOrder {
    /// Which run.
    pub run: RunId,
    /// The live attempt.
    pub attempt: u32,
    /// Its host.
    pub host: Uuid,
    /// All that is wanted.
    pub desired: Desired,
    /// The revision to heed.
    pub revision: u32,
}
