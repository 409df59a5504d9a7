//! The runs of this host: accepted, driven, watched, found again, swept.
//!
//! ```text
//!  api ──► Runs ──► registry: id, name → handle (live) or directory (ended)
//!                      │ handle
//!                      ▼
//!            owner (one task a run) ── lifecycle table
//!              ├─ work: pull, launch (a warm slot, or containerd), start, cleanup
//!              ├─ vigil + control: the shim's socket
//!              └─ ending: exit.json → end.json
//!
//!  reconcile (start) ─► evidence ─► recovery (pure) ─► owner with its first event
//!  reap (on demand)  ─► what is davit's in containerd and cgroupfs, but no run's
//!  follow            ─► log records by inotify, then the end
//! ```
//!
//! Invariants:
//! - a run is durable before anything of it is made, and its verdict before anybody hears of it;
//! - one task changes a run's state; everybody else holds a [`RunHandle`];
//! - no lock is held across an await; every queue has a bound;
//! - dropping all of this ends no job.
//!
//! Absent on purpose: containerd's events (hints), exit codes from containerd (invented when a shim
//! dies), and deadlines of jobs (the shim's).

mod assigned;
mod backoff;
pub(crate) mod cleanup;
mod ending;
mod error;
mod follow;
mod given;
mod handle;
mod host;
mod launch;
mod log_watch;
mod look;
mod metering;
mod offer;
mod offload;
mod owner;
mod reap;
mod reconcile;
mod recovery;
mod registry;
#[cfg(test)]
pub(crate) mod samples;
mod shim;
mod used;
mod view;
mod vigil;
mod work;

use std::sync::Arc;
use std::time::Duration;

use davit_lifecycle::{Event, State};
use davit_rundir::{FORMAT_VERSION, RunDir, Scheduled, Secrets, SpecRecord, Stamp};
use davit_types::{RunId, RunKey, RunRequest, RunSpec, Tenant};

pub(crate) use self::assigned::Assigned;
pub(crate) use self::backoff::Backoff;
pub use self::error::RunError;
pub(crate) use self::error::sentence;
pub use self::follow::{FollowItem, Follower};
pub(crate) use self::given::{Given, GivenSecrets};
pub use self::handle::{RunHandle, StopOrder};
pub use self::host::Host;
pub use self::log_watch::LogWatch;
pub use self::metering::{elapsed, segments};
pub(crate) use self::offload::offload;
pub use self::reap::Reaped;
pub use self::shim::ShimError;
pub use self::view::View;

use self::owner::{Begin, Owner};
use self::recovery::Recovery;
use self::registry::{Entry, Registry};
use crate::files::intake::Upload;
use crate::images::Credentials;

/// How long a removal waits for the clean-up of the run, milliseconds.
const CLEANED_MS_MAX: u64 = 30_000;

/// The runs of this host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runs {
    host: Arc<Host>,
    registry: Arc<Registry>,
    logs: LogWatch,
}

/// What comes beside a request, and is nowhere on disk.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// For the pull.
    pub(crate) credentials: Option<Credentials>,
    /// For the working directory, on their way.
    pub(crate) files: Option<Upload>,
    /// Values of secret variables and files.
    pub(crate) secrets: Secrets,
}

/// A run as it was found: with an owner, or on disk only.
#[derive(Clone, Debug)]
pub enum Run {
    /// It has an owner.
    Live(RunHandle),
    /// It has ended.
    Ended(Box<View>),
}

impl Run {
    /// The run as it is now.
    #[must_use]
    pub fn view(&self) -> View {
        match self {
            Self::Live(handle) => handle.view(),
            Self::Ended(view) => (**view).clone(),
        }
    }
}

impl Runs {
    /// No runs yet; [`Self::reconcile`] finds those on disk.
    #[must_use]
    pub fn new(host: Arc<Host>, logs: LogWatch) -> Self {
        let registry = Arc::new(Registry::new(host.settings.live_runs_max));
        Self {
            host,
            registry,
            logs,
        }
    }

