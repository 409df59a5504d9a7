//! From an image to a job: what containerd is asked to make, and the one start.
//!
//! ```text
//!  lease ─► snapshot ─► user, OCI spec ─► launch.json ─► container ─► task │ start
//!                                                                prepared ─┤
//!                                                                  created ┘
//! ```
//!
//! Everything before the start may be thrown away and made again, and is when containerd restarts in
//! the middle. The start is asked for again only while the shim itself says that it did not happen.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use davit_cgroup::CgroupError;
use davit_rundir::{
    ControlRequest, FORMAT_VERSION, LaunchRecord, RunDir, RunDirError, SpecRecord, Stamp,
};
use davit_types::{OciRuntime, RunKey, RunSpec, StopSignal};

use super::backoff::Backoff;
use super::cleanup;
use super::error::sentence;
use super::host::Host;
use super::offload::offload;
use super::shim::{self, ShimError, ShimState};
use crate::containerd::{ContainerSpec, ContainerdError, Mount};
use crate::images::ResolvedImage;
use crate::oci::{self, SpecContext, SpecError, UserError};

/// Times a preparation is tried while containerd comes and goes.
const PREPARE_ATTEMPTS_MAX: u32 = 5;
/// Times a start is asked for while containerd comes and goes.
const START_ATTEMPTS_MAX: u32 = 8;
/// First delay between attempts, milliseconds.
const RETRY_FIRST_MS: u64 = 250;
/// Longest delay between attempts, milliseconds.
const RETRY_LONGEST_MS: u64 = 4_000;
/// Times and pauses, milliseconds, in which a refused start may turn out to be under way.
const SETTLE_ASKS_MAX: u32 = 10;
const SETTLE_PAUSE_MS: u64 = 50;

/// Why a run cannot be launched; its sentence ends up in the verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("runtime {} is not installed on this host", .0.binary())]
    NoRuntime(OciRuntime),
}

impl LaunchError {
    fn is_worth_retrying(&self) -> bool {
        match self {
            // What exists already is left over from an attempt that was cut off.
            Self::Containerd(error) => error.is_transient() || error.is_already_exists(),
            _ => false,
        }
    }

    /// Whether containerd said no, be it to us or to what it still takes back of an earlier launch.
    const fn is_refusal(&self) -> bool {
        matches!(self, Self::Containerd(ContainerdError::Refused { .. }))
    }
}

/// When the parts of a launch were there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared {
    pub(crate) prepared: Stamp,
    pub(crate) created: Stamp,
}

