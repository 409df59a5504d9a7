//! davit's shim while its run goes on.

use std::time::Duration;

use anyhow::Context as _;
use davit_rpc::local::Run;

use crate::davit::{Davit, records_of};
use crate::memory::{MEMORY, MEMORY_BESIDE_ANOTHER};
use crate::peers::Peer;
use crate::process;
use crate::sample::Sample;

/// Holds a run and weighs its shim.
pub(crate) struct DavitHeld {
    davit: Davit,
    settle: Duration,
}

impl DavitHeld {
    pub(crate) const fn new(davit: Davit, settle: Duration) -> Self {
        Self { davit, settle }
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
        let weighed = self.davit.start_and_see(&["hold"])?;
        std::thread::sleep(self.settle);
        let alone = shim_kib(&weighed)?;
        let other = self.davit.start_and_see(&["hold"])?;
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
    Ok(process::memory(state.shim_pid)?.private_kib)
}
