//! From an image to a job: what is made, or taken from the pool, and the one start.
//!
//! ```text
//!            ┌─ slot of its profile ─► launch.json ─► assign ────────────────┐
//!  prepare ──┤                         (given)                               ├─► start
//!            └─ snapshot ─► user, spec ─► launch.json ─► container ─► task ──┘
//!                                         (made)          secrets: (give)
//! ```
//!
//! Everything before the start may be thrown away and made again, and is when containerd restarts in
//! the middle. The start is asked for again only while the shim itself says that it did not happen. A
//! slot that does not become the run is destroyed before anything is made in its place.

mod disk;
mod files;
mod give;
mod given;
mod made;
mod start;

use std::path::PathBuf;
use std::sync::Arc;

use davit_cgroup::CgroupError;
use davit_rundir::{
    FORMAT_VERSION, LaunchRecord, NetworkRecord, RunDir, RunDirError, Secrets, SlotDir, SlotId,
    SpecRecord, Stamp,
};
use davit_types::{Bytes, OciRuntime, RunSpec, SecurityProfile, StopSignal};
use oci_spec::runtime::Spec;

use self::give::GiveError;
use self::given::Attempt;
pub(crate) use self::start::{StartOutcome, start};
use super::backoff::Backoff;
use super::cleanup;
use super::error::sentence;
use super::host::Host;
use super::offload::offload;
use crate::containerd::{ContainerName, ContainerdError};
use crate::disk::DiskError;
use crate::files::intake::Upload;
use crate::files::{UnpackError, place::PlaceError};
use crate::ids::NoRange;
use crate::images::ResolvedImage;
use crate::network::NetworkError;
use crate::oci::{self, ResolvedUser, SpecContext, SpecError, UserError};
use crate::warm;

/// Times a preparation is tried while containerd comes and goes.
const PREPARE_ATTEMPTS_MAX: u32 = 5;
/// First delay between attempts, milliseconds.
const RETRY_FIRST_MS: u64 = 250;
/// Longest delay between attempts, milliseconds.
const RETRY_LONGEST_MS: u64 = 4_000;

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
    #[error(transparent)]
    Ids(#[from] NoRange),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the run has no network")]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Secrets(#[from] GiveError),
    #[error("runtime {} is not installed on this host", .0.binary())]
    NoRuntime(OciRuntime),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("its files were not taken")]
    Files(#[from] UnpackError),
    #[error("its files were not taken, and its disk holds {0}")]
    FilesOnDisk(Bytes, #[source] UnpackError),
    #[error(
        "its files went with the executor that was receiving them: nothing of the job has run, submit it again"
    )]
    FilesGone,
}

impl LaunchError {
    /// Whether something that a launch stands on is gone.
    pub(crate) const fn is_not_found(&self) -> bool {
        matches!(self, Self::Containerd(ContainerdError::NotFound { .. }))
    }

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

/// A container that waits to be let go, and when its parts were there.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) name: ContainerName,
    pub(crate) prepared: Stamp,
    pub(crate) created: Stamp,
}

/// What is launched.
#[derive(Clone, Copy)]
struct Order<'a> {
    host: &'a Arc<Host>,
    dir: &'a RunDir,
    spec: &'a Arc<SpecRecord>,
    image: &'a ResolvedImage,
}