/// Everything up to a created task. `anew` says that an earlier launch was cut off: containerd may be
/// taking it back still, and refuses the like of it until it has.
pub(crate) async fn prepare(
    host: &Arc<Host>,
    dir: &RunDir,
    spec: &Arc<SpecRecord>,
    image: &ResolvedImage,
    mut anew: bool,
) -> Result<Prepared, LaunchError> {
    let key = dir.key();
    let mut backoff = Backoff::new(RETRY_FIRST_MS, RETRY_LONGEST_MS);
    let mut attempt = 1;
    loop {
        match prepare_once(host, dir, spec, image).await {
            Err(error)
                if (error.is_worth_retrying() || anew && error.is_refusal())
                    && attempt < PREPARE_ATTEMPTS_MAX =>
            {
                anew = true;
                let problem = sentence(&error);
                tracing::warn!(%key, attempt, problem, "preparing a run failed; trying again");
                backoff.wait().await;
                clear(host, dir).await?;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Takes back all of a launch that never came to a start.
///
/// # Errors
/// When the run directory cannot be emptied.
pub(crate) async fn clear(host: &Arc<Host>, dir: &RunDir) -> Result<(), RunDirError> {
    cleanup::until_done(host, dir.key()).await;
    let dir = dir.clone();
    offload(move || dir.reset()).await
}

async fn prepare_once(
    host: &Arc<Host>,
    dir: &RunDir,
    spec: &Arc<SpecRecord>,
    image: &ResolvedImage,
) -> Result<Prepared, LaunchError> {
    let key = dir.key();
    let containerd = &host.containerd;
    containerd.lease_create(key).await?;
    let mounts = containerd.snapshot_prepare(key, &image.chain_id).await?;
    let oci_spec = describe(host, dir, spec, image, mounts.clone()).await?;
    containerd
        .container_create(ContainerSpec {
            key,
            image: &image.name,
            image_digest: &image.digest,
            spec: &oci_spec,
            runtime: &host.settings.containerd.runtime,
            options: None,
        })
        .await?;
    let prepared = Stamp::now();
    containerd.task_create(key, mounts).await?;
    let created = Stamp::now();
    Ok(Prepared { prepared, created })
}

/// The OCI spec for containerd and `launch.json` for the shim.
async fn describe(
    host: &Arc<Host>,
    dir: &RunDir,
    spec: &Arc<SpecRecord>,
    image: &ResolvedImage,
    mounts: Vec<Mount>,
) -> Result<oci_spec::runtime::Spec, LaunchError> {
    let (host, dir, spec) = (Arc::clone(host), dir.clone(), Arc::clone(spec));
    let (config, digest) = (Arc::clone(&image.config), image.digest.clone());
    offload(move || {
        let run = &spec.spec;
        let cgroup = host.cgroup_path(dir.key())?;
        let user = oci::resolve_user(&mounts, oci::user_text(run, &config))?;
        let built = oci::build(
            run,
            &config,
            &SpecContext {
                cgroups_path: cgroup.as_str(),
                user: &user,
                controllers: host.controllers,
                run_dir: dir.path(),
                host: &host.facts,
            },
        )?;
        let binary = host
            .runtimes
            .get(&run.runtime)
            .ok_or(LaunchError::NoRuntime(run.runtime))?;
        let stop_signal = config.stop_signal.unwrap_or(StopSignal::TERM);
        dir.write_launch(&launch_record(
            run,
            digest,
            cgroup.as_str(),
            binary.clone(),
            stop_signal,
            &host.boot_id,
        ))?;
        Ok(built)
    })
    .await
}

fn launch_record(
    run: &RunSpec,
    image_digest: String,
    cgroup: &str,
    runtime_binary: PathBuf,
    stop_signal: StopSignal,
    boot_id: &str,
) -> LaunchRecord {
    LaunchRecord {
        version: FORMAT_VERSION,
        key: run.key(),
        boot_id: boot_id.to_owned(),
        image_digest,
        cgroup: cgroup.to_owned(),
        runtime_binary,
        timeout_ms: run.timeout_seconds * 1_000,
        max_pause_ms: run.max_pause_seconds * 1_000,
        log_bytes_max: run.log_bytes_max.0,
        stop_signal,
        slot: None,
    }
}

/// How a start went.
#[derive(Debug)]
pub(crate) enum StartOutcome {
    /// The job was let go.
    Started,
    /// It was not, and never will be.
    Failed(ContainerdError),
    /// The shim is gone or the job over; whoever awaits the exit tells how it ended.
    Elsewhere,
}

/// Lets the created task of `key` go, once.
pub(crate) async fn start(host: &Arc<Host>, dir: &RunDir, key: RunKey) -> StartOutcome {
    let mut backoff = Backoff::new(RETRY_FIRST_MS, RETRY_LONGEST_MS);
    let mut attempt = 1;
    loop {
        let Err(error) = host.containerd.task_start(key).await else {
            return StartOutcome::Started;
        };
        // The answer was lost or is a refusal: only the shim knows whether the job runs.
        match settled(dir).await {
            Ok(ShimState::Live(state)) if state.started.is_some() => return StartOutcome::Started,
            Ok(ShimState::Live(_)) => {}
            Ok(ShimState::Exited(exit)) if exit.started.is_none() => {
                return StartOutcome::Failed(error);
            }
            Ok(ShimState::Exited(_)) | Err(_) => return StartOutcome::Elsewhere,
        }
        if !error.is_transient() || attempt >= START_ATTEMPTS_MAX {
            return StartOutcome::Failed(error);
        }
        tracing::warn!(%key, attempt, problem = sentence(&error), "starting a run failed; trying again");
        backoff.wait().await;
        attempt += 1;
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
