//! Letting a job go: asked of its shim, so that containerd can neither delay nor prevent it.

use std::sync::Arc;
use std::time::Duration;

use davit_rundir::{ControlErrorCode, ControlRequest, RunDir, StateRecord};

use super::{RETRY_FIRST_MS, RETRY_LONGEST_MS};
use crate::containerd::{ContainerName, ContainerdError};
use crate::runs::backoff::Backoff;
use crate::runs::error::sentence;
use crate::runs::host::Host;
use crate::runs::offload::offload;
use crate::runs::shim::{self, ShimError, ShimState};

/// Times a start is asked for while shim or containerd come and go.
const START_ATTEMPTS_MAX: u32 = 8;
/// Times and pauses, milliseconds, in which a refused start may turn out to be under way.
const SETTLE_ASKS_MAX: u32 = 10;
const SETTLE_PAUSE_MS: u64 = 50;

/// How a start went.
#[derive(Debug)]
pub(crate) enum StartOutcome {
    /// The job was let go.
    Started(Option<Box<StateRecord>>),
    /// It was not, and never will be, for this reason.
    Failed(String),
    /// The shim is gone or the job over; whoever awaits the exit tells how it ended.
    Elsewhere,
}

/// Why a start was not confirmed.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Shim(#[from] ShimError),
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
}

impl StartError {
    /// Whether asking again may help.
    const fn is_transient(&self) -> bool {
        match self {
            Self::Containerd(error) => error.is_transient(),
            Self::Shim(ShimError::Refused(_)) => false,
            Self::Shim(_) => true,
        }
    }
}

/// Lets the created container `name` of the run in `dir` go, once.
pub(crate) async fn start(host: &Arc<Host>, dir: &RunDir, name: &ContainerName) -> StartOutcome {
    let mut backoff = Backoff::new(RETRY_FIRST_MS, RETRY_LONGEST_MS);
    let mut attempt = 1;
    loop {
        let error = match ask(host, dir, name).await {
            Ok(None) => return StartOutcome::Started(None),
            Ok(Some(ShimState::Live(state))) => return StartOutcome::Started(Some(state)),
            Ok(Some(ShimState::Exited(_))) => return StartOutcome::Elsewhere,
            Err(error) => error,
        };
        // The answer was lost or is a refusal: only the shim knows whether the job runs.
        match settled(dir).await {
            Ok(ShimState::Live(state)) if state.started.is_some() => {
                return StartOutcome::Started(Some(state));
            }
            Ok(ShimState::Live(_)) => {}
            Ok(ShimState::Exited(exit)) if exit.started.is_none() => {
                return StartOutcome::Failed(sentence(&error));
            }
            Ok(ShimState::Exited(_)) | Err(_) => return StartOutcome::Elsewhere,
        }
        let problem = sentence(&error);
        if !error.is_transient() || attempt >= START_ATTEMPTS_MAX {
            return StartOutcome::Failed(problem);
        }
        tracing::warn!(%name, attempt, problem, "starting a run failed; trying again");
        backoff.wait().await;
        attempt += 1;
    }
}

/// What the shim answers, if it is it that was asked.
async fn ask(
    host: &Arc<Host>,
    dir: &RunDir,
    name: &ContainerName,
) -> Result<Option<ShimState>, StartError> {
    match shim::ask(&dir.socket_path(), ControlRequest::Start).await {
        // A shim from before this request; it lives as long as its run.
        Err(ShimError::Refused(error)) if error.code == ControlErrorCode::Malformed => {
            host.containerd.task_start(name).await?;
            Ok(None)
        }
        answer => Ok(Some(answer?)),
    }
}

/// What the shim says once a start that may still be under way (asked for by an executor before this
/// one) has come to something, or had time to.
async fn settled(dir: &RunDir) -> Result<ShimState, ShimError> {
    for _ in 0..SETTLE_ASKS_MAX {
        match shim::ask(&dir.socket_path(), ControlRequest::State).await? {
            ShimState::Live(state) if state.started.is_none() => {
                // A shim asked for its state tells of an end by its record only.
                let at = dir.clone();
                if let Ok(Some(exit)) = offload(move || at.read_exit()).await {
                    return Ok(ShimState::Exited(Box::new(exit)));
                }
                tokio::time::sleep(Duration::from_millis(SETTLE_PAUSE_MS)).await;
            }
            settled => return Ok(settled),
        }
    }
    shim::ask(&dir.socket_path(), ControlRequest::State).await
}
