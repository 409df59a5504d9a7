//! What can go wrong with containerd, each with what was tried on what.

use std::io;
use std::path::PathBuf;

use containerd_client::tonic::{Code, Status};

/// A failed call to containerd.
#[derive(Debug, thiserror::Error)]
pub enum ContainerdError {
    /// There is no socket.
    #[error(
        "no containerd socket at {}: install and start containerd, or set its socket in davit's settings",
        path.display()
    )]
    NoSocket {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The socket is not ours to use.
    #[error("not allowed to open the containerd socket {}: run davit as root", path.display())]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// The socket exists, nobody answers.
    #[error("containerd does not answer on {}: is it running?", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It did not answer when this executor began, and has not since.
    #[error(
        "containerd does not answer on {}: runs that are there go on and can be followed and ended, new \
         ones are refused until it does",
        path.display()
    )]
    Away {
        /// The socket.
        path: PathBuf,
    },
    /// containerd is older than davit can work with.
    #[error("containerd {found} is too old: davit needs {oldest} or newer")]
    TooOld {
        /// What it said.
        found: String,
        /// What is needed.
        oldest: &'static str,
    },
    /// A setting containerd cannot accept.
    #[error("containerd cannot use the {setting} `{value}`: {problem}")]
    Setting {
        /// `namespace` or `snapshotter`.
        setting: &'static str,
        /// What was set.
        value: String,
        /// Why not.
        problem: String,
    },
    /// The object does not exist.
    #[error("cannot {operation} {object}: containerd has no such object ({message})")]
    NotFound {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// containerd's words.
        message: String,
    },
    /// The object exists already.
    #[error("cannot {operation} {object}: it exists already")]
    AlreadyExists {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
    },
    /// containerd went away or is not there.
    #[error("cannot {operation} {object}: containerd is not reachable")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The transport's words.
        #[source]
        source: Box<Status>,
    },
    /// containerd took too long.
    #[error("cannot {operation} {object}: containerd did not answer within {deadline_ms} ms")]
    Deadline {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// How long was waited.
        deadline_ms: u64,
    },
    /// containerd refused. Its words are in the sentence, so the status is no cause to be told after it.
    #[error("cannot {operation} {object}: {}", status.message())]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// Code and message.
        status: Box<Status>,
    },
    /// An answer that breaks containerd's own contract.
    #[error("cannot {operation} {object}: containerd's answer {problem}")]
    Malformed {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl ContainerdError {
    pub(super) fn from_status(operation: &'static str, object: &str, status: Status) -> Self {
        let object = object.to_owned();
        // A status of containerd's comes alone; one with a source was made here, of a connection
        // that broke, whatever its code (tonic says Unknown of a broken pipe).
        let code = match std::error::Error::source(&status) {
            Some(_) => Code::Unavailable,
            None => status.code(),
        };
        match code {
            Code::NotFound => Self::NotFound {
                operation,
                object,
                message: status.message().to_owned(),
            },
            Code::AlreadyExists => Self::AlreadyExists { operation, object },
            Code::Unavailable => Self::Unavailable {
                operation,
                object,
                source: Box::new(status),
            },
            _ => Self::Refused {
                operation,
                object,
                status: Box::new(status),
            },
        }
    }

    /// Whether the object does not exist.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the object exists already.
    #[must_use]
    pub const fn is_already_exists(&self) -> bool {
        matches!(self, Self::AlreadyExists { .. })
    }

    /// Whether a directory is in the way that a containerd which was killed had made and not yet recorded.
    pub(super) fn is_crash_residue(&self) -> bool {
        let Self::Refused { status, .. } = self else {
            return false;
        };
        let words = status.message();
        words.contains("failed to rename") && words.ends_with("file exists")
    }

    /// Whether containerd is not there, rather than there and unfit.
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::NoSocket { .. } | Self::Unreachable { .. }) || self.is_transient()
    }

    /// Whether trying again later may help: containerd restarts or is overloaded.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Deadline { .. })
    }
}

/// Success for a removal of what is gone already.
pub(super) fn gone_is_fine<T: Default>(
    result: Result<T, ContainerdError>,
) -> Result<T, ContainerdError> {
    match result {
        Err(error) if error.is_not_found() => Ok(T::default()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::sentence;

    #[test]
    fn what_a_crash_left_is_told_from_what_exists() {
        let of = |status| ContainerdError::from_status("prepare snapshot", "x.1", status);
        let left = "failed to rename: rename /c/snapshots/new-1 /c/snapshots/257: file exists";
        assert!(of(Status::unknown(left)).is_crash_residue());
        assert!(!of(Status::already_exists("snapshot \"x.1\": already exists")).is_crash_residue());
        assert!(
            !of(Status::unknown("failed to rename: no space left on device")).is_crash_residue()
        );
    }

    #[test]
    fn a_refusal_is_told_once_and_in_containerds_words() {
        let words = "OCI runtime create failed: exec: no such file";
        let status = Status::unknown(words);
        let error = ContainerdError::from_status("start task", "x.1", status);
        assert_eq!(sentence(&error), format!("cannot start task x.1: {words}"));
    }
}
