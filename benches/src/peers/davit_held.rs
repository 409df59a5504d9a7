//! davit's shim while its run goes on.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::davit::{Davit, records_of};
use crate::peers::Peer;
use crate::sample::Sample;
use crate::smaps;

const RUNNING_SECONDS_MAX: u64 = 30;
const RUNNING_POLL_MS: u64 = 5;

/// Holds a run and weighs its shim.
pub(crate) struct DavitHeld {
    davit: Davit,
    settle: Duration,
}

impl DavitHeld {
    pub(crate) const fn new(davit: Davit, settle: Duration) -> Self {
        Self { davit, settle }
    }

    fn wait_until_running(&self, run: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.davit.stdout(run)?.is_empty() {
            let waited = begun.elapsed().as_secs();
            ensure!(
                waited < RUNNING_SECONDS_MAX,
                "run {run} printed nothing in {waited} s"
            );
            std::thread::sleep(Duration::from_millis(RUNNING_POLL_MS));
        }
        Ok(())
    }
}

impl Peer for DavitHeld {
    fn name(&self) -> &'static str {
        "davit"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let run = self.davit.submit(&["hold"])?;
        self.wait_until_running(&run.id)?;
        std::thread::sleep(self.settle);
        let state = records_of(&run)?
            .read_state()?
            .context("a running run has a state record")?;
        let memory = smaps::memory_of(state.shim_pid)?;
        self.davit.cancel(&run.id)?;
        self.davit.wait_until_cleaned(&run)?;
        self.davit.remove(&run.id)?;
        Ok(memory)
    }
}
