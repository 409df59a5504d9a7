//! What the kernel alone does, so many at a time: a resident launcher for each worker.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::meter::{Daemons, Meter};
use super::{Batch, is_over};
use crate::peers::floor::Floor;

/// A launcher for each worker.
pub(super) struct Floors {
    launchers: Vec<Mutex<Floor>>,
}

impl Floors {
    /// Starts `count` of them, with their directories in `scratch`.
    pub(super) fn prepare(scratch: &Path, count: u32) -> anyhow::Result<Self> {
        let launcher = |number| Ok(Mutex::new(Floor::prepare(scratch, number)?));
        Ok(Self {
            launchers: (0..count).map(launcher).collect::<anyhow::Result<_>>()?,
        })
    }

    /// The first `concurrency` of them launch over and over until `window` is over.
    pub(super) fn run(
        &self,
        daemons: Daemons,
        concurrency: u32,
        window: Duration,
    ) -> anyhow::Result<Batch> {
        let meter = Meter::begin(daemons)?;
        let begun = meter.begun();
        let launchers = self.launchers.iter().take(concurrency as usize);
        let counts: Vec<anyhow::Result<usize>> = std::thread::scope(|scope| {
            let work = |launcher: &Mutex<Floor>| {
                // Each is one worker's alone; a worker that panicked has failed the batch already.
                let mut launcher = launcher.lock().unwrap_or_else(PoisonError::into_inner);
                let mut runs = 0;
                while !is_over(begun, window) {
                    launcher.launch()?;
                    runs += 1;
                }
                Ok(runs)
            };
            let workers: Vec<_> = launchers
                .map(|launcher| scope.spawn(move || work(launcher)))
                .collect();
            let panicked = |_| anyhow::anyhow!("a worker panicked");
            workers
                .into_iter()
                .map(|worker| worker.join().map_err(panicked)?)
                .collect()
        });
        let runs = counts.into_iter().sum::<anyhow::Result<usize>>()?;
        meter.end(runs)
    }
}
