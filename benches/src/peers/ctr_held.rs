//! containerd's own shim while its container goes on: one shim a container, as `ctr run` makes it.

use std::time::Duration;

use crate::memory::{MEMORY, MEMORY_BESIDE_ANOTHER};
use crate::peers::{Peer, ctr};
use crate::process;
use crate::sample::Sample;

/// Holds a container and weighs its shim.
pub(crate) struct CtrHeld {
    settle: Duration,
    launches: u64,
}

impl CtrHeld {
    pub(crate) const fn new(settle: Duration) -> Self {
        Self {
            settle,
            launches: 0,
        }
    }

    fn start(&mut self) -> anyhow::Result<String> {
        self.launches += 1;
        let id = format!("held-{}", self.launches);
        ctr::run_detached(&id, "hold")?;
        Ok(id)
    }
}

impl Peer for CtrHeld {
    fn name(&self) -> &'static str {
        "runc-v2-shim"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let weighed = self.start()?;
        std::thread::sleep(self.settle);
        let alone = shim_kib(&weighed)?;
        let other = self.start()?;
        std::thread::sleep(self.settle);
        let beside_another = shim_kib(&weighed)?;
        ctr::remove_running(&weighed)?;
        ctr::remove_running(&other)?;
        Ok(Sample::from([
            (MEMORY, alone),
            (MEMORY_BESIDE_ANOTHER, beside_another),
        ]))
    }
}

fn shim_kib(container: &str) -> anyhow::Result<f64> {
    Ok(process::memory(process::find("containerd-shim-runc-v2", container)?)?.private_kib)
}
