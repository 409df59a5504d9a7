//! Runs that a scheduler gives: under its ids, marked as its own, kept until it has stored their end.
//!
//! ```text
//!  assign ─► spec.json {scheduled} ─► … ─► end.json ─► told ─► settle_end: settled.json ─► the directory may go
//!     │                                        ▲
//!     │ a later attempt ends earlier ones      ├── forsake: the scheduler wants nothing of it any more
//!     └ this one is here: it as it is          └── fence: fenced.json, then the kill
//! ```
//!
//! Invariant: what the scheduler does not own is neither told of, nor ended, by any of these.

use davit_rundir::{
    FORMAT_VERSION, FencedRecord, RunDir, RunDirError, Scheduled, ScheduledFiles, SettledRecord,
    Stamp,
};
use davit_types::{EnvVar, InstanceType, RunKey, RunRequest, RunSpec, Tenant};

use super::offload::offload;
use super::registry::Entry;
use super::{Beside, Given, Run, RunError, RunHandle, Runs, offer};

/// A run as a scheduler gives it.
#[derive(Clone, Debug)]
pub(crate) struct Assigned {
    pub(crate) key: RunKey,
    pub(crate) tenant: Tenant,
    pub(crate) request: RunRequest,
    /// The only one the request may name.
    pub(crate) instance_type: InstanceType,
    pub(crate) given: Given,
    /// So long without a scheduler, and the run is ended; `None`: it goes on.
    pub(crate) stop_after_ms: Option<u64>,
    /// What it comes with, to be fetched.
    pub(crate) files: Option<ScheduledFiles>,
}

impl Runs {
    /// Accepts a scheduler's run, or answers what it is if it was accepted before. Earlier attempts that still live are
    /// ended first: the scheduler gives a run again only when they are over for it.
    ///
    /// # Errors
    /// As [`Self::submit`]; [`RunError::AttemptKnown`] when a later attempt was here.
    pub(crate) async fn assign(&self, assigned: Assigned) -> Result<Run, RunError> {
        let key = assigned.key;
        if let Some(run) = self.attempt(key).await? {
            if !assigned.given.is_nothing() && !run.view().is_over() {
                self.host.given.give(key, assigned.given);
            }
            return Ok(run);
        }
        self.host.containerd.known()?;
        let spec = self.check_assigned(&assigned)?;
        for (earlier, entry) in self.registry.attempts_of(key.run) {
            if let Entry::Live { handle, .. } = entry
                && earlier < key
            {
                handle.cancel().await?;
            }
        }
        let scheduled = Scheduled {
            boot_id: self.host.boot_id.clone(),
            stop_after_ms: assigned.stop_after_ms,
            has_secrets: !assigned.given.is_nothing(),
            files: assigned.files.clone(),
        };
        if scheduled.has_secrets {
            self.host.given.give(key, assigned.given);
        }
        let runs = self.clone();
        let accepted = tokio::spawn(async move {
            runs.clear_unaccepted(key).await?;
            runs.accept(spec, Beside::default(), Some(scheduled)).await
        });
        match accepted.await.map_err(|_| RunError::ShuttingDown)? {
            Ok(handle) => Ok(Run::Live(handle)),
            Err(error) => {
                self.host.given.forget(key);
                let is_ours = !matches!(
                    &error,
                    RunError::RunDir {
                        source: RunDirError::Exists(_),
                        ..
                    }
                );
                if is_ours && matches!(error, RunError::RunDir { .. }) {
                    // What is declined must not be found, and begun, by the next executor.
                    let dir = RunDir::at(&self.host.runs_dir, key);
                    drop(offload(move || dir.remove()).await);
                }
                Err(error)
            }
        }
    }

    /// Secrets count against the bounds of an environment, but do not become part of the specification.
    fn check_assigned(&self, assigned: &Assigned) -> Result<RunSpec, RunError> {
        let parse = |request: RunRequest| {
            let types = std::slice::from_ref(&assigned.instance_type);
            let (run, tenant) = (assigned.key.run, assigned.tenant.clone());
            request.parse(run, tenant, types, self.host.settings.default_runtime)
        };
        let mut request = assigned.request.clone();
        let env: Vec<EnvVar> = assigned.given.over(&request.env);
        parse(RunRequest {
            env,
            ..request.clone()
        })?;
        assigned.given.name_in(&mut request);
        assigned.given.check(&request)?;
        let spec = RunSpec {
            attempt: assigned.key.attempt,
            files_in: assigned.files.is_some(),
            ..parse(request)?
        };
        offer::check(&self.host, &spec)?;
        Ok(spec)
    }

