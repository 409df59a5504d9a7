//! What PostgreSQL's errors mean: again, later, or never.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::super::error::{BoxedError, Failure};

/// Why a transaction came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another transaction was first; this one is rolled back and may be tried again.
    Conflict(BoxedError),
    /// Anything else.
    Failed(Failure),
}

impl Trouble {
    /// For who does not try again.
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Conflict(source) => Failure::Conflict { tries: 1, source },
            Self::Failed(failure) => failure,
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Codes, or beginnings of them: shut down or starting (57P), connections (08), a standby (25006), a
/// transaction that was silent for too long (25P03), an I/O error (58030).
const UNAVAILABLE: &[&str] = &["57P", "08", "25006", "25P03", "58030"];

/// An error before the commit: nothing is stored.
pub(super) fn trouble(error: Error) -> Trouble {
    let Some(state) = error.code() else {
        // Without a code it is the connection, unless we misused it.
        return Trouble::Failed(Failure::Unavailable {
            source: error.into(),
        });
    };
    let conflicts = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        // Two callers made the same row: the second look will find it.
        SqlState::UNIQUE_VIOLATION,
    ];
    if conflicts.contains(state) {
        return Trouble::Conflict(error.into());
    }
    Trouble::Failed(match state.code() {
        "53100" => Failure::Full {
            source: error.into(),
        },
        "53300" => Failure::Busy {
            what: "a connection of the server",
        },
        // Lock and statement timeouts.
        "55P03" | "57014" => Failure::Busy {
            what: "a lock or a statement",
        },
        code if UNAVAILABLE.iter().any(|begin| code.starts_with(begin)) => Failure::Unavailable {
            source: error.into(),
        },
        _ => Failure::Database {
            source: error.into(),
        },
    })
}

/// An error of the commit itself: with the connection gone, nobody knows.
pub(super) fn lost_in_commit(error: Error) -> Trouble {
    let shut_down = error
        .code()
        .is_some_and(|state| state.code().starts_with("57P"));
    if error.code().is_none() || shut_down {
        return Trouble::Failed(Failure::Unknown {
            source: error.into(),
        });
    }
    trouble(error)
}