/// Everything up to a container that waits to be let go. `anew` says that an earlier launch was cut off:
/// containerd may be taking it back still, and refuses the like of it until it has. `files` are taken once at most: what
/// fails after that is not tried again.
pub(crate) async fn prepare(
    host: &Arc<Host>,
    dir: &RunDir,
    spec: &Arc<SpecRecord>,
    image: &ResolvedImage,
    mut anew: bool,
    files: &mut Option<Upload>,
) -> Result<Prepared, LaunchError> {
    let order = Order {
        host,
        dir,
        spec,
        image,
    };
    // Before anything is made for nothing.
    order.secrets()?;
    let mut counted = match given::attempt(order).await? {
        Attempt::Given(prepared) => return Ok(prepared),
        Attempt::NoSlot => true,
        Attempt::Unknown => false,
    };
    let mut backoff = Backoff::new(RETRY_FIRST_MS, RETRY_LONGEST_MS);
    let mut attempt = 1;
    loop {
        match made::prepare(order, counted, files).await {
            Err(error)
                if (error.is_worth_retrying() || anew && error.is_refusal())
                    && attempt < PREPARE_ATTEMPTS_MAX
                    && (files.is_some() || !spec.spec.files_in) =>
            {
                (anew, counted) = (true, true);
                let problem = sentence(&error);
                tracing::warn!(key = %dir.key(), attempt, problem, "preparing a run failed; trying again");
                backoff.wait().await;
                clear(host, dir).await?;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Takes back all of a launch that never came to a start. A slot is told first to take no run any more:
/// an assignment may be under way to it.
///
/// # Errors
/// When the run directory cannot be read or emptied.
pub(crate) async fn clear(host: &Arc<Host>, dir: &RunDir) -> Result<(), RunDirError> {
    let at = dir.clone();
    let launch = offload(move || at.read_launch()).await?;
    let name = ContainerName::of_launch(dir.key(), launch.as_ref());
    if let Some(slot) = name.slot() {
        let socket = SlotDir::at(&host.slots_dir, slot.clone()).socket_path();
        if let Err(error) = warm::revoke(&socket).await {
            // Its shim is gone, or is about to be.
            tracing::debug!(%slot, problem = sentence(&error), "a slot was not revoked");
        }
    }
    cleanup::until_done(host, &name).await;
    let dir = dir.clone();
    offload(move || dir.reset()).await
}

impl Order<'_> {
    fn run(&self) -> &RunSpec {
        &self.spec.spec
    }

    /// Whether a container made in advance will do, and so a demand for one comes of it. Only crun holds one before its
    /// program is known; its root file system is mounted already, so that no files can be put there, nor secret ones
    /// beside; what a run is reached at is nobody's before it is there; and its streams are made with it.
    fn may_take_a_slot(&self) -> bool {
        let run = self.run();
        let plain = run.files_in || !run.secret_files.is_empty() || !run.publish.is_empty();
        let plain = plain || run.stdin || run.tty;
        run.runtime == OciRuntime::Crun && !plain && self.host.warm.is_on()
    }

    fn runtime_binary(&self) -> Result<&PathBuf, LaunchError> {
        let runtime = self.run().runtime;
        let found = self.host.runtimes.get(&runtime);
        found.ok_or(LaunchError::NoRuntime(runtime))
    }

    /// What the run was given, if it was to be given anything.
    fn secrets(&self) -> Result<Option<Secrets>, GiveError> {
        let run = self.run();
        match self.host.given.secrets(run.key()) {
            None if run.has_secrets() => Err(GiveError::Gone),
            given => Ok(given.filter(|secrets| !secrets.is_empty())),
        }
    }

    /// The OCI spec of `run`, which is the order's, with or without its secret variables, in a container of its own.
    fn spec(&self, user: &ResolvedUser, run: &RunSpec) -> Result<Spec, LaunchError> {
        let cgroup = self.host.cgroup_path(&self.dir.key().into())?;
        let context = SpecContext {
            cgroups_path: cgroup.as_str(),
            user,
            user_namespace: self.host.ids.absent_for(self.run().runtime).is_none(),
            controllers: self.host.controllers,
            run_dir: self.dir.path(),
            host: &self.host.facts,
        };
        Ok(oci::build(run, &self.image.config, &context)?)
    }

    /// What the job of its `spec` is locked in with.
    fn security(&self, spec: &Spec) -> SecurityProfile {
        let run = self.run();
        SecurityProfile {
            no_user_namespace: self.host.ids.absent_for(run.runtime).map(str::to_owned),
            no_disk_quota: self.host.disk.absent_for(run).map(str::to_owned),
            ..oci::security(spec, run.runtime, run.network)
        }
    }

    /// `launch.json`, for a container made for the run or for `slot`.
    fn launch_record(
        &self,
        slot: Option<SlotId>,
        security: SecurityProfile,
        network: Option<NetworkRecord>,
    ) -> Result<LaunchRecord, LaunchError> {
        let run = self.run();
        let key = run.key();
        let name = slot.clone().map_or(key.into(), ContainerName::Slot);
        Ok(LaunchRecord {
            version: FORMAT_VERSION,
            key,
            boot_id: self.host.boot_id.clone(),
            image_digest: self.image.digest.clone(),
            cgroup: self.host.cgroup_path(&name)?.as_str().to_owned(),
            runtime_binary: self.runtime_binary()?.clone(),
            timeout_ms: run.timeout_seconds * 1_000,
            max_pause_ms: run.max_pause_seconds * 1_000,
            log_bytes_max: run.log_bytes_max.0,
            stop_signal: self.image.config.stop_signal.unwrap_or(StopSignal::TERM),
            slot,
            security: Some(security),
            network,
            stdin: run.stdin,
            tty: run.tty,
            workdir: Some(oci::working_directory(run, &self.image.config)),
        })
    }
}
