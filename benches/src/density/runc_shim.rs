//! Many idle containers of `ctr run --detach`, each under containerd's own runc shim.

use std::time::Duration;

use anyhow::ensure;

use super::weights::{containerd, private_kib, share_kib, watch, weigh_shims};
use super::{CONTAINERD_SHARE, CONTAINERD_WAKEUPS, MEMORY, SETTLE, SHIM_PRIVATE};
use crate::peers::{Peer, ctr};
use crate::process;
use crate::sample::Sample;

const SHIM: &str = "containerd-shim-runc-v2";

/// Starts, weighs and ends them.
pub(super) struct Crowd {
    runs: u32,
    watch: Duration,
    rounds: u32,
}

impl Crowd {
    pub(super) const fn new(runs: u32, watch: Duration) -> Self {
        Self {
            runs,
            watch,
            rounds: 0,
        }
    }
}

impl Peer for Crowd {
    fn name(&self) -> &'static str {
        "runc-v2-shim"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        self.rounds += 1;
        std::thread::sleep(SETTLE);
        let containerd = containerd()?;
        let before_kib = private_kib(containerd)?;
        let ids: Vec<String> = (0..self.runs)
            .map(|number| format!("crowd-{}-{number}", self.rounds))
            .collect();
        for id in &ids {
            ctr::run_detached(id, "hold")?;
        }
        std::thread::sleep(SETTLE);
        let shims: Vec<u32> = process::all_of(SHIM)?.iter().map(|(pid, _)| *pid).collect();
        ensure!(
            shims.len() == ids.len(),
            "{} containers have {} shims",
            ids.len(),
            shims.len()
        );
        let mut sample = Sample::new();
        weigh_shims(&shims, &mut sample)?;
        sample.insert(MEMORY, sample[&SHIM_PRIVATE]);
        sample.insert(
            CONTAINERD_SHARE,
            share_kib(containerd, before_kib, self.runs)?,
        );
        let [idling] = watch(&shims, [containerd], self.watch, &mut sample)?;
        sample.insert(CONTAINERD_WAKEUPS, idling.wakeups_per_second);
        for id in &ids {
            ctr::remove_running(id)?;
        }
        Ok(sample)
    }
}
