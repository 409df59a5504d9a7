//! `davit-bench launch`: how long a launch takes, davit and its peers in one interleaved run.

use anyhow::{Context as _, bail};

use crate::peers::Peer;
use crate::peers::bare::Bare;
use crate::peers::ctr::Ctr;
use crate::peers::davit::ThroughApi;
use crate::peers::davit_cli::ThroughCommandLine;
use crate::report::Target;
use crate::session::{self, Options, Stage};

/// All peers, in the order of the report.
const PEERS: [&str; 6] = ["davit", "davit-cli", "ctr-runc", "ctr-crun", "crun", "runc"];

const TARGETS: [Target; 1] = [Target::Ratio {
    name: "cleaned: davit / ctr-runc",
    most: 0.35,
}];

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
    Ok(match name {
        "davit" => Box::new(ThroughApi::new(stage.davit()?.0)),
        "davit-cli" => {
            let (davit, socket) = stage.davit()?;
            Box::new(ThroughCommandLine::new(davit, socket))
        }
        "ctr-runc" => Box::new(Ctr::driving("ctr-runc", "runc")),
        "ctr-crun" => Box::new(Ctr::driving("ctr-crun", "crun")),
        "crun" => Box::new(Bare::prepare("crun", stage.scratch())?),
        "runc" => Box::new(Bare::prepare("runc", stage.scratch())?),
        _ => bail!("there is no peer {name}"),
    })
}
