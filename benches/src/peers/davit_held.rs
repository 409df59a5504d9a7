//! davit's shim while its run goes on.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use davit_rpc::local::Run;

use crate::davit::{Davit, payload_run, records_of};
use crate::memory::{MEMORY, MEMORY_BESIDE_ANOTHER};
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

    /// A run whose payload has printed its stamp and stays.
    fn start(&self) -> anyhow::Result<Run> {
        let run = self.davit.submit(payload_run(&["hold"]))?;
        let begun = Instant::now();
        while self.davit.stdout(&run.id)?.is_empty() {
            let waited = begun.elapsed().as_secs();
            ensure!(
                waited < RUNNING_SECONDS_MAX,
                "run {} printed nothing in {waited} s",
                run.id
            );
            std::thread::sleep(Duration::from_millis(RUNNING_POLL_MS));
        }
        Ok(run)
    }

    fn end(&self, run: &Run) -> anyhow::Result<()> {
        self.davit.cancel(&run.id)?;
        self.davit.wait_until_cleaned(run)?;
        self.davit.remove(&run.id)
    }
}

impl Peer for DavitHeld {
    fn name(&self) -> &'static str {
        "davit"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let weighed = self.start()?;
        std::thread::sleep(self.settle);
        let alone = shim_kib(&weighed)?;
        let other = self.start()?;
        std::thread::sleep(self.settle);
        let beside_another = shim_kib(&weighed)?;
        self.end(&weighed)?;
        self.end(&other)?;
        Ok(Sample::from([
            (MEMORY, alone),
            (MEMORY_BESIDE_ANOTHER, beside_another),
        ]))
    }
}

fn shim_kib(run: &Run) -> anyhow::Result<f64> {
    let state = records_of(run)?
        .read_state()?
        .context("a running run has a state record")?;
    smaps::private_kib(state.shim_pid)
}
