//! Finding the runs on disk again: at start, and whenever asked.
//!
//! Each directory is looked at (records, shim) and given an owner whose first event is the verdict of
//! [`super::recovery`]. Ended runs of which nothing is left in containerd get no owner.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use davit_rundir::{RunDir, RunDirError};
use futures::StreamExt;

use super::error::sentence;
use super::host::Host;
use super::look::{self, Found};
use super::offload::offload;
use super::owner::{Begin, Owner};
use super::recovery::{LostHow, decide};
use super::registry::Entry;
use super::{RunError, Runs};
use crate::containerd::{ContainerName, Inventory};

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
        let left_over = if self.host.containerd.is_known() {
            left_over(&self.host.containerd.inventory().await?)
        } else {
            // Asked when it is there: see `serve`.
            BTreeSet::new()
        };
        let unknown = dirs
            .into_iter()
            .filter(|dir| !self.registry.knows(dir.key()));
        let looks = unknown.map(|dir| async {
            let found = look(&self.host, &dir).await;
            (dir, found)
        });
        let mut looks = futures::stream::iter(looks).buffered(LOOKED_AT_ONCE_MAX);
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

    fn take_over(&self, found: Found, left_over: &BTreeSet<ContainerName>, count: &mut Reconciled) {
        let container = found.container();
        let Found {
            dir,
            spec,
            launch,
            exit,
            end,
            evidence,
        } = found;
        let key = dir.key();
        let name = spec.spec.name.clone();
        let unsettled = spec.scheduled.is_some() && !evidence.settled;
        if evidence.ended && !left_over.contains(&container) {
            self.registry
                .restore(key, Entry::Ended { name, dir }, unsettled);
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
            launch,
            exit,
            end,
            credentials: None,
            files: None,
        };
        let (owner, handle) = Owner::new(Arc::clone(&self.host), begin);
        let entry = Entry::Live {
            name,
            handle: handle.clone(),
        };
        self.registry.restore(key, entry, unsettled);
        self.drive(owner, &handle);
    }
}

/// The containers of which there is something in containerd.
fn left_over(inventory: &Inventory) -> BTreeSet<ContainerName> {
    let lists = [
        &inventory.containers,
        &inventory.snapshots,
        &inventory.leases,
    ];
    let named = lists.into_iter().flatten().map(|found| found.name.clone());
    named
        .chain(inventory.tasks.iter().map(|task| task.name.clone()))
        .collect()
}

/// containerd takes a create back when the executor that asked for it is gone, and does so while we
/// look. What was created counts only once containerd has a task of it.
async fn look(host: &Arc<Host>, dir: &RunDir) -> Result<Option<Found>, RunDirError> {
    let mut no_task = false;
    for _ in 0..TASK_ASKS_MAX {
        let Some(found) = look::into(host, dir).await? else {
            return Ok(None);
        };
        if !found.evidence.is_created_only() || !host.containerd.is_known() {
            return Ok(Some(found));
        }
        match host.containerd.task_state(&found.container()).await {
            Ok(Some(_)) => return Ok(Some(found)),
            Ok(None) => no_task = true,
            Err(error) => {
                no_task = false;
                let problem = sentence(&error);
                tracing::warn!(key = %dir.key(), problem, "cannot ask for the task of a run");
            }
        }
        tokio::time::sleep(Duration::from_millis(TASK_PAUSE_MS)).await;
    }
    let mut found = look::into(host, dir).await?;
    if let Some(found) = &mut found {
        found.evidence.taken_back = no_task;
    }
    Ok(found)
}
