//! `davit-bench launch`: how long a launch takes, davit and its peers in one interleaved run.
//!
//! One launch at a time on a quiet machine; what many at once cost, and what davit does in the
//! background for its warm slots, is in `davit-bench rate`. The same image and program everywhere, warm;
//! nobody has resource limits unless [`Arguments::limits`] gives them to all, and nobody has a network but those
//! that are called a bridge. davit's containers have user namespaces, as it comes.

use anyhow::{bail, ensure};

use crate::davit::executor::Flavour;
use crate::host;
use crate::limits::Limits;
use crate::peers::Peer;
use crate::peers::bare::Bare;
use crate::peers::ctr::Ctr;
use crate::peers::davit::ThroughApi;
use crate::peers::davit_cli::ThroughCommandLine;
use crate::peers::docker::Docker;
use crate::peers::floor::Floor;
use crate::peers::podman::Podman;
use crate::sample::Quantity;
use crate::session::{self, Bench, Options};
use crate::stage::Stage;
use crate::target::{Bound, Target};

/// All peers, in the order of the report.
const PEERS: [&str; 12] = [
    "davit",
    "davit-bridge",
    "davit-cold",
    "davit-cold-bridge",
    "davit-cli",
    "ctr-runc",
    "ctr-crun",
    "podman",
    "docker",
    "crun",
    "runc",
    "floor",
];

pub(crate) const FIRST_USER_INSTRUCTION: Quantity = Quantity {
    name: "first_user_instruction",
    unit: "ms",
    spans: "from right before the request (an API call, or the start of the command) until the payload \
            in the container read the clock, first thing in its main",
};

pub(crate) const DURABLE_END: Quantity = Quantity {
    name: "durable_end",
    unit: "ms",
    spans: "from the same instant until the caller was told of the end, log and records being on disk; \
            only davit records ends",
};

pub(crate) const CLEANED: Quantity = Quantity {
    name: "cleaned",
    unit: "ms",
    spans: "from the same instant until nothing of the container is left (task, record, snapshot, lease, \
            cgroup, shim); for davit found by looking every 0.25 ms, for commands their own end",
};

const TARGETS: [Target; 6] = [
    Target::RatioAndP95(
        "first_user_instruction: davit / ctr-runc",
        Bound::AtMost(0.12),
    ),
    Target::RatioAndP95("first_user_instruction: davit / crun", Bound::AtMost(1.7)),
    Target::RatioAndP95(
        "first_user_instruction: davit-bridge / ctr-runc",
        Bound::AtMost(0.15),
    ),
    Target::RatioAndP95("cleaned: davit / ctr-runc", Bound::AtMost(0.11)),
    Target::RatioAndP95("cleaned: davit / docker", Bound::AtMost(0.07)),
    Target::RatioAndP95("cleaned: davit / podman", Bound::AtMost(0.16)),
];

const BENCH: Bench<'_> = Bench {
    peers: &PEERS,
    quantities: &[FIRST_USER_INSTRUCTION, DURABLE_END, CLEANED],
    targets: &TARGETS,
    rounds: 50,
    warm_up_rounds: 5,
};

/// `davit-bench launch …`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Give every container the same cpu and memory limits: needs these controllers, as in a VM.
    #[arg(long)]
    limits: bool,
}

/// Measures and reports.
///
/// # Errors
/// When davit fails, or a peer that may not be missing.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let limits = arguments.limits.then_some(Limits::AMPLE);
    ensure!(
        limits.is_none() || host::has_controllers(),
        "--limits: this host's cgroup v2 lacks the cpu, memory or pids controller"
    );
    session::measure(&arguments.options, &BENCH, |name, stage| {
        Ok(vec![prepare(name, limits, stage)?])
    })
}

fn prepare(
    name: &'static str,
    limits: Option<Limits>,
    stage: &mut Stage,
) -> anyhow::Result<Box<dyn Peer>> {
    Ok(match name {
        "davit" => Box::new(ThroughApi::new(name, limits, stage.davit()?)),
        "davit-cold" => Box::new(ThroughApi::new(
            name,
            limits,
            stage.davit_flavoured(Flavour::Cold)?,
        )),
        "davit-bridge" => Box::new(ThroughApi::new(name, limits, stage.davit()?).bridged()),
        "davit-cold-bridge" => {
            let davit = stage.davit_flavoured(Flavour::Cold)?;
            Box::new(ThroughApi::new(name, limits, davit).bridged())
        }
        "davit-cli" => Box::new(ThroughCommandLine::new(stage.davit()?, stage.socket()?)),
        "ctr-runc" => Box::new(Ctr::driving(name, "runc", limits)),
        "ctr-crun" => Box::new(Ctr::driving(name, "crun", limits)),
        "crun" | "runc" => Box::new(Bare::prepare(name, limits, stage.scratch())?),
        "podman" => Box::new(Podman::prepare(limits, stage.scratch())?),
        "docker" => Box::new(Docker::prepare(limits, stage.scratch())?),
        "floor" => Box::new(Floor::prepare(stage.scratch(), 0)?),
        _ => bail!("there is no peer {name}"),
    })
}
