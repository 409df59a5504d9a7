//! Why there is no console.

use davit_types::{RunId, RunStatus};
use tonic::Code;
use uuid::Uuid;

/// A console that was not opened.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// There is no process to be at the side of.
    #[error("run {run} is {}: a console needs one that executes", status.as_str())]
    NotRunning {
        /// Which run.
        run: RunId,
        /// What it is.
        status: RunStatus,
    },
    /// As many as there may be.
    #[error("{what} has {max} consoles already, which is as many as there may be")]
    Full {
        /// Who.
        what: Bound,
        /// The bound.
        max: usize,
    },
    /// Its host is with another replica, which this one cannot reach.
    #[error(
        "the host of run {run} is connected to another replica of the scheduler ({replica}): repeat the request until it \
         comes to that one"
    )]
    Elsewhere {
        /// Which run.
        run: RunId,
        /// Where its host is.
        replica: Uuid,
    },
    /// Its host is with nobody, or went away meanwhile.
    #[error("the host of run {run} is not connected")]
    HostGone {
        /// Which run.
        run: RunId,
    },
    /// Its host did not do it in time.
    #[error("the host of run {run} did not {wanted} the console within {waited_ms} ms")]
    Late {
        /// Which run.
        run: RunId,
        /// What it should have done.
        wanted: &'static str,
        /// How long.
        waited_ms: u64,
    },
    /// Its host would not.
    #[error("{message}")]
    Refused {
        /// Which run.
        run: RunId,
        /// Of what kind.
        code: Code,
        /// Its words, shortened.
        message: String,
    },
    /// Its host said something else.
    #[error("the host of run {run} answered what has no place there")]
    OutOfPlace {
        /// Which run.
        run: RunId,
    },
}

/// Of whom there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Of this replica.
    Replica,
    /// Of one tenant.
    Tenant,
    /// At one host.
    Host,
    /// At one run.
    Run,
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Replica => "this replica",
            Self::Tenant => "the tenant",
            Self::Host => "the run's host",
            Self::Run => "the run",
        })
    }
}
