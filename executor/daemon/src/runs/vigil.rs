//! Awaiting the end of a job: on the shim's socket, and in the run directory when that breaks.
//!
//! A broken connection proves nothing by itself. The exit record decides; failing that, a shim that
//! accepts connections is asked again; failing that, the shim is gone: its container is killed, so
//! that nothing runs unwatched, and the record looked for a last time.

use std::sync::Arc;
use std::time::Duration;

use davit_rundir::{ControlErrorCode, ExitRecord, RunDir};

use super::backoff::Backoff;
use super::cleanup;
use super::error::sentence;
use super::host::Host;
use super::offload::offload;
use super::recovery::LostHow;
use super::shim::{self, ShimError};
use crate::containerd::ContainerName;

/// Times the shim is tried again after its connection broke.
const RECONNECTS_MAX: u32 = 5;
/// First delay between them, milliseconds.
const RECONNECT_FIRST_MS: u64 = 20;
/// Longest delay between them, milliseconds.
const RECONNECT_LONGEST_MS: u64 = 320;
/// Delay before a shim that answers nonsense is asked again, milliseconds.
const CONFUSED_MS: u64 = 5_000;
/// Times the cgroup of a shimless run is killed before the run is given up.
const KILLS_MAX: u32 = 3;

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The shim said so: the record is durable.
    Exited(Box<ExitRecord>),
    /// The record was found; its shim may have died while making it durable.
    Found(Box<ExitRecord>),
    Lost(LostHow),
}

/// Returns when the job is over or nobody can say how it ended.
pub(crate) async fn keep(host: &Arc<Host>, dir: &RunDir, name: &ContainerName) -> Outcome {
    let mut backoff = Backoff::new(RECONNECT_FIRST_MS, RECONNECT_LONGEST_MS);
    let mut broken = 0;
    while broken < RECONNECTS_MAX {
        match shim::await_exit(&dir.socket_path()).await {
            Ok(exit) => return Outcome::Exited(Box::new(exit)),
            // The job is over, and its shim could not write down how.
            Err(ShimError::Refused(error)) if error.code == ControlErrorCode::Failed => break,
            Err(error) if error.is_of_the_living() => {
                // It answers, though not what it should: it holds the job, so it stays in charge.
                let problem = sentence(&error);
                tracing::error!(key = %dir.key(), problem, "a shim does not say how its job ends");
                tokio::time::sleep(Duration::from_millis(CONFUSED_MS)).await;
            }
            Err(error) => {
                let problem = sentence(&error);
                tracing::debug!(key = %dir.key(), problem, "lost a shim's connection");
                broken += 1;
            }
        }
        if let Some(exit) = recorded(dir).await {
            return Outcome::Found(Box::new(exit));
        }
        backoff.wait().await;
    }
    forsaken(host, dir, name).await
}

/// The end of a run whose shim is gone.
pub(crate) async fn forsaken(host: &Arc<Host>, dir: &RunDir, name: &ContainerName) -> Outcome {
    for _ in 0..KILLS_MAX {
        match cleanup::kill_cgroup(host, name).await {
            Ok(()) => break,
            Err(error) => {
                let problem = sentence(&error);
                tracing::error!(key = %dir.key(), problem, "cannot kill the container of a lost run");
            }
        }
    }
    match recorded(dir).await {
        Some(exit) => Outcome::Found(Box::new(exit)),
        None => Outcome::Lost(LostHow::ShimGone),
    }
}

async fn recorded(dir: &RunDir) -> Option<ExitRecord> {
    let dir = dir.clone();
    offload(move || match dir.read_exit() {
        Ok(exit) => exit,
        Err(error) => {
            // A record nobody can read is none: the verdict says so rather than guess.
            tracing::error!(key = %dir.key(), problem = sentence(&error), "exit record is unreadable");
            None
        }
    })
    .await
}
