//! Why an operation on runs was refused or failed.

use davit_cgroup::CgroupError;
use davit_rundir::log::LogError;
use davit_rundir::{ControlError, RunDirError};
use davit_types::{FieldErrors, RunId, RunKey};

use super::shim::ShimError;
use crate::containerd::ContainerdError;

/// A failed operation on runs; the API turns each into one gRPC status.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The request is wrong.
    #[error(transparent)]
    Invalid(#[from] FieldErrors),
    /// No such run.
    #[error("no run `{reference}` on this host: `davit ps -a` lists them")]
    NotFound {
        /// As given.
        reference: String,
    },
    /// Several runs begin so.
    #[error("`{reference}` begins the ids of {matches} runs: write more of it")]
    Ambiguous {
        /// As given.
        reference: String,
        /// How many.
        matches: usize,
    },
    /// The name is in use.
    #[error("name `{name}` belongs to the live run {holder}: end it or choose another name")]
    NameTaken {
        /// The name.
        name: String,
        /// Its holder.
        holder: RunId,
    },
    /// The host has had this attempt, or a later one.
    #[error("attempt {key} cannot begin: this host has had {last}")]
    AttemptKnown {
        /// The attempt that was to begin.
        key: RunKey,
        /// The last one it has had.
        last: RunKey,
    },
    /// The host is full.
    #[error("{live_runs_max} runs are live, as many as `live_runs_max` allows: try again later")]
    TooManyLive {
        /// The setting.
        live_runs_max: usize,
    },
    /// The operation needs a running job.
    #[error("cannot {operation} run {run}: it is {phase}")]
    WrongPhase {
        /// What was tried.
        operation: &'static str,
        /// On which run.
        run: RunId,
        /// Where it stands.
        phase: &'static str,
    },
    /// Only ended runs can be removed.
    #[error("run {run} is {phase}: end it first with `davit stop`, or use `davit rm --force`")]
    StillLive {
        /// Which run.
        run: RunId,
        /// Where it stands.
        phase: &'static str,
    },
    /// The shim refused.
    #[error("cannot {operation} run {run}: {source}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// On which run.
        run: RunId,
        /// The shim's words.
        #[source]
        source: ControlError,
    },
    /// The shim did not answer.
    #[error("cannot {operation} run {run}: its shim does not answer")]
    Shim {
        /// What was tried.
        operation: &'static str,
        /// On which run.
        run: RunId,
        /// Why not.
        #[source]
        source: ShimError,
    },
    /// Its commands pile up.
    #[error("cannot {operation} run {run}: too many requests on it are waiting")]
    Busy {
        /// What was tried.
        operation: &'static str,
        /// On which run.
        run: RunId,
    },
    /// The run directory failed.
    #[error("run {run}: {source}")]
    RunDir {
        /// Which run.
        run: RunId,
        /// What failed.
        #[source]
        source: RunDirError,
    },
    /// The directory of run directories cannot be listed.
    #[error("cannot list the runs on disk: {source}")]
    RunsDir {
        /// What failed.
        #[source]
        source: RunDirError,
    },
    /// davit's cgroup cannot be listed.
    #[error("cannot list the cgroups of runs: {source}")]
    Cgroup {
        /// What failed.
        #[source]
        source: CgroupError,
    },
    /// The log cannot be read.
    #[error("the log of run {run} cannot be read: {source}")]
    Log {
        /// Which run.
        run: RunId,
        /// What failed.
        #[source]
        source: LogError,
    },
    /// containerd failed.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// The executor is going down; its runs are not.
    #[error("the executor is shutting down: ask again when it is back, the run goes on")]
    ShuttingDown,
}

/// An error and its causes as one sentence, a cause that only repeats its parent left out.
pub(crate) fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = source.source();
    }
    text
}
