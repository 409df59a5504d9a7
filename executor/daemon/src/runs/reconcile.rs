//! Finding the runs on disk again: at start, and whenever asked.
//!
//! Each directory is looked at (records, shim) and given an owner whose first event is the verdict of
//! [`super::recovery`]. Ended runs of which nothing is left in containerd get no owner.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use davit_rundir::{ControlRequest, RunDir, RunDirError, SpecRecord};
use davit_types::RunKey;
use futures::StreamExt;

use super::error::sentence;
use super::offload::offload;
use super::owner::{Begin, Owner};
use super::recovery::{Evidence, LostHow, decide};
use super::registry::Entry;
use super::shim::{self, ShimState};
use super::{RunError, Runs};
use crate::containerd::{Containerd, Inventory};

/// Run directories looked at at a time.
const LOOKED_AT_ONCE_MAX: usize = 32;
/// Times and pauses, milliseconds, in which containerd is asked for the task of a created run.
const TASK_ASKS_MAX: u32 = 60;
const TASK_PAUSE_MS: u64 = 50;

/// What was found on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Live runs taken over.
    pub adopted: u32,
    /// Runs begun anew: nothing of them had run.
    pub begun: u32,
    /// Ends recorded that had happened meanwhile.
    pub ended: u32,
    /// Runs lost without an exit record.
    pub lost: u32,
}

struct Found {
    dir: RunDir,
    spec: Arc<SpecRecord>,
    evidence: Evidence,
}

impl Runs {
    /// Takes over every run on disk that is not known yet.
    ///
    /// # Errors
    /// When the directories or containerd's objects cannot be listed. A single bad directory is left
    /// alone, with a line in the log.
    pub async fn reconcile(&self) -> Result<Reconciled, RunError> {
        let runs_dir = self.host.runs_dir.clone();
        let listed = offload(move || RunDir::list(&runs_dir)).await;
        let dirs = listed.map_err(|source| RunError::RunsDir { source })?;
        let left_over = left_over(&self.host.containerd.inventory().await?);
        let unknown = dirs
            .into_iter()
            .filter(|dir| !self.registry.knows(dir.key().run));
        let mut looks = futures::stream::iter(unknown.map(|dir| look(&self.host.containerd, dir)))
            .buffered(LOOKED_AT_ONCE_MAX);
        let mut count = Reconciled::default();
        while let Some((dir, found)) = looks.next().await {
            match found {
                Ok(Some(found)) => self.take_over(found, &left_over, &mut count),
                // Never accepted: the directory was made, its spec was not.
                Ok(None) => {}
                Err(error) => {
                    let problem = sentence(&error);
                    tracing::error!(key = %dir.key(), problem, "a run directory is left alone");
                }
            }
        }
        Ok(count)
    }

    fn take_over(&self, found: Found, left_over: &BTreeSet<RunKey>, count: &mut Reconciled) {
        let Found {
            dir,
            spec,
            evidence,
        } = found;
        let key = dir.key();
        let name = spec.spec.name.clone();
        if evidence.ended && !left_over.contains(&key) {
            self.registry.restore(key.run, Entry::Ended { name, dir });
            return;
        }
        let recovery = decide(&evidence, &self.host.boot_id);
        match (
            recovery.lost,
            evidence.ended,
            evidence.exited,
            recovery.clear,
        ) {
            (Some(_), ..) => count.lost += 1,
            (None, true, ..) => {}
            (None, false, true, _) => count.ended += 1,
            (None, false, false, true) => count.begun += 1,
            (None, false, false, false) => count.adopted += 1,
        }
        let lost = recovery.lost.map(LostHow::sentence);
        tracing::info!(%key, event = ?recovery.event, lost, "took over a run");
        let begin = Begin {
            dir,
            spec,
            recovery,
            shim: evidence.state,
            credentials: None,
        };
        let (owner, handle) = Owner::new(Arc::clone(&self.host), begin);
        self.registry.restore(
            key.run,
            Entry::Live {
                name,
                handle: handle.clone(),
            },
        );
        self.drive(owner, &handle);
    }
}

/// The executions that have something in containerd.
fn left_over(inventory: &Inventory) -> BTreeSet<RunKey> {
    let lists = [
        &inventory.containers,
        &inventory.snapshots,
        &inventory.leases,
    ];
    let named = lists.into_iter().flatten().map(|found| found.key);
    named
        .chain(inventory.tasks.iter().map(|task| task.key))
        .collect()
}

async fn look(
    containerd: &Containerd,
    dir: RunDir,
) -> (RunDir, Result<Option<Found>, RunDirError>) {
    let found = look_twice(containerd, &dir).await;
    (dir, found)
}

/// containerd takes a create back when the executor that asked for it is gone, and does so while we
/// look. What was created counts only once containerd has a task of it.
async fn look_twice(containerd: &Containerd, dir: &RunDir) -> Result<Option<Found>, RunDirError> {
    let mut no_task = false;
    for _ in 0..TASK_ASKS_MAX {
        let found = look_into(dir).await?;
        if !found
            .as_ref()
            .is_some_and(|found| found.evidence.is_created_only())
        {
            return Ok(found);
        }
        match containerd.task_state(dir.key()).await {
            Ok(Some(_)) => return Ok(found),
            Ok(None) => no_task = true,
            Err(error) => {
                no_task = false;
                let problem = sentence(&error);
                tracing::warn!(key = %dir.key(), problem, "cannot ask for the task of a run");
            }
        }
        tokio::time::sleep(Duration::from_millis(TASK_PAUSE_MS)).await;
    }
    let mut found = look_into(dir).await?;
    if let Some(found) = &mut found {
        found.evidence.taken_back = no_task;
    }
    Ok(found)
}

async fn look_into(dir: &RunDir) -> Result<Option<Found>, RunDirError> {
    let at = dir.clone();
    let read = move || {
        Ok::<_, RunDirError>((
            at.read_spec()?,
            at.read_end()?,
            at.read_exit()?,
            at.read_state()?,
        ))
    };
    let (spec, end, exit, state) = offload(read).await?;
    let Some(spec) = spec else {
        return Ok(None);
    };
    let mut evidence = Evidence {
        ended: end.is_some(),
        exited: exit.is_some(),
        began: exit.is_some_and(|exit| exit.started.is_some()),
        state,
        shim_alive: false,
        taken_back: false,
    };
    if !evidence.ended && !evidence.exited {
        match shim::ask(&dir.socket_path(), ControlRequest::State).await {
            Ok(ShimState::Live(state)) => {
                evidence.shim_alive = true;
                evidence.state = Some(*state);
            }
            Ok(ShimState::Exited(_)) => {}
            Err(error) => evidence.shim_alive = error.is_of_the_living(),
        }
        // It may have ended while it was asked.
        let at = dir.clone();
        if let Some(exit) = offload(move || at.read_exit()).await? {
            evidence.exited = true;
            evidence.began = exit.started.is_some();
        }
    }
    Ok(Some(Found {
        dir: dir.clone(),
        spec: Arc::new(spec),
        evidence,
    }))
}
