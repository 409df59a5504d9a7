//! How many calls to containerd failed, by kind.
//!
//! Process-wide: an executor has one containerd, and a handle passed through every call would serve
//! nothing else. What does not exist, or exists already, is an answer and no failure.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::ContainerdError;

static UNAVAILABLE: AtomicU64 = AtomicU64::new(0);
static DEADLINE: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static MALFORMED: AtomicU64 = AtomicU64::new(0);

/// The counters, for whoever tells of them.
pub(crate) struct CallFailures;

impl CallFailures {
    /// Every kind and its count since this process began.
    pub(crate) fn counts() -> [(&'static str, u64); 4] {
        [
            ("unavailable", UNAVAILABLE.load(Relaxed)),
            ("deadline", DEADLINE.load(Relaxed)),
            ("refused", REFUSED.load(Relaxed)),
            ("malformed", MALFORMED.load(Relaxed)),
        ]
    }

    /// Counts `error`, if it is a failure of a call.
    pub(super) fn note(error: ContainerdError) -> ContainerdError {
        let counter = match &error {
            ContainerdError::Unavailable { .. } => &UNAVAILABLE,
            ContainerdError::Deadline { .. } => &DEADLINE,
            ContainerdError::Refused { .. } => &REFUSED,
            ContainerdError::Malformed { .. } => &MALFORMED,
            ContainerdError::NoSocket { .. }
            | ContainerdError::Permission { .. }
            | ContainerdError::Unreachable { .. }
            | ContainerdError::Away { .. }
            | ContainerdError::TooOld { .. }
            | ContainerdError::Setting { .. }
            | ContainerdError::NotFound { .. }
            | ContainerdError::AlreadyExists { .. } => return error,
        };
        counter.fetch_add(1, Relaxed);
        error
    }
}
