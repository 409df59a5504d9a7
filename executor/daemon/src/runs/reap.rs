//! Sweeping what is davit's and belongs to no run: left by crashes, or by directories removed by hand.
//!
//! Only objects whose name and labels say together that davit made them, whose execution has no run
//! directory, and that are older than the age asked for. Cgroups carry no labels: those directly in
//! davit's own cgroup whose name is a run key or a slot id are davit's. A slot of this executor's pool, or
//! one that a run's `launch.json` names, is nobody's leftover.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use davit_cgroup::{Cgroup, CgroupError};
use davit_rundir::{RunDir, Stamp};
use davit_types::RunKey;

use super::error::sentence;
use super::host::Host;
use super::offload::offload;
use super::registry::Entry;
use super::{RunError, Runs, cleanup};
use crate::containerd::{ContainerName, Found, Inventory};
use crate::warm;

/// What was swept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Container records without a run.
    pub containers: u32,
    /// Root file systems without a run.
    pub snapshots: u32,
    /// Leases without a run.
    pub leases: u32,
    /// Cgroups without a run.
    pub cgroups: u32,
    /// Runs found lost, with nobody watching them.
    pub lost_runs: u32,
    /// Directories of runs never accepted, or ended for longer than they are kept.
    pub run_dirs: u32,
}

impl Runs {
    /// Reconciles, then sweeps what is older than `age`.
    ///
    /// # Errors
    /// When something cannot be listed. What cannot be removed is logged and left for the next time.
    pub async fn reap(&self, age: Duration) -> Result<Reaped, RunError> {
        let mut reaped = Reaped {
            lost_runs: self.reconcile().await?.lost,
            ..Reaped::default()
        };
        let inventory = self.host.containerd.inventory().await?;
        let cgroups = cgroups(&self.host)
            .await
            .map_err(|source| RunError::Cgroup { source })?;
        let dirs = self.dirs().await?;
        let runs = self.containers(&dirs).await;
        let limit = SystemTime::now()
            .checked_sub(age)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        for (name, orphan) in orphans(&inventory, &cgroups, &runs, limit) {
            // Taken, or being made, since.
            if name.slot().is_some_and(|slot| self.host.warm.owns(slot)) {
                continue;
            }
            match self.sweep(&name, orphan.run).await {
                Ok(()) => {
                    tracing::info!(%name, ?orphan, "swept what no run owns");
                    reaped.containers += u32::from(orphan.container);
                    reaped.snapshots += u32::from(orphan.snapshot);
                    reaped.leases += u32::from(orphan.lease);
                    reaped.cgroups += u32::from(orphan.cgroup);
                }
                Err(error) => {
                    tracing::warn!(%name, problem = sentence(&error), "cannot sweep what no run owns");
                }
            }
        }
        if let Err(error) = self.host.network.sweep().await {
            tracing::warn!(
                problem = sentence(&error),
                "links without a container may be left"
            );
        }
        reaped.run_dirs = self.sweep_unaccepted(dirs, limit).await + self.retain().await;
        Ok(reaped)
    }

    /// Removes, beside everything else, the warm slots that an executor before this one left.
    pub async fn sweep_slots(self) {
        self.host.containerd.when_known().await;
        let listed = self
            .host
            .containerd
            .inventory()
            .await
            .map_err(RunError::from);
        match (listed, self.dirs().await) {
            (Ok(inventory), Ok(dirs)) => {
                let runs = self.containers(&dirs).await;
                warm::sweep(Arc::clone(&self.host), inventory, runs).await;
            }
            (Err(error), _) | (_, Err(error)) => {
                let problem = sentence(&error);
                tracing::warn!(problem, "old warm slots stay until `davit reap`");
            }
        }
    }

    async fn dirs(&self) -> Result<Vec<RunDir>, RunError> {
        let runs_dir = self.host.runs_dir.clone();
        let dirs = offload(move || RunDir::list(&runs_dir)).await;
        dirs.map_err(|source| RunError::RunsDir { source })
    }

    /// The containers that belong to the runs on disk.
    async fn containers(&self, dirs: &[RunDir]) -> BTreeSet<ContainerName> {
        let mut names: BTreeSet<ContainerName> = dirs.iter().map(|dir| dir.key().into()).collect();
        for (_, entry) in self.registry.all() {
            if let Entry::Live { handle, .. } = entry {
                names.insert(handle.view().container_name());
            }
        }
        let unknown = dirs.iter().filter(|dir| !self.registry.knows(dir.key()));
        for dir in unknown {
            let at = dir.clone();
            let launch = offload(move || at.read_launch().ok().flatten()).await;
            names.insert(ContainerName::of_launch(dir.key(), launch.as_ref()));
        }
        names
    }

    /// Removes what a run without a directory has left. A shim that lost its directory would try for
    /// minutes to record the end of its job before it lets go: it is given one as long as that takes.
    async fn sweep(
        &self,
        name: &ContainerName,
        run: Option<RunKey>,
    ) -> Result<(), cleanup::CleanupError> {
        self.host.containerd.lease_delete(name).await?;
        let Some(key) = run else {
            return cleanup::soon(&self.host, name).await;
        };
        let dir = RunDir::at(&self.host.runs_dir, key);
        let place = dir.clone();
        // Without it the sweep only takes longer. One that is there is a run's, and stays.
        let made = offload(move || fs::DirBuilder::new().mode(0o700).create(place.path())).await;
        let swept = cleanup::soon(&self.host, name).await;
        if made.is_ok()
            && let Err(error) = offload(move || dir.remove()).await
        {
            tracing::warn!(%key, problem = sentence(&error), "cannot remove a run directory");
        }
        swept
    }

