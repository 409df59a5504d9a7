//! Why no shim could be forked.

use std::io;
use std::path::PathBuf;

/// A shim that could not be forked; the plain way is open.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShimsError {
    /// It ended, or is being started again.
    #[error("there is no process to fork shims from at the moment")]
    NoZygote,
    /// It cannot be started.
    #[error("cannot execute {}", binary.display())]
    Execute {
        /// The shim's binary.
        binary: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Speaking with it failed.
    #[error("cannot {operation} the process that shims are forked from")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its answer is none.
    #[error("the process that shims are forked from answers nonsense")]
    Malformed(#[source] serde_json::Error),
    /// Its answer lacks the pidfd.
    #[error("the process that shims are forked from did not hand over a shim's pidfd")]
    NoPidfd,
    /// It refused.
    #[error("the shim could not be forked: {0}")]
    Refused(String),
    /// It took too long.
    #[error("the process that shims are forked from did not answer within {deadline_ms} ms")]
    Deadline {
        /// How long was waited.
        deadline_ms: u64,
    },
    /// Too many wait.
    #[error("{waiting_max} containers wait for a shim already")]
    Busy {
        /// The bound.
        waiting_max: usize,
    },
}

impl ShimsError {
    pub(super) fn io<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            operation,
            source: source.into(),
        }
    }
}
