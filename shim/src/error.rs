//! What can go wrong with a request, and how containerd is told: one exhaustive match to status codes.

use containerd_shim_protos::ttrpc::{self, Code};
use rustix::io::Errno;

use crate::bundle::BundleError;
use crate::io::IoError;
use crate::mounts::MountError;
use crate::process::Phase;
use crate::reaper::ChildError;
use crate::run::RunError;
use crate::runtime::RuntimeError;
use crate::secrets::{PlaceError, ReceiveError};
use crate::slot::{ProgramError, SlotError};

/// A refused or failed request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error("container {0}: not found")]
    UnknownContainer(String),
    #[error("exec process {exec} in container {container}: not found")]
    UnknownExec { container: String, exec: String },
    #[error("container {0}: already exists")]
    ContainerExists(String),
    #[error("exec process {exec} in container {container}: already exists")]
    ExecExists { container: String, exec: String },
    #[error("cannot {action}: process is {phase:?}")]
    WrongPhase { action: &'static str, phase: Phase },
    #[error("cannot {action}: {why}")]
    Refused {
        action: &'static str,
        why: &'static str,
    },
    #[error("process already finished: not found")]
    Finished,
    #[error("field {field} of the request: {problem}")]
    Field {
        field: &'static str,
        problem: String,
    },
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Streams(#[from] IoError),
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Secrets(#[from] ReceiveError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("{0}")]
    Runtime(#[from] RuntimeError),
    #[error("cannot signal the process")]
    Signal(#[source] Errno),
    #[error("cannot {operation} the container's cgroup")]
    Cgroup {
        operation: &'static str,
        #[source]
        source: davit_cgroup::CgroupError,
    },
    #[error("the container's cgroup is gone: not found")]
    NoCgroup,
    #[error("cannot encode {0}")]
    Encode(
        &'static str,
        #[source] containerd_shim_protos::protobuf::Error,
    ),
}

impl TaskError {
    fn code(&self) -> Code {
        match self {
            Self::UnknownContainer(_)
            | Self::UnknownExec { .. }
            | Self::Finished
            | Self::NoCgroup => Code::NOT_FOUND,
            Self::ContainerExists(_) | Self::ExecExists { .. } => Code::ALREADY_EXISTS,
            Self::WrongPhase { .. } | Self::Refused { .. } => Code::FAILED_PRECONDITION,
            Self::Field { .. } => Code::INVALID_ARGUMENT,
            Self::Bundle(_)
            | Self::Mount(_)
            | Self::Streams(_)
            | Self::Child(_)
            | Self::Run(_)
            | Self::Secrets(_)
            | Self::Place(_)
            | Self::Slot(_)
            | Self::Program(_)
            | Self::Runtime(_)
            | Self::Signal(_)
            | Self::Cgroup { .. }
            | Self::Encode(..) => Code::UNKNOWN,
        }
    }
}

impl From<TaskError> for ttrpc::Error {
    fn from(error: TaskError) -> Self {
        ttrpc::Error::RpcStatus(ttrpc::get_status(error.code(), chain(&error)))
    }
}

/// An error with all its causes, in one line: the wire has no other place for them.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        // Transparent errors repeat their cause's text.
        if !text.ends_with(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let error = TaskError::Bundle(BundleError::Io {
            operation: "read",
            path: "/b/config.json".into(),
            source: std::io::Error::from_raw_os_error(2),
        });
        assert_eq!(
            chain(&error),
            "cannot read /b/config.json: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_finished_process_is_not_found() {
        let ttrpc::Error::RpcStatus(status) = TaskError::Finished.into() else {
            panic!("not a status");
        };
        assert_eq!(status.code(), Code::NOT_FOUND);
    }
}
