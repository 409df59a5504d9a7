//! Many idle runs of davit.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use davit_rpc::local::Run;

use super::weights::{containerd, private_kib, share_kib, watch, weigh_shims};
use super::{
    CONTAINERD_SHARE, CONTAINERD_WAKEUPS, EXECUTOR_CPU, EXECUTOR_SHARE, EXECUTOR_WAKEUPS, MEMORY,
    SETTLE, SHIM_PRIVATE, WARM_SLOTS,
};
use crate::davit::{Davit, check_succeeded, payload_run, records_of};
use crate::peers::Peer;
use crate::process;
use crate::sample::Sample;

const SHIM: &str = "containerd-shim-davit-v1";

/// Starts, weighs and ends them.
pub(super) struct Crowd {
    davit: Davit,
    executor: u32,
    runs: u32,
    watch: Duration,
}

impl Crowd {
    pub(super) const fn new(davit: Davit, executor: u32, runs: u32, watch: Duration) -> Self {
        Self {
            davit,
            executor,
            runs,
            watch,
        }
    }

    /// Lets the executor allocate what it keeps for ever, whatever the number of runs.
    fn warm_up(&self) -> anyhow::Result<()> {
        let accepted = self.davit.submit(payload_run(&[]))?;
        let run = self.davit.wait(&accepted.id)?;
        check_succeeded(&run)?;
        self.davit.wait_until_cleaned(&run)?;
        self.davit.remove(&run.id)
    }

    fn weigh(&self, runs: &[Run], before: [f64; 2]) -> anyhow::Result<Sample> {
        let shims = runs
            .iter()
            .map(shim_of)
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (executor, containerd) = (self.executor, containerd()?);
        let mut sample = Sample::new();
        weigh_shims(&shims, &mut sample)?;
        let executor_kib = share_kib(executor, before[0], self.runs)?;
        sample.insert(MEMORY, sample[&SHIM_PRIVATE] + executor_kib);
        sample.insert(EXECUTOR_SHARE, executor_kib);
        sample.insert(
            CONTAINERD_SHARE,
            share_kib(containerd, before[1], self.runs)?,
        );
        sample.insert(WARM_SLOTS, warm_slots_kib(&shims)?);
        let [executor, containerd] =
            watch(&shims, [executor, containerd], self.watch, &mut sample)?;
        sample.insert(EXECUTOR_WAKEUPS, executor.wakeups_per_second);
        sample.insert(EXECUTOR_CPU, executor.cpu_percent);
        sample.insert(CONTAINERD_WAKEUPS, containerd.wakeups_per_second);
        Ok(sample)
    }
}

impl Peer for Crowd {
    fn name(&self) -> &'static str {
        "davit"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        self.warm_up()?;
        std::thread::sleep(SETTLE);
        let before = [private_kib(self.executor)?, private_kib(containerd()?)?];
        let runs = (0..self.runs)
            .map(|_| self.davit.start_and_see(&["hold"]))
            .collect::<anyhow::Result<Vec<_>>>()?;
        std::thread::sleep(SETTLE);
        let sample = self.weigh(&runs, before)?;
        for run in &runs {
            ensure!(
                self.davit.run_named(&run.id)?.status == "running",
                "run {} did not stay",
                run.id
            );
            self.davit.cancel(&run.id)?;
        }
        self.davit.wait_until_all_cleaned(&runs)?;
        for run in &runs {
            self.davit.remove(&run.id)?;
        }
        Ok(sample)
    }
}

fn shim_of(run: &Run) -> anyhow::Result<u32> {
    let state = records_of(run)?
        .read_state()?
        .context("a running run has a state record")?;
    Ok(state.shim_pid)
}

fn warm_slots_kib(shims_of_runs: &[u32]) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for (pid, _) in process::all_of(SHIM)? {
        if !shims_of_runs.contains(&pid) {
            sum += private_kib(pid)?;
        }
    }
    Ok(sum)
}
