//! Why a run could not be held, and how a command to it is refused.

use std::io;
use std::path::PathBuf;

use davit_cgroup::CgroupError;
use davit_rundir::{ControlError, ControlErrorCode, RunDirError, SlotId};

use super::capture::CaptureError;
use crate::lines::ListenError;

/// Why a run could not be held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("annotation davit.run-dir: {} is not named <run id>.<attempt>", .0.display())]
    NotARun(PathBuf),
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error("run directory {} has no launch.json", .0.display())]
    NoLaunch(PathBuf),
    #[error("run directory {} was used before", .0.display())]
    UsedBefore(PathBuf),
    #[error(
        "launch.json in {} is for {}, not for {}",
        dir.display(), place(wanted.as_ref()), place(found.as_ref())
    )]
    OtherPlace {
        dir: PathBuf,
        wanted: Option<SlotId>,
        found: Option<SlotId>,
    },
    #[error("cannot capture output")]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot {operation} the run's cgroup")]
    Cgroup {
        operation: &'static str,
        #[source]
        source: CgroupError,
    },
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Control(#[from] ControlError),
    #[error("run is in the wrong state: {0}")]
    OutOfOrder(&'static str),
}

impl RunError {
    /// There is no cgroup for a process beside the job.
    pub(crate) const fn exec_cgroup(source: CgroupError) -> Self {
        Self::Cgroup {
            operation: "make a cgroup for a process below",
            source,
        }
    }
}

fn place(slot: Option<&SlotId>) -> String {
    slot.map_or_else(
        || "a container of its own".to_owned(),
        |id| format!("slot {id}"),
    )
}

/// The answer to a command that cannot be obeyed.
pub(super) fn refused(code: ControlErrorCode, message: &str) -> ControlError {
    ControlError {
        code,
        message: message.to_owned(),
    }
}
