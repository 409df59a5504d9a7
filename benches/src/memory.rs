//! `davit-bench memory`: what one running container costs in memory beside its own processes.
//!
//! Measured is the shim, [`SETTLE_MS`] after the payload runs: executor and containerd serve all runs
//! of a host and are not counted here.

use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::peers::Peer;
use crate::peers::ctr_held::CtrHeld;
use crate::peers::davit_held::DavitHeld;
use crate::report::Target;
use crate::sample::Quantity;
use crate::session::{self, Options, Stage};

const PEERS: [&str; 2] = ["davit", "runc-v2-shim"];
const MEGABYTE_KIB: f64 = 1_000_000.0 / 1_024.0;
/// Alone, and on a host with more than one run.
const TARGETS: [Target; 2] = [
    Target::Median {
        quantity: Quantity::Memory,
        most: MEGABYTE_KIB,
    },
    Target::Median {
        quantity: Quantity::MemoryBesideAnother,
        most: MEGABYTE_KIB,
    },
];
/// A shim tidies up half a second after the last request: what counts is what it holds for hours.
const SETTLE_MS: u64 = 2_000;

/// Measures and reports.
///
/// # Errors
/// When anything at all failed.
pub(crate) fn measure(options: &Options) -> anyhow::Result<()> {
    let names = options.choose(&PEERS)?;
    let mut stage = Stage::set(options)?;
    let mut peers = names
        .into_iter()
        .map(|name| prepare(name, &mut stage).with_context(|| format!("prepare {name}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    session::measure(options, &stage, &mut peers, &TARGETS)
}

fn prepare(name: &str, stage: &mut Stage) -> anyhow::Result<Box<dyn Peer>> {
    let settle = Duration::from_millis(SETTLE_MS);
    Ok(match name {
        "davit" => Box::new(DavitHeld::new(stage.davit()?.0, settle)),
        "runc-v2-shim" => Box::new(CtrHeld::new(settle)),
        _ => bail!("there is no peer {name}"),
    })
}
