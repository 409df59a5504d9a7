//! What a run knows of the processes beside its job: who begins them, and the job's variables, which they have too.

use std::time::Duration;

use davit_rundir::{ConsoleExec, ControlError, ControlErrorCode};
use zeroize::Zeroizing;

use super::{Run, refused};
use crate::consoles::Begun;
use crate::lock;

/// Variables of the job that are not in `config.json`, `KEY=value`: a warm slot's, and secrets. In memory alone.
pub(crate) type LateEnv = Zeroizing<Vec<String>>;

impl Run {
    /// The job has these variables, which `config.json` has not.
    pub(crate) fn remember_env(&self, env: Vec<String>) {
        if self.shared.late_env.set(Zeroizing::new(env)).is_err() {
            log::error!("the run was given variables twice");
        }
    }

    /// See [`Self::remember_env`].
    pub(crate) fn late_env(&self) -> Vec<&str> {
        let env = self.shared.late_env.get();
        env.into_iter()
            .flat_map(|env| env.iter())
            .map(String::as_str)
            .collect()
    }

    /// Begins a process beside the job, which runs.
    pub(crate) async fn begin(&self, wanted: ConsoleExec) -> Result<Begun, ControlError> {
        let not_running = |why| refused(ControlErrorCode::NotRunning, why);
        let state = self.shared.state();
        let state = state.ok_or_else(|| not_running("the container is not created"))?;
        if self.is_over() {
            return Err(not_running("the job is over"));
        }
        if state.started.is_none() {
            return Err(not_running("the job has not started"));
        }
        if state.kill.is_some() {
            return Err(not_running("the job is being stopped"));
        }
        if state.is_paused() {
            return Err(not_running("the job is paused"));
        }
        let beginner = self.shared.beginner.get();
        beginner.ok_or_else(|| not_running("the container is not created"))?(wanted).await
    }

    /// Whether the init has ended.
    pub(crate) fn is_over(&self) -> bool {
        lock(&self.shared.init_exit).is_none()
    }

    /// Waits for the end of the job, or of `bound`.
    pub(crate) async fn ends_within(&self, bound: Duration) -> bool {
        if self
            .shared
            .state()
            .is_some_and(|state| state.kill.is_some())
        {
            return true;
        }
        let mut end = self.shared.end.subscribe();
        let ended = tokio::time::timeout(bound, end.wait_for(Option::is_some)).await;
        ended.is_ok() || self.is_over()
    }
}
