//! davit through its local API: detached, warm image, one warm channel; records, log and security
//! defaults as always.

use anyhow::Context as _;

use crate::clock::Instant;
use crate::davit::{Davit, check_succeeded};
use crate::peers::Peer;
use crate::sample::{Quantity, Sample};

/// The subject of all ratios.
pub(crate) struct ThroughApi {
    davit: Davit,
}

impl ThroughApi {
    pub(crate) const fn new(davit: Davit) -> Self {
        Self { davit }
    }
}

impl Peer for ThroughApi {
    fn name(&self) -> &'static str {
        "davit"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let submitted = Instant::now();
        let accepted = self.davit.submit(&[])?;
        let run = self.davit.wait(&accepted.id)?;
        let ended = Instant::now();
        self.davit.wait_until_cleaned(&run)?;
        let cleaned = Instant::now();
        check_succeeded(&run)?;
        let first = Instant::printed(&self.davit.stdout(&run.id)?)
            .with_context(|| format!("run {}", run.id))?;
        self.davit.remove(&run.id)?;
        Ok(Sample::from([
            (
                Quantity::FirstUserInstruction,
                first.milliseconds_since(submitted)?,
            ),
            (Quantity::DurableEnd, ended.milliseconds_since(submitted)?),
            (Quantity::Cleaned, cleaned.milliseconds_since(submitted)?),
        ]))
    }
}
