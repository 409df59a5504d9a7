//! containerd's own shim while its container goes on: one shim, one container, as `ctr run` makes it.

use std::time::Duration;

use crate::peers::{Peer, ctr};
use crate::sample::Sample;
use crate::smaps;

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
}

impl Peer for CtrHeld {
    fn name(&self) -> &'static str {
        "runc-v2-shim"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        self.launches += 1;
        let id = format!("held-{}", self.launches);
        ctr::run_detached(&id, "hold")?;
        std::thread::sleep(self.settle);
        let memory = smaps::memory_of(smaps::find_process("containerd-shim-runc-v2", &id)?)?;
        ctr::remove_running(&id)?;
        Ok(memory)
    }
}
