//! Why the engine refuses what it is told. Nothing has changed then.

use davit_types::{RunId, RunKey};

use crate::amounts::Dimension;
use crate::names::HostName;

/// A refusal: operation, value and limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The run is here already.
    #[error(
        "run {run}: attempt {given} refused, attempt {alive} is here; end that first: \
         a run has one live attempt"
    )]
    AttemptAlive {
        /// The run.
        run: RunId,
        /// The attempt that was told.
        given: u32,
        /// The one that is here.
        alive: u32,
    },
    /// No such attempt is here: it ended already, or another attempt took its place.
    #[error("run {key}: not known here, or ended already")]
    UnknownRun {
        /// The attempt that was told.
        key: RunKey,
    },
    /// The run has not been assigned.
    #[error("run {key}: waits, so it cannot have been started anywhere")]
    NotAssigned {
        /// The attempt that was told.
        key: RunKey,
    },
    /// No such host.
    #[error("host {host}: not known here")]
    UnknownHost {
        /// Its name.
        host: HostName,
    },
    /// The host still holds reservations.
    #[error("host {host}: {live} live runs hold reservations on it; end them first")]
    HostHolds {
        /// Its name.
        host: HostName,
        /// How many.
        live: usize,
    },
    /// An amount is zero that must not be, or too large.
    #[error("{what}: {amount} of {dimension}, allowed are {min} to {max}")]
    Amount {
        /// Whose.
        what: String,
        /// Which of the four.
        dimension: Dimension,
        /// What was told.
        amount: u64,
        /// Least allowed.
        min: u64,
        /// Most allowed.
        max: u64,
    },
    /// A list is too long.
    #[error("{what}: {count} {items}, at most {max} allowed")]
    TooMany {
        /// Whose list.
        what: String,
        /// Of what.
        items: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        max: usize,
    },
}
