//! What can go wrong with a run directory, always with the path it went wrong at.

use std::io;
use std::path::PathBuf;

/// A failed operation on a run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// A system call failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried, e.g. `create`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A record is no valid JSON of its type.
    #[error("{} holds no valid record", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A record was written by a newer davit.
    #[error("{} has format version {found}, this davit reads up to {readable_max}", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The version in it.
        found: u32,
        /// The newest this code knows.
        readable_max: u32,
    },
    /// A record is larger than any that davit writes.
    #[error("{} is larger than {bytes_max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest allowed, bytes.
        bytes_max: u64,
    },
    /// The directory of a run exists already.
    #[error("run directory {} exists already", .0.display())]
    Exists(PathBuf),
}

impl RunDirError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}
