//! Removing a container, of a run or of a slot, in the order in which things hold each other.
//!
//! ```text
//!  cgroup killed ─► task ─► container │ snapshot │ cgroup, slot directory ─► done
//! ```
//!
//! Every step is fine with its object being gone, so the whole is repeated until it succeeds: after a
//! crash, while containerd is away, when the shim needs a moment to notice the death. The verdict is
//! on disk by then; nobody waits for this but the disk space.

use std::sync::Arc;
use std::time::Duration;

use davit_cgroup::CgroupError;
use davit_rundir::{RunDirError, SlotDir};

use super::backoff::Backoff;
use super::error::sentence;
use super::host::Host;
use super::offload::offload;
use crate::containerd::{ContainerName, ContainerdError};
use crate::network::NetworkError;

/// First delay between attempts, milliseconds: the shim reaps within a few.
const RETRY_FIRST_MS: u64 = 20;
/// Longest delay between attempts, milliseconds.
const RETRY_LONGEST_MS: u64 = 30_000;
/// Attempts that fail in silence: a container just killed needs some.
const QUIET_ATTEMPTS: u32 = 5;
/// Attempts where somebody waits: some five seconds in all.
const SOON_ATTEMPTS_MAX: u32 = 8;
/// Longest wait for a killed cgroup to be empty, milliseconds; processes in uninterruptible sleep
/// may take longer, then the next attempt goes on.
const EMPTY_WAIT_MS: u64 = 5_000;

/// Why an attempt did not finish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CleanupError {
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    SlotDir(#[from] RunDirError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("processes of {0} do not die")]
    Undead(ContainerName),
}

/// Removes everything of `name`, for as long as that takes.
pub(crate) async fn until_done(host: &Arc<Host>, name: &ContainerName) {
    let mut backoff = Backoff::new(RETRY_FIRST_MS, RETRY_LONGEST_MS);
    let mut attempts = 0u32;
    while let Err(error) = once(host, name).await {
        attempts = attempts.saturating_add(1);
        if attempts > QUIET_ATTEMPTS {
            let problem = sentence(&error);
            tracing::warn!(%name, attempts, problem, "removing a container fails; trying again");
        }
        backoff.wait().await;
    }
}

/// As [`until_done`], for a container whose shim saw its cgroup empty: only if something is in the way after
/// all it is killed first.
pub(crate) async fn of_empty(host: &Arc<Host>, name: &ContainerName) {
    if remove(host, name).await.is_err() {
        until_done(host, name).await;
    }
}

/// A few attempts at removing everything of `name`.
pub(crate) async fn soon(host: &Arc<Host>, name: &ContainerName) -> Result<(), CleanupError> {
    let mut backoff = Backoff::new(RETRY_FIRST_MS, RETRY_LONGEST_MS);
    for _ in 1..SOON_ATTEMPTS_MAX {
        match once(host, name).await {
            Ok(()) => return Ok(()),
            Err(_) => backoff.wait().await,
        }
    }
    once(host, name).await
}

/// One attempt at removing everything of `name`.
async fn once(host: &Arc<Host>, name: &ContainerName) -> Result<(), CleanupError> {
    kill_cgroup(host, name).await?;
    remove(host, name).await
}

/// One attempt at taking everything of `name` off its root file system, which stays.
pub(crate) async fn release(host: &Arc<Host>, name: &ContainerName) -> Result<(), CleanupError> {
    kill_cgroup(host, name).await?;
    delete_task(host, name).await
}

async fn delete_task(host: &Arc<Host>, name: &ContainerName) -> Result<(), CleanupError> {
    host.shims.clear_dead(&name.to_string()).await;
    host.containerd.task_delete(name).await?;
    host.shims.end_forgotten(&name.to_string()).await;
    Ok(())
}

async fn remove(host: &Arc<Host>, name: &ContainerName) -> Result<(), CleanupError> {
    delete_task(host, name).await?;
    host.disk.release(&host.containerd, name).await?;
    // None of them holds another: with its task gone nothing has the root file system mounted.
    let containerd = &host.containerd;
    let (container, snapshot, places) = tokio::join!(
        containerd.container_delete(name),
        containerd.snapshot_remove(name),
        remove_places(host, name),
    );
    container?;
    snapshot?;
    places?;
    host.network.release(name).await?;
    host.ids.release(name);
    host.warm.is_gone(name);
    Ok(())
}

/// Kills what lives in the cgroup of `name` and waits until nothing does.
pub(crate) async fn kill_cgroup(
    host: &Arc<Host>,
    name: &ContainerName,
) -> Result<(), CleanupError> {
    let (host, name) = (Arc::clone(host), name.clone());
    offload(move || {
        let Some(cgroup) = host.cgroup(&name)? else {
            return Ok(());
        };
        let killed = cgroup
            .kill()
            .and_then(|()| cgroup.wait_empty(Duration::from_millis(EMPTY_WAIT_MS)));
        match killed {
            Ok(true) => Ok(()),
            Ok(false) => Err(CleanupError::Undead(name)),
            Err(error) if error.is_gone() => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// Removes what the file system has of `name`: its cgroup, and the directory of a slot.
async fn remove_places(host: &Arc<Host>, name: &ContainerName) -> Result<(), CleanupError> {
    let (host, name) = (Arc::clone(host), name.clone());
    offload(move || {
        if let Some(slot) = name.slot() {
            SlotDir::at(&host.slots_dir, slot.clone()).remove()?;
        }
        let Some(cgroup) = host.cgroup(&name)? else {
            return Ok(());
        };
        match cgroup.remove() {
            Err(error) if !error.is_gone() => Err(error.into()),
            _ => Ok(()),
        }
    })
    .await
}
