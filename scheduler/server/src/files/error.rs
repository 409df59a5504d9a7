//! What can go wrong with files.

use crate::logs::LogError;
use crate::store::{Refusal, StoreError};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// More bytes than an upload may have.
    #[error(
        "the upload would have more than {bytes_max} bytes, which is as much as the operator allows (files.upload_bytes_max)"
    )]
    TooLarge {
        /// How many it may have.
        bytes_max: u64,
    },
    /// What is kept is not what its sender has.
    #[error("what was sent has SHA-256 {kept}, not {wanted}: begin another upload")]
    Differs {
        /// Of what is kept.
        kept: String,
        /// What the sender says.
        wanted: String,
    },
    /// The body broke off, or came too slowly. What came of it is stored.
    #[error("the body broke off: {problem}; {bytes} bytes are stored, go on there")]
    BrokeOff {
        /// How.
        problem: String,
        /// All that is stored.
        bytes: u64,
    },
    /// A bound of this replica.
    #[error("{streams_max} files are on their way here already")]
    Busy {
        /// How many may be.
        streams_max: usize,
    },
    /// A piece is not there, although its row is.
    #[error("the file is not whole any more: it has nothing at {offset}")]
    Lost {
        /// Where.
        offset: u64,
    },
    /// The object store failed.
    #[error(transparent)]
    Object(#[from] LogError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
