//! What can go wrong with logs. Cheap to clone: all who waited for a chunk are told the same.

use std::sync::Arc;

use davit_types::RunKey;

use crate::store::{Refusal, StoreError};

/// See the module.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Records before these are missing, or a batch has a hole.
    #[error("line {expected} of {key} is wanted next, not {given}")]
    Gap {
        /// Whose.
        key: RunKey,
        /// The record's.
        given: u64,
        /// What is wanted.
        expected: u64,
    },
    /// The store does not take them from this sender.
    #[error("the log of {key} is not taken")]
    Refused {
        /// Whose.
        key: RunKey,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// A bound of a batch.
    #[error("{what} of a batch of {key}: {given} bytes, at most {max} are allowed")]
    TooMuch {
        /// Whose.
        key: RunKey,
        /// The batch, or a line of it.
        what: &'static str,
        /// How much.
        given: usize,
        /// The bound.
        max: usize,
    },
    /// More lines wait to be stored than may: these were not taken, and may be sent again later.
    #[error("lines of {key} found no room among those of {of} that wait to be stored")]
    NoRoom {
        /// Whose.
        key: RunKey,
        /// Whose room it is.
        of: &'static str,
    },
    /// The follower read too slowly; it may go on after a line.
    #[error("this follower is too slow: go on after line {after_id}")]
    TooSlow {
        /// The last line that was given.
        after_id: u64,
    },
    /// A bound of this replica.
    #[error("{what}: there are {max} already")]
    Busy {
        /// Of what there are too many.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// No such run.
    #[error("there is no run of attempt {key}")]
    Unknown {
        /// As asked for.
        key: RunKey,
    },
    /// The index failed.
    #[error("the index of the log of {key} cannot be used")]
    Store {
        /// Whose, or `-` for all.
        key: String,
        /// Why.
        #[source]
        source: Arc<StoreError>,
    },
    /// The object store failed.
    #[error("cannot {operation} {object}")]
    Object {
        /// What was tried.
        operation: &'static str,
        /// With what.
        object: String,
        /// What the object store said.
        #[source]
        source: Arc<object_store::Error>,
    },
    /// The object store did not answer.
    #[error("{operation} {object} took longer than {max_ms} ms")]
    Slow {
        /// What was tried.
        operation: &'static str,
        /// With what.
        object: String,
        /// The bound.
        max_ms: u64,
    },
    /// An object is not the chunk it should be.
    #[error("{object} is damaged")]
    Damaged {
        /// Which.
        object: String,
        /// How.
        #[source]
        problem: ChunkProblem,
    },
    /// This replica stops.
    #[error("the log of {key} is not taken any more: the scheduler stops")]
    Stopped {
        /// Whose.
        key: RunKey,
    },
}

/// What is wrong with the bytes of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkProblem {
    /// It begins with something else, or ends too early.
    #[error("it is not a log chunk")]
    NotAChunk,
    /// A later davit's.
    #[error("it has version {found}, this davit reads {known}")]
    Version {
        /// In the object.
        found: u16,
        /// Known here.
        known: u16,
    },
    /// Another attempt's, or other lines.
    #[error("it holds lines {first_id} to {last_id} of another place")]
    Misplaced {
        /// Its first line.
        first_id: u64,
        /// Its last line.
        last_id: u64,
    },
    /// It says it is larger than any chunk.
    #[error("it says it holds {given} bytes, at most {max} are allowed")]
    TooLarge {
        /// What it says.
        given: usize,
        /// The bound.
        max: usize,
    },
    /// Bytes changed.
    #[error("its checksum is wrong")]
    Checksum,
    /// It cannot be decompressed or taken apart.
    #[error("its records cannot be read")]
    Records,
}

impl LogError {
    /// Whether the same may succeed later without the host doing anything about it.
    pub(crate) fn is_retriable(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_retriable(),
            Self::Object { source, .. } => !matches!(
                **source,
                object_store::Error::NotFound { .. } | object_store::Error::InvalidPath { .. }
            ),
            Self::Slow { .. } => true,
            _ => false,
        }
    }

    pub(super) fn store(key: impl ToString, source: StoreError) -> Self {
        Self::Store {
            key: key.to_string(),
            source: Arc::new(source),
        }
    }
}
