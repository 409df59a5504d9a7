//! Why an archive is not unpacked.

use std::io;

use rustix::io::Errno;

use crate::files::archive::ArchiveError;
use crate::files::member::{MemberPath, printable};

/// Why an archive was not unpacked whole.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is no archive, or the stream broke off.
    #[error("the archive cannot be read")]
    Archive(#[source] io::Error),
    /// A member that is not taken.
    #[error("member `{member}` {problem}")]
    Refused {
        /// Its path.
        member: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A member that cannot be made.
    #[error("cannot {operation} `{member}`")]
    Make {
        /// What was tried.
        operation: &'static str,
        /// Its path.
        member: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Too much.
    #[error("the files are more than {name} = {max} {unit}")]
    TooMuch {
        /// The bound.
        name: &'static str,
        /// Its value.
        max: u64,
        /// Of what.
        unit: &'static str,
    },
}

impl UnpackError {
    /// Whether there was no room for it, be it the file system's or a quota's.
    pub(crate) fn is_out_of_room(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Make { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

impl From<ArchiveError> for UnpackError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Read(source) => Self::Archive(source),
            ArchiveError::Refused { member, problem } => Self::Refused { member, problem },
        }
    }
}

impl From<io::Error> for UnpackError {
    fn from(source: io::Error) -> Self {
        Self::Archive(source)
    }
}

pub(super) fn refused(path: &MemberPath, problem: impl Into<String>) -> UnpackError {
    UnpackError::Refused {
        member: printable(path.as_bytes()),
        problem: problem.into(),
    }
}

/// A parent that cannot be opened is a link, or no directory, where the archive wants one.
pub(super) fn led_out(path: &MemberPath, error: Errno) -> UnpackError {
    match error {
        Errno::LOOP | Errno::XDEV => refused(
            path,
            "leads through a symbolic link: links are not followed",
        ),
        Errno::NOTDIR => refused(path, "is below something that is no directory"),
        other => failed("open the directory of", path)(other),
    }
}

pub(super) fn failed(
    operation: &'static str,
    path: &MemberPath,
) -> impl FnOnce(Errno) -> UnpackError {
    move |error| make_failed(operation, path, error.into())
}

pub(super) fn make_failed(
    operation: &'static str,
    path: &MemberPath,
    source: io::Error,
) -> UnpackError {
    UnpackError::Make {
        operation,
        member: printable(path.as_bytes()),
        source,
    }
}

pub(super) fn too_much(name: &'static str, max: u64, unit: &'static str) -> UnpackError {
    UnpackError::TooMuch { name, max, unit }
}
