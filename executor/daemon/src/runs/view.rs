//! What is told of a run: published by its owner at each change, or read back from its directory.

use std::sync::Arc;

use davit_lifecycle::State;
use davit_rundir::{
    EndRecord, LaunchRecord, RunDir, RunDirError, SpecRecord, StateRecord, Timings,
};
use davit_types::{RunId, RunStatus};

use crate::containerd::ContainerName;

/// A run as it is at one instant. Cheap to clone.
#[derive(Clone, Debug)]
pub struct View {
    /// Where its records are.
    pub dir: RunDir,
    /// What was accepted, and when.
    pub spec: Arc<SpecRecord>,
    /// Where it stands.
    pub state: State,
    /// What its tag resolved to, once known.
    pub image_digest: Option<Arc<str>>,
    /// Its container, once there is one.
    pub container: Option<ContainerName>,
    /// What its shim last said.
    pub shim: Option<Arc<StateRecord>>,
    /// The verdict, once durable.
    pub end: Option<Arc<EndRecord>>,
    /// How its start went.
    pub timings: Timings,
}

impl View {
    /// A run just accepted.
    #[must_use]
    pub fn accepted(dir: RunDir, spec: Arc<SpecRecord>) -> Self {
        let timings = Timings {
            accepted: Some(spec.accepted),
            ..Timings::default()
        };
        Self {
            dir,
            spec,
            state: State::Accepted,
            image_digest: None,
            container: None,
            shim: None,
            end: None,
            timings,
        }
    }

    /// An ended run as its directory tells it; `None` if the directory is not there any more.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn read_ended(dir: RunDir) -> Result<Option<Self>, RunDirError> {
        let Some(spec) = dir.read_spec()? else {
            return Ok(None);
        };
        let end = dir.read_end()?;
        // A power cut may have taken it; the verdict stands without.
        let launch = dir.read_launch().ok().flatten();
        let mut view = Self::accepted(dir, Arc::new(spec));
        view.state = State::Ended;
        view.launched(launch.as_ref());
        if let Some(end) = end {
            view.timings = end.timings;
            view.end = Some(Arc::new(end));
        }
        Ok(Some(view))
    }

    /// Takes in what `launch.json` says.
    pub(super) fn launched(&mut self, launch: Option<&LaunchRecord>) {
        let Some(launch) = launch else {
            return;
        };
        self.image_digest = Some(launch.image_digest.as_str().into());
        self.container = Some(ContainerName::of_launch(self.dir.key(), Some(launch)));
        self.timings.warm = launch.slot.is_some();
    }

    /// The container's name, of one that is not made yet the one it would have.
    #[must_use]
    pub fn container_name(&self) -> ContainerName {
        let made = self.container.clone();
        made.unwrap_or_else(|| self.dir.key().into())
    }

    /// The run.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.spec.spec.run_id
    }

    /// Whether the verdict is durable: nothing about it changes any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.state.is_over()
    }

    /// Whether the log in the run directory is the run's: what a launch that was taken back may have
    /// left is removed before the next one is watched.
    #[must_use]
    pub const fn has_final_log(&self) -> bool {
        match self.state {
            State::Accepted | State::Pulling | State::Preparing | State::Unpreparing => false,
            State::Starting
            | State::Unstarting
            | State::Running
            | State::Paused
            | State::Stopping
            | State::Closing
            | State::Ended => true,
        }
    }

    /// The public status.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.state
            .live_status()
            .or(self.end.as_ref().map(|end| end.status))
            // Over, but its verdict is not readable: it did not succeed as far as anybody knows.
            .unwrap_or(RunStatus::Failed)
    }
}