    /// The host they run on.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Accepts a run: durable on return, whatever happens to the caller or the executor.
    ///
    /// # Errors
    /// [`RunError::Invalid`] with every wrong field, [`RunError::NameTaken`],
    /// [`RunError::TooManyLive`], [`RunError::RunDir`]; [`RunError::Containerd`] while it is away.
    pub async fn submit(
        &self,
        request: RunRequest,
        credentials: Option<Credentials>,
    ) -> Result<RunHandle, RunError> {
        let beside = Beside {
            credentials,
            ..Beside::default()
        };
        self.submit_beside(request, beside).await
    }

    /// As [`Self::submit`], with what comes beside the request.
    pub(crate) async fn submit_beside(
        &self,
        mut request: RunRequest,
        mut beside: Beside,
    ) -> Result<RunHandle, RunError> {
        let host = &self.host;
        host.containerd.known()?;
        let given = Given {
            secrets: std::mem::take(&mut beside.secrets),
            credentials: None,
        };
        given.name_in(&mut request);
        given.check(&request)?;
        let mut spec = request.parse(
            RunId::generate(),
            Tenant::local(),
            &host.instance_types,
            host.settings.default_runtime,
        )?;
        offer::check(&self.host, &spec)?;
        spec.files_in = beside.files.is_some();
        let runs = self.clone();
        // A task of its own: a caller that hangs up half-way must not leave a run half-accepted.
        let accepted = tokio::spawn(async move {
            let key = spec.key();
            if !given.is_nothing() {
                runs.host.given.give(key, given);
            }
            let accepted = runs.accept(spec, beside, None).await;
            if accepted.is_err() {
                runs.host.given.forget(key);
            }
            accepted
        });
        accepted.await.map_err(|_| RunError::ShuttingDown)?
    }

    async fn accept(
        &self,
        spec: RunSpec,
        beside: Beside,
        scheduled: Option<Scheduled>,
    ) -> Result<RunHandle, RunError> {
        let key = spec.key();
        let run = spec.run_id;
        let is_scheduled = scheduled.is_some();
        let name = spec.name.clone();
        let record = Arc::new(SpecRecord {
            version: FORMAT_VERSION,
            accepted: Stamp::now(),
            spec,
            scheduled,
        });
        let begin = Begin {
            dir: RunDir::at(&self.host.runs_dir, record.spec.key()),
            spec: Arc::clone(&record),
            recovery: Recovery {
                event: Event::Begin,
                clear: false,
                lost: None,
            },
            shim: None,
            launch: None,
            exit: None,
            end: None,
            credentials: beside.credentials,
            files: beside.files,
        };
        let (owner, handle) = Owner::new(Arc::clone(&self.host), begin);
        self.registry
            .admit(key, name, handle.clone(), is_scheduled)?;
        let runs_dir = self.host.runs_dir.clone();
        if let Err(source) = offload(move || RunDir::create(&runs_dir, &record)).await {
            self.registry.forget(key);
            return Err(RunError::RunDir { run, source });
        }
        self.drive(owner, &handle);
        Ok(handle)
    }

    /// Lets `owner` do its work, and its run be known by directory afterwards.
    fn drive(&self, mut owner: Owner, handle: &RunHandle) {
        let (registry, host) = (Arc::clone(&self.registry), Arc::clone(&self.host));
        let dir = handle.view().dir;
        tokio::spawn(async move {
            owner.run().await;
            host.given.forget(dir.key());
            registry.retire(dir);
            // Only now: who watches the run to its very end finds it retired.
            drop(owner);
        });
    }

    /// The run `reference` means: an id, the unique beginning of one (4 characters or more), a name.
    ///
    /// # Errors
    /// [`RunError::NotFound`], [`RunError::Ambiguous`], [`RunError::RunDir`].
    pub async fn find(&self, reference: &str) -> Result<Run, RunError> {
        let (key, entry) = self.registry.find(reference)?;
        self.open(key, entry)
            .await?
            .ok_or_else(|| RunError::NotFound {
                reference: reference.to_owned(),
            })
    }