    /// Removes the directories of runs that were never accepted: a crash came between the two steps.
    async fn sweep_unaccepted(&self, dirs: Vec<RunDir>, limit: SystemTime) -> u32 {
        let mut swept = 0;
        for dir in dirs
            .into_iter()
            .filter(|dir| !self.registry.knows(dir.key()))
        {
            let removed = offload(move || {
                let unaccepted =
                    dir.is_unaccepted() && modified_at(dir.path()).is_some_and(|at| at < limit);
                unaccepted && dir.remove().is_ok()
            });
            swept += u32::from(removed.await);
        }
        swept
    }

    /// Removes the directories of runs that ended longer ago than the operator keeps them, but for those whose end a
    /// scheduler has not stored yet.
    pub async fn retain(&self) -> u32 {
        let Some(kept_seconds) = self.host.settings.retention.finished_seconds else {
            return 0;
        };
        let kept_ns = kept_seconds.saturating_mul(1_000_000_000);
        let mut removed = 0;
        for (key, entry) in self.registry.all() {
            let Entry::Ended { dir, .. } = entry else {
                continue;
            };
            if self.registry.is_unsettled(key) {
                continue;
            }
            let gone = offload(move || {
                let end = dir.read_end().ok().flatten();
                let age_ns = end.map(|end| Stamp::now().unix_ns.saturating_sub(end.ended.unix_ns));
                age_ns.is_some_and(|age_ns| age_ns > kept_ns) && dir.remove().is_ok()
            });
            if gone.await {
                self.registry.forget(key);
                removed += 1;
            }
        }
        removed
    }
}

/// What an execution without a run has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one per kind of object")]
struct Orphan {
    container: bool,
    snapshot: bool,
    lease: bool,
    cgroup: bool,
    /// Whose directory its shim may be looking for.
    run: Option<RunKey>,
}

/// The executions that have objects, none of them younger than `limit`, and no run.
fn orphans(
    inventory: &Inventory,
    cgroups: &[(ContainerName, SystemTime)],
    runs: &BTreeSet<ContainerName>,
    limit: SystemTime,
) -> BTreeMap<ContainerName, Orphan> {
    let mut found: BTreeMap<ContainerName, (Orphan, SystemTime)> = BTreeMap::new();
    let mut note = |name: &ContainerName, run, at: SystemTime, mark: fn(&mut Orphan)| {
        if !runs.contains(name) {
            let fresh = (Orphan::default(), at);
            let (orphan, youngest) = found.entry(name.clone()).or_insert(fresh);
            mark(orphan);
            orphan.run = orphan.run.or(run);
            *youngest = at.max(*youngest);
        }
    };
    let mut note_all = |list: &[Found], mark: fn(&mut Orphan)| {
        for object in list {
            note(&object.name, object.run, object.created_at, mark);
        }
    };
    note_all(&inventory.containers, |orphan| orphan.container = true);
    note_all(&inventory.snapshots, |orphan| orphan.snapshot = true);
    note_all(&inventory.leases, |orphan| orphan.lease = true);
    for (name, made_at) in cgroups {
        let run = match name {
            ContainerName::Run(key) => Some(*key),
            ContainerName::Slot(_) => None,
        };
        note(name, run, *made_at, |orphan| orphan.cgroup = true);
    }
    let old = found
        .into_iter()
        .filter(|(_, (_, youngest))| *youngest <= limit);
    old.map(|(name, (orphan, _))| (name, orphan)).collect()
}

async fn cgroups(host: &Arc<Host>) -> Result<Vec<(ContainerName, SystemTime)>, CgroupError> {
    let host = Arc::clone(host);
    offload(move || {
        let parent = match Cgroup::open(&host.hierarchy, &host.cgroup_parent) {
            Err(error) if error.is_gone() => return Ok(Vec::new()),
            opened => opened?,
        };
        let keys = parent.children()?.into_iter().filter_map(|name| {
            let path: PathBuf = parent.path().join(&name);
            Some((name.parse().ok()?, modified_at(&path)?))
        });
        Ok(keys.collect())
    })
    .await
}

fn modified_at(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_rundir::SlotId;
    use davit_types::{Attempt, RunId};

    fn key() -> RunKey {
        RunKey {
            run: RunId::generate(),
            attempt: Attempt::FIRST,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn only_old_objects_without_a_run_are_orphans() {
        let slot = ContainerName::Slot(SlotId::from_random(1));
        let (run, old, young) = (key().into(), slot, key().into());
        let mixed: ContainerName = key().into();
        let container = |name: &ContainerName, seconds| Found {
            name: name.clone(),
            run: None,
            created_at: at(seconds),
        };
        let inventory = Inventory {
            containers: vec![container(&run, 1), container(&old, 1), container(&mixed, 1)],
            snapshots: vec![
                container(&young, 90),
                container(&mixed, 90),
                container(&old, 2),
            ],
            leases: Vec::new(),
            tasks: Vec::new(),
        };
        let cgroups = [(old.clone(), at(3)), (run.clone(), at(3))];
        let found = orphans(&inventory, &cgroups, &[run].into(), at(50));
        let all = Orphan {
            container: true,
            snapshot: true,
            lease: false,
            cgroup: true,
            run: None,
        };
        assert_eq!(found, [(old, all)].into());
    }
}
