//! What can go wrong with a log, always with the file it went wrong in.

use std::io;
use std::path::{Path, PathBuf};

use super::LINE_BYTES_MAX;

/// A failed operation on a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A system call failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried, e.g. `write`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Bytes that no writer wrote, with more behind them: not a torn tail.
    #[error("{} is corrupt at byte {offset}: {problem}", path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where in it the bad record begins, bytes.
        offset: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A segment was written by a newer davit.
    #[error("{} has log version {found}, this davit reads up to {readable_max}", path.display())]
    TooNew {
        /// The segment.
        path: PathBuf,
        /// The version in it.
        found: u32,
        /// The newest this code knows.
        readable_max: u32,
    },
    /// The run has a log already: there is one writer a run.
    #[error("log segment {} exists already", .0.display())]
    Exists(PathBuf),
    /// A caller's mistake: lines are split before they are appended.
    #[error("a log line of {0} bytes is longer than {LINE_BYTES_MAX}")]
    LineTooLong(usize),
}

impl LogError {
    pub(super) fn io<'a>(
        operation: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn corrupt(path: &Path, offset: u64, problem: &'static str) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            offset,
            problem,
        }
    }
}
