//! `davit-bench memory`: what one running container costs in memory beside its own processes.
//!
//! Measured is the shim, [`SETTLE_MS`] after the payload runs: executor and containerd serve all runs
//! of a host and are not counted here.

use std::time::Duration;

use anyhow::bail;

use crate::peers::Peer;
use crate::peers::ctr_held::CtrHeld;
use crate::peers::davit_held::DavitHeld;
use crate::sample::Quantity;
use crate::session::{self, Bench, Options};
use crate::stage::Stage;
use crate::target::{Bound, Target};

pub(crate) const MEMORY: Quantity = Quantity {
    name: "memory",
    unit: "KiB",
    spans: "private memory of the shim of the only container, 2 s after the payload began: its program \
            text counts too",
};

pub(crate) const MEMORY_BESIDE_ANOTHER: Quantity = Quantity {
    name: "memory_beside_another",
    unit: "KiB",
    spans: "the same while a second container runs: text is shared, as on any host with several runs",
};

const MEGABYTE_KIB: f64 = 1_000_000.0 / 1_024.0;

const BENCH: Bench<'_> = Bench {
    peers: &["davit", "runc-v2-shim"],
    quantities: &[MEMORY, MEMORY_BESIDE_ANOTHER],
    targets: &[
        Target::Own(MEMORY, Bound::AtMost(MEGABYTE_KIB)),
        Target::Own(MEMORY_BESIDE_ANOTHER, Bound::AtMost(MEGABYTE_KIB)),
    ],
    rounds: 20,
    warm_up_rounds: 1,
};

/// A shim tidies up half a second after the last request: what counts is what it holds for hours.
const SETTLE_MS: u64 = 2_000;

/// Measures and reports.
///
/// # Errors
/// When davit fails, or a peer that may not be missing.
pub(crate) fn measure(options: &Options) -> anyhow::Result<()> {
    session::measure(options, &BENCH, |name, stage| {
        Ok(vec![prepare(name, stage)?])
    })
}

fn prepare(name: &str, stage: &mut Stage) -> anyhow::Result<Box<dyn Peer>> {
    let settle = Duration::from_millis(SETTLE_MS);
    Ok(match name {
        "davit" => Box::new(DavitHeld::new(stage.davit()?, settle)),
        "runc-v2-shim" => Box::new(CtrHeld::new(settle)),
        _ => bail!("there is no peer {name}"),
    })
}
