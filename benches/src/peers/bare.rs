//! An OCI runtime by itself: `crun run` or `runc run` on a plain directory. No containerd, no shim, no
//! snapshot, no log, no record: the bound on what a launcher can reach with that runtime.

use std::path::{Path, PathBuf};

use crate::clock::Instant;
use crate::peers::Peer;
use crate::sample::{Quantity, Sample};
use crate::{bundle, command};

/// A runtime and its bundle.
pub(crate) struct Bare {
    runtime: &'static str,
    bundle: PathBuf,
    launches: u64,
}

impl Bare {
    /// Prepares a bundle for `runtime` in `scratch`.
    pub(crate) fn prepare(runtime: &'static str, scratch: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            runtime,
            bundle: bundle::create(scratch, &format!("bare-{runtime}"))?,
            launches: 0,
        })
    }
}

impl Peer for Bare {
    fn name(&self) -> &'static str {
        self.runtime
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        self.launches += 1;
        let id = format!("bench-{}-{}", self.runtime, self.launches);
        let mut run = command::of(self.runtime, &["run", "--bundle"]);
        run.arg(&self.bundle).arg(id);
        let submitted = Instant::now();
        let output = command::output(&mut run)?;
        let cleaned = Instant::now();
        let first = Instant::printed(&output)?;
        Ok(Sample::from([
            (
                Quantity::FirstUserInstruction,
                first.milliseconds_since(submitted)?,
            ),
            (Quantity::Cleaned, cleaned.milliseconds_since(submitted)?),
        ]))
    }
}
