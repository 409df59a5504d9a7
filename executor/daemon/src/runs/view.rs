//! What is told of a run: published by its owner at each change, or read back from its directory.

use std::sync::Arc;

use davit_lifecycle::State;
use davit_rundir::{EndRecord, RunDir, RunDirError, SpecRecord, StateRecord, Timings};
use davit_types::{RunId, RunStatus};

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
        let launch = dir.read_launch()?;
        let mut view = Self::accepted(dir, Arc::new(spec));
        view.state = State::Ended;
        view.image_digest = launch.map(|launch| launch.image_digest.into());
        if let Some(end) = end {
            view.timings = end.timings;
            view.end = Some(Arc::new(end));
        }
        Ok(Some(view))
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
