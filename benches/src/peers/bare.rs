//! An OCI runtime by itself: `crun run` or `runc run` on a plain directory. No containerd, no shim, no
//! snapshot, no log, no record: the bound on what a launcher can reach with that runtime.

use std::path::{Path, PathBuf};

use crate::limits::Limits;
use crate::peers::{Peer, measure_command};
use crate::sample::Sample;
use crate::{bundle, command};

/// A runtime and its bundle.
pub(crate) struct Bare {
    runtime: &'static str,
    bundle: PathBuf,
    launches: u64,
}

impl Bare {
    /// Prepares a bundle for `runtime` in `scratch`.
    pub(crate) fn prepare(
        runtime: &'static str,
        limits: Option<Limits>,
        scratch: &Path,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            runtime,
            bundle: bundle::create(scratch, &format!("bare-{runtime}"), limits)?,
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
        measure_command(run.arg(&self.bundle).arg(id))
    }
}
