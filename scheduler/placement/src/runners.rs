//! Saved runners: how many of their runs are live, how many may be, and where they were warmed.

use slab::Slab;

use crate::bounds;
use crate::error::Refused;
use crate::map::Map;
use crate::names::RunnerName;
use crate::run::{Runner, check_count};

#[derive(Debug)]
pub(crate) struct RunnerState {
    pub(crate) name: RunnerName,
    pub(crate) live: u32,
    pub(crate) live_max: Option<u32>,
    /// The host its next runs go to while that has room.
    pub(crate) warm: Option<usize>,
    /// Its runs, waiting or live.
    runs: usize,
}

impl RunnerState {
    /// Whether no more of its runs may be live.
    pub(crate) fn is_at_cap(&self) -> bool {
        self.live_max.is_some_and(|max| self.live >= max)
    }
}

/// All runners that have a run or a warmed host.
#[derive(Debug, Default)]
pub(crate) struct Runners {
    pub(crate) all: Slab<RunnerState>,
    by_name: Map<RunnerName, usize>,
    warmed: usize,
}

impl Runners {
    pub(crate) fn lookup(&self, name: &RunnerName) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    fn enter(&mut self, name: &RunnerName) -> usize {
        if let Some(at) = self.lookup(name) {
            return at;
        }
        let at = self.all.insert(RunnerState {
            name: name.clone(),
            live: 0,
            live_max: None,
            warm: None,
            runs: 0,
        });
        self.by_name.insert(name.clone(), at);
        at
    }

    /// The runner, with one run more; its cap is what was told last.
    pub(crate) fn join(&mut self, runner: &Runner) -> usize {
        let at = self.enter(&runner.name);
        self.all[at].runs += 1;
        self.all[at].live_max = runner.live_max;
        at
    }

    /// One run of the runner is no more.
    pub(crate) fn leave(&mut self, at: usize) {
        self.all[at].runs -= 1;
        self.forget_if_idle(at);
    }

    /// Its next runs go to this host while it has room.
    pub(crate) fn warm(&mut self, name: &RunnerName, host: usize) -> Result<(), Refused> {
        let known = self
            .lookup(name)
            .is_some_and(|at| self.all[at].warm.is_some());
        let warmed = self.warmed + usize::from(!known);
        check_count(
            name,
            "runners with a warmed host",
            warmed,
            bounds::REMEMBERED_MAX,
        )?;
        self.warmed = warmed;
        let at = self.enter(name);
        self.all[at].warm = Some(host);
        Ok(())
    }

    /// It prefers no host any more.
    pub(crate) fn cool(&mut self, at: usize) {
        self.warmed -= usize::from(self.all[at].warm.take().is_some());
        self.forget_if_idle(at);
    }

    /// No runner prefers the host any more.
    pub(crate) fn forget_host(&mut self, host: usize) {
        let warmed = self
            .all
            .iter()
            .filter(|(_, runner)| runner.warm == Some(host));
        for at in warmed.map(|(at, _)| at).collect::<Vec<_>>() {
            self.cool(at);
        }
    }

    fn forget_if_idle(&mut self, at: usize) {
        let runner = &self.all[at];
        if runner.runs == 0 && runner.warm.is_none() {
            let runner = self.all.remove(at);
            self.by_name.remove(&runner.name);
        }
    }
}