    async fn open(&self, key: RunKey, entry: Entry) -> Result<Option<Run>, RunError> {
        match entry {
            Entry::Live { handle, .. } => Ok(Some(Run::Live(handle))),
            Entry::Ended { dir, .. } => {
                let view = offload(move || View::read_ended(dir)).await;
                let run = key.run;
                let view = view.map_err(|source| RunError::RunDir { run, source })?;
                Ok(view.map(|view| Run::Ended(Box::new(view))))
            }
        }
    }

    /// Live runs, with `ended` the others too; oldest first. One whose records cannot be read is
    /// left out, with a line in the executor's log.
    pub async fn list(&self, ended: bool) -> Vec<View> {
        let mut views = Vec::new();
        for (key, entry) in self.registry.all() {
            if !ended && !entry.is_live() {
                continue;
            }
            match self.open(key, entry).await {
                Ok(found) => views.extend(found.map(|run| run.view())),
                Err(error) => {
                    tracing::warn!(%key, problem = sentence(&error), "left out of a listing");
                }
            }
        }
        views
    }

    /// Where each live run stands.
    pub(crate) fn live_states(&self) -> Vec<State> {
        let state = |entry| match entry {
            Entry::Live { handle, .. } => Some(handle.view.borrow().state),
            Entry::Ended { .. } => None,
        };
        let all = self.registry.all().into_iter();
        all.filter_map(|(_, entry)| state(entry)).collect()
    }

    /// Forgets an ended run: directory, log and records. Waits for its clean-up, for a while.
    ///
    /// # Errors
    /// [`RunError::StillLive`] before its end, [`RunError::WrongPhase`] while it cannot be cleaned up.
    pub async fn remove(&self, reference: &str) -> Result<(), RunError> {
        let (key, mut entry) = self.registry.find(reference)?;
        let run = key.run;
        if let Entry::Live { handle, .. } = &entry
            && handle.view().is_over()
        {
            cleaned(handle).await;
            (_, entry) = self.registry.find(reference)?;
        }
        let dir = match entry {
            Entry::Ended { dir, .. } => dir,
            Entry::Live { handle, .. } => {
                let view = handle.view();
                return Err(if view.is_over() {
                    let (operation, phase) = ("remove", "being cleaned up");
                    RunError::WrongPhase {
                        operation,
                        run,
                        phase,
                    }
                } else {
                    let phase = view.state.phase();
                    RunError::StillLive { run, phase }
                });
            }
        };
        if self.registry.is_unsettled(key) {
            let (operation, phase) = ("remove", "not known to the scheduler to have ended");
            return Err(RunError::WrongPhase {
                operation,
                run,
                phase,
            });
        }
        offload(move || dir.remove())
            .await
            .map_err(|source| RunError::RunDir { run, source })?;
        self.registry.forget(key);
        Ok(())
    }

    /// Returns once no run is between its first object in containerd and its start, and nothing is left of those that
    /// ended; or after `limit`: a launch cut off there is taken back and made anew by the next executor, which cleans up
    /// too.
    pub async fn settle(&self, limit: Duration) {
        let busy = |view: &View| {
            use State::{Closing, Preparing, Starting, Unpreparing, Unstarting};
            matches!(
                view.state,
                Preparing | Unpreparing | Starting | Unstarting | Closing
            )
        };
        let settled = async {
            for (_, entry) in self.registry.all() {
                if let Entry::Live { handle, .. } = entry {
                    // An error means that its owner is gone, which settles it too.
                    drop(handle.changes().wait_for(|view| !busy(view)).await);
                }
            }
        };
        if tokio::time::timeout(limit, settled).await.is_err() {
            tracing::warn!(
                "launches and clean-ups under way are cut off; the next executor goes on with them"
            );
        }
    }
}

/// Waits until the owner of an ended run has removed what the run had made and is gone.
async fn cleaned(handle: &RunHandle) {
    let mut changes = handle.changes();
    let gone = async { while changes.changed().await.is_ok() {} };
    // Past the limit the caller finds it live still, and says so.
    drop(tokio::time::timeout(Duration::from_millis(CLEANED_MS_MAX), gone).await);
}