    /// A crash between the directory and its spec leaves what was never accepted; the id is not used up by it.
    async fn clear_unaccepted(&self, key: RunKey) -> Result<(), RunError> {
        let dir = RunDir::at(&self.host.runs_dir, key);
        let cleared = offload(move || {
            if dir.path().exists() && dir.is_unaccepted() {
                dir.remove()
            } else {
                Ok(())
            }
        });
        let run = key.run;
        cleared
            .await
            .map_err(|source| RunError::RunDir { run, source })
    }

    /// This very attempt, if the host has it.
    pub(crate) async fn attempt(&self, key: RunKey) -> Result<Option<Run>, RunError> {
        match self.registry.attempt(key) {
            Some(entry) => self.open(key, entry).await,
            None => Ok(None),
        }
    }

    /// The scheduler's runs whose end it may not have stored.
    pub(crate) fn unsettled(&self) -> Vec<RunKey> {
        self.registry.unsettled()
    }

    /// Those of them that have an owner.
    pub(crate) fn unsettled_live(&self) -> Vec<(RunKey, RunHandle)> {
        let live = |key| match self.registry.attempt(key) {
            Some(Entry::Live { handle, .. }) => Some((key, handle)),
            _ => None,
        };
        self.unsettled().into_iter().filter_map(live).collect()
    }

    /// The end of a scheduler's run is stored there: durable on return.
    pub(crate) async fn settle_end(&self, key: RunKey) -> Result<(), RunError> {
        let dir = RunDir::at(&self.host.runs_dir, key);
        let record = SettledRecord {
            version: FORMAT_VERSION,
            key,
            at: Stamp::now(),
        };
        let run = key.run;
        offload(move || {
            clear_files(&dir);
            dir.write_settled(&record)
        })
        .await
        .map_err(|source| RunError::RunDir { run, source })?;
        self.registry.settle(key);
        Ok(())
    }

    /// The scheduler wants nothing of an attempt any more: what lives of it is ended, and it is settled.
    pub(crate) async fn forsake(&self, key: RunKey) -> Result<(), RunError> {
        if !self.registry.is_unsettled(key) {
            return Ok(());
        }
        if let Some(Entry::Live { handle, .. }) = self.registry.attempt(key) {
            tracing::warn!(%key, "the scheduler wants nothing of this run any more: it is ended");
            handle.cancel().await?;
            let dir = RunDir::at(&self.host.runs_dir, key);
            tokio::spawn(async move {
                // What it collected until it heard of it; where the executor ends first, retention takes it.
                if handle.ended().await.is_ok() {
                    offload(move || clear_files(&dir)).await;
                }
            });
        }
        self.settle_end(key).await
    }

    /// Ends a scheduler's run that was without a scheduler for `silent_ms`; why is durable before the kill.
    pub(crate) async fn fence(&self, key: RunKey, silent_ms: u64) -> Result<(), RunError> {
        let Some(Entry::Live { handle, .. }) = self.registry.attempt(key) else {
            return Ok(());
        };
        let dir = RunDir::at(&self.host.runs_dir, key);
        let record = FencedRecord {
            version: FORMAT_VERSION,
            key,
            at: Stamp::now(),
            silent_ms,
        };
        let run = key.run;
        offload(move || dir.write_fenced(&record))
            .await
            .map_err(|source| RunError::RunDir { run, source })?;
        tracing::warn!(%key, silent_ms, "no scheduler for too long: the run is ended");
        handle.cancel().await.map(drop)
    }
}

/// What was collected of a run's files goes with its end's acknowledgement, before that is recorded: whoever is killed between
/// the two is told that nothing is wanted of the run, and clears it again.
fn clear_files(dir: &RunDir) {
    let place = dir.files_path();
    if let Err(error) = std::fs::remove_dir_all(&place)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        let place = place.display();
        tracing::warn!(%place, %error, "what came out of a run stays until its retention");
    }
}
