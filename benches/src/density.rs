//! `davit-bench density`: what so many idle runs cost a host, beside the runs' own processes.
//!
//! ```text
//!  weigh the daemons ──► start N idle runs ──► settle ──► weigh everything ──► watch for a while ──► end them
//! ```
//!
//! Counted are the shims of the runs, and what the daemons have grown by since before, divided by N.
//! davit's idle warm slots are processes of their own, shown beside; the jobs' processes are nobody's cost.

mod davit;
mod runc_shim;
mod weights;

use std::time::Duration;

use anyhow::bail;

use crate::peers::Peer;
use crate::sample::Quantity;
use crate::session::{self, Bench, Options};
use crate::stage::Stage;
use crate::target::{Bound, Target};

const fn quantity(name: &'static str, unit: &'static str, spans: &'static str) -> Quantity {
    Quantity { name, unit, spans }
}

const MEMORY: Quantity = quantity(
    "memory",
    "KiB",
    "private memory per idle run: its shim, and its share of what the executor has grown by",
);
const SHIM_PRIVATE: Quantity = quantity("shim_private", "KiB", "mean private memory of a shim");
const SHIM_PROPORTIONAL: Quantity = quantity(
    "shim_proportional",
    "KiB",
    "mean proportional memory (PSS) of a shim: shared pages divided among those who share them",
);
const EXECUTOR_SHARE: Quantity = quantity(
    "executor_share",
    "KiB",
    "growth of the executor's private memory, divided by the number of runs",
);
const CONTAINERD_SHARE: Quantity = quantity(
    "containerd_share",
    "KiB",
    "growth of containerd's private memory, divided by the number of runs",
);
const WARM_SLOTS: Quantity = quantity(
    "warm_slots",
    "KiB",
    "private memory of all shims together that no run has: idle slots', and the one they are forked from",
);
const THREADS: Quantity = quantity("threads", "1", "mean threads of a shim");
const DESCRIPTORS: Quantity = quantity("descriptors", "1", "mean open descriptors of a shim");
const SHIM_WAKEUPS: Quantity = quantity(
    "shim_wakeups",
    "1/s",
    "mean wake-ups of a shim (voluntary context switches of all its threads) while nothing happens",
);
const EXECUTOR_WAKEUPS: Quantity = quantity(
    "executor_wakeups",
    "1/s",
    "wake-ups of the executor in the same time",
);
const EXECUTOR_CPU: Quantity = quantity(
    "executor_cpu",
    "%",
    "CPU time of the executor in the same time, 100 being one CPU",
);
const CONTAINERD_WAKEUPS: Quantity = quantity(
    "containerd_wakeups",
    "1/s",
    "wake-ups of containerd in the same time",
);

const MEMORY_MAX_KIB: f64 = 600_000.0 / 1_024.0;

const BENCH: Bench<'_> = Bench {
    peers: &["davit", "runc-v2-shim"],
    quantities: &[
        MEMORY,
        SHIM_PRIVATE,
        SHIM_PROPORTIONAL,
        EXECUTOR_SHARE,
        CONTAINERD_SHARE,
        WARM_SLOTS,
        THREADS,
        DESCRIPTORS,
        SHIM_WAKEUPS,
        EXECUTOR_WAKEUPS,
        EXECUTOR_CPU,
        CONTAINERD_WAKEUPS,
    ],
    targets: &[
        Target::Own(MEMORY, Bound::AtMost(MEMORY_MAX_KIB)),
        Target::Ratio("memory: davit / runc-v2-shim", Bound::AtMost(0.125)),
        Target::Own(EXECUTOR_CPU, Bound::AtMost(0.1)),
    ],
    rounds: 3,
    warm_up_rounds: 0,
};

/// Threads kept for more work end after ten seconds without any.
const SETTLE: Duration = Duration::from_secs(12);

/// `davit-bench density …`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Idle runs at once.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=900))]
    runs: u32,
    /// How long to watch for wake-ups and CPU time, seconds.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    watch_seconds: u64,
}

/// Measures and reports.
///
/// # Errors
/// When davit fails, or a peer that may not be missing.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    session::measure(&arguments.options, &BENCH, |name, stage| {
        Ok(vec![prepare(name, arguments, stage)?])
    })
}

fn prepare(name: &str, arguments: &Arguments, stage: &mut Stage) -> anyhow::Result<Box<dyn Peer>> {
    let watch = Duration::from_secs(arguments.watch_seconds);
    Ok(match name {
        "davit" => {
            let davit = stage.davit()?;
            let executor = stage.executor_pid()?;
            Box::new(davit::Crowd::new(davit, executor, arguments.runs, watch))
        }
        "runc-v2-shim" => Box::new(runc_shim::Crowd::new(arguments.runs, watch)),
        _ => bail!("there is no peer {name}"),
    })
}
