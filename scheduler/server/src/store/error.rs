//! What can go wrong with the store itself. What is wrong with a request is a
//! [`Refusal`](super::Refusal), never an error.
//!
//! Every error names the operation and the first key of its batch. [`StoreError::is_retriable`] says
//! whether the same call may be made again; unless the failure is [`Failure::Unknown`], nothing of the
//! failed call was stored.

use std::path::PathBuf;

/// An operation that did not happen, or of which that is not known.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} ({key})")]
pub struct StoreError {
    /// The operation, as named in the trait.
    pub operation: &'static str,
    /// What it was about: the first key of the batch, and how many more.
    pub key: String,
    /// Why.
    #[source]
    pub failure: Failure,
}

impl StoreError {
    pub(crate) fn new(operation: &'static str, key: impl Into<String>, failure: Failure) -> Self {
        Self {
            operation,
            key: key.into(),
            failure,
        }
    }

    /// Whether the same call may succeed later. Every operation is written so that calling it again
    /// with the same ids does no harm, also after [`Failure::Unknown`].
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        self.failure.is_retriable()
    }
}

/// The cause of a [`StoreError`].
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection was refused or lost before the commit.
    #[error("the database cannot be reached; nothing was stored")]
    Unavailable {
        /// What the driver said.
        #[source]
        source: BoxedError,
    },
    /// The connection was lost while the commit was under way.
    #[error("the connection was lost during the commit; whether it was stored is not known")]
    Unknown {
        /// What the driver said.
        #[source]
        source: BoxedError,
    },
    /// No room on the disk.
    #[error("the database's disk is full; nothing was stored")]
    Full {
        /// What the driver said.
        #[source]
        source: BoxedError,
    },
    /// A bound on waiting work was reached.
    #[error("{what} did not come free in time; nothing was stored")]
    Busy {
        /// Which queue, pool or lock.
        what: &'static str,
    },
    /// Other transactions won every time.
    #[error("gave up after {tries} conflicts with other transactions; nothing was stored")]
    Conflict {
        /// How many times it was tried.
        tries: u32,
        /// What the driver said last.
        #[source]
        source: BoxedError,
    },
    /// A batch, page or document above its bound.
    #[error("{what}: {given} given, at most {max} allowed")]
    TooMuch {
        /// What of it.
        what: &'static str,
        /// How much.
        given: usize,
        /// The bound.
        max: usize,
    },
    /// The database was written by a later davit.
    #[error(
        "the schema has version {found}, this davit knows {known}: start the davit that wrote it, or a later one"
    )]
    TooNew {
        /// Version in the database.
        found: i64,
        /// Version this program brings.
        known: i64,
    },
    /// A stored value that no davit writes.
    #[error("column {column} of a row holds {found}, not {wanted}")]
    Corrupt {
        /// Position in the result.
        column: usize,
        /// What it should be.
        wanted: &'static str,
        /// What it is, shortened.
        found: String,
    },
    /// A setting the store cannot work with.
    #[error("{path}: {problem}")]
    Setting {
        /// The file or the setting.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Anything else the database refused.
    #[error("the database refused it")]
    Database {
        /// What the driver said.
        #[source]
        source: BoxedError,
    },
    /// The store was closed.
    #[error("the store is closed; nothing was stored")]
    Closed,
}

/// A driver's error, kept for the chain.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

impl Failure {
    /// See [`StoreError::is_retriable`].
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::Unknown { .. }
            | Self::Full { .. }
            | Self::Busy { .. }
            | Self::Conflict { .. } => true,
            Self::TooMuch { .. }
            | Self::TooNew { .. }
            | Self::Corrupt { .. }
            | Self::Setting { .. }
            | Self::Database { .. }
            | Self::Closed => false,
        }
    }
}

impl Failure {
    /// The same failure for another caller whose write shared it.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Full { source: cause } => Self::Full {
                source: cause.to_string().into(),
            },
            Self::Unavailable { source: cause } => Self::Unavailable {
                source: cause.to_string().into(),
            },
            Self::Busy { what } => Self::Busy { what },
            Self::Closed => Self::Closed,
            other => Self::Database {
                source: other.to_string().into(),
            },
        }
    }
}
