//! `davit-bench rate`: runs a second, with so many under way at any moment.
//!
//! ```text
//!  per peer and concurrency:  warm up ──► N workers, each launch after launch, for a fixed time ──► wait
//!                             until all is cleaned up ──► check each run: exit code, output
//! ```
//!
//! davit's workers share one channel of its API; its pool of warm slots is used up and filled again under
//! the very load that is measured. The others are commands, so many at a time, as `xargs -P` runs them.

mod commands;
mod davit;
mod floor;
mod meter;
mod stress;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use self::floor::Floors;
use self::meter::{Cpu, Daemons};
use crate::bundle;
use crate::davit::Davit;
use crate::peers::Peer;
use crate::process;
use crate::sample::{Quantity, Sample};
use crate::session::{self, Bench, Options};
use crate::stage::Stage;
use crate::target::{Bound, Target};

const PEERS: [&str; 6] = [
    "davit",
    "ctr-runc",
    "ctr-crun",
    "containerd-stress",
    "crun",
    "floor",
];

/// Runs under way at once, and what is measured then.
#[derive(Clone, Copy)]
struct Level {
    concurrency: u32,
    rate: Quantity,
    cpu: Quantity,
    cpu_containerd: Quantity,
    cpu_executor: Quantity,
}

const fn rate(name: &'static str) -> Quantity {
    Quantity {
        name,
        unit: "1/s",
        spans: "runs with so many under way, divided by the time from the first request until the last \
                run was cleaned up; each checked for exit code and output afterwards",
    }
}

const fn cpu(name: &'static str, spans: &'static str) -> Quantity {
    Quantity {
        name,
        unit: "ms",
        spans,
    }
}

macro_rules! level {
    ($concurrency:literal) => {
        Level {
            concurrency: $concurrency,
            rate: rate(concat!("rate_", $concurrency)),
            cpu: cpu(
                concat!("cpu_", $concurrency),
                "CPU time of the whole machine in that time, for one run: everybody's, and the kernel's",
            ),
            cpu_containerd: cpu(
                concat!("cpu_containerd_", $concurrency),
                "containerd's part of it",
            ),
            cpu_executor: cpu(
                concat!("cpu_executor_", $concurrency),
                "the executor's part of it; the rest is shims, OCI runtime, jobs, load generator, kernel threads",
            ),
        }
    };
}

const LEVELS: [Level; 7] = [
    level!(1),
    level!(2),
    level!(4),
    level!(8),
    level!(16),
    level!(32),
    level!(64),
];
const CONCURRENCY_MAX: u32 = 64;

/// In the order of the report: all rates first.
const QUANTITIES: [Quantity; 4 * LEVELS.len()] = {
    let mut all = [LEVELS[0].rate; 4 * LEVELS.len()];
    let mut at = 0;
    while at < LEVELS.len() {
        let level = LEVELS[at];
        all[at] = level.rate;
        all[LEVELS.len() + 3 * at] = level.cpu;
        all[LEVELS.len() + 3 * at + 1] = level.cpu_containerd;
        all[LEVELS.len() + 3 * at + 2] = level.cpu_executor;
        at += 1;
    }
    all
};

const BENCH: Bench<'_> = Bench {
    peers: &PEERS,
    quantities: &QUANTITIES,
    targets: &[
        Target::Ratio("rate_8: davit / ctr-runc", Bound::AtLeast(6.0)),
        Target::Ratio("rate_8: davit / crun", Bound::AtLeast(0.6)),
    ],
    rounds: 3,
    warm_up_rounds: 0,
};

/// `davit-bench rate …`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Only these numbers of runs under way, separated by commas: 1, 2, 4, 8, 16, 32, 64.
    #[arg(long, value_delimiter = ',')]
    concurrency: Vec<u32>,
    /// How long new runs are begun, seconds, for each peer and concurrency of a round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The same load for so long right before it, seconds, not counted.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up_seconds: u64,
}

/// Measures and reports.
///
/// # Errors
/// When davit fails, or a peer that may not be missing.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let levels = chosen(&arguments.concurrency)?;
    session::measure(&arguments.options, &BENCH, |name, stage| {
        let load = Load::prepare(name, stage)?;
        let cell = |&level: &Level| {
            Box::new(Cell {
                name,
                level,
                warm_up: Duration::from_secs(arguments.warm_up_seconds),
                window: Duration::from_secs(arguments.seconds),
                load: load.clone(),
                batches: 0,
            }) as Box<dyn Peer>
        };
        Ok(levels.iter().map(cell).collect())
    })
}

fn chosen(concurrency: &[u32]) -> anyhow::Result<Vec<Level>> {
    let known = |wanted: &u32| LEVELS.iter().any(|level| level.concurrency == *wanted);
    if let Some(wrong) = concurrency.iter().find(|wanted| !known(wanted)) {
        bail!("--concurrency {wrong}: one of 1, 2, 4, 8, 16, 32, 64");
    }
    let wanted = |level: &Level| concurrency.is_empty() || concurrency.contains(&level.concurrency);
    Ok(LEVELS.into_iter().filter(wanted).collect())
}

/// A way to run the payload many times at once.
#[derive(Clone)]
enum Load {
    Davit {
        davit: Davit,
        executor: u32,
    },
    Ctr {
        runtime_binary: &'static str,
    },
    /// A bundle for each worker: a bundle names its cgroup.
    Crun {
        bundles: Vec<PathBuf>,
    },
    Stress,
    Floor(Rc<Floors>),
}

/// What a batch of runs came to.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// Those that did what they should.
    runs: usize,
    /// From the first request until the last one was cleaned up.
    took: Duration,
    cpu: Cpu,
}

impl Load {
    fn prepare(name: &str, stage: &mut Stage) -> anyhow::Result<Self> {
        Ok(match name {
            "davit" => Self::Davit {
                davit: stage.davit()?,
                executor: stage.executor_pid()?,
            },
            "ctr-runc" => Self::Ctr {
                runtime_binary: "runc",
            },
            "ctr-crun" => Self::Ctr {
                runtime_binary: "crun",
            },
            "crun" => Self::Crun {
                bundles: (0..CONCURRENCY_MAX)
                    .map(|worker| bundle::create(stage.scratch(), &format!("rate-{worker}"), None))
                    .collect::<anyhow::Result<_>>()?,
            },
            "floor" => Self::Floor(Rc::new(Floors::prepare(stage.scratch(), CONCURRENCY_MAX)?)),
            "containerd-stress" => {
                stress::is_there()?;
                Self::Stress
            }
            _ => bail!("there is no peer {name}"),
        })
    }

    /// Begins runs until `window` is over; `batch` is a number no other batch has.
    fn run(&self, concurrency: u32, window: Duration, batch: &str) -> anyhow::Result<Batch> {
        let containerd = Some(process::only("containerd")?);
        let peer = Daemons {
            containerd,
            executor: None,
        };
        match self {
            Self::Davit { davit, executor } => {
                let executor = Some(*executor);
                let daemons = Daemons {
                    containerd,
                    executor,
                };
                davit::run(davit, daemons, concurrency, window)
            }
            Self::Ctr { runtime_binary } => {
                commands::run(concurrency, window, peer, |worker, number| {
                    let id = format!("{batch}-{worker}-{number}");
                    crate::peers::ctr::run_attached(runtime_binary, None, &id)
                })
            }
            Self::Crun { bundles } => commands::run(concurrency, window, peer, |worker, number| {
                let mut run = crate::command::of("crun", &["run", "--bundle"]);
                run.arg(&bundles[worker])
                    .arg(format!("{batch}-{worker}-{number}"));
                run
            }),
            Self::Stress => stress::run(peer, concurrency, window),
            Self::Floor(floors) => floors.run(peer, concurrency, window),
        }
    }
}

/// One peer at one concurrency.
struct Cell {
    name: &'static str,
    level: Level,
    warm_up: Duration,
    window: Duration,
    load: Load,
    batches: u32,
}

impl Cell {
    fn run(&mut self, window: Duration) -> anyhow::Result<Batch> {
        self.batches += 1;
        let concurrency = self.level.concurrency;
        let batch = format!("{}-{concurrency}-{}", self.name, self.batches);
        self.load.run(concurrency, window, &batch)
    }
}

impl Peer for Cell {
    fn name(&self) -> &'static str {
        self.name
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        if !self.warm_up.is_zero() {
            self.run(self.warm_up)?;
        }
        let batch = self.run(self.window)?;
        ensure!(batch.runs > 0, "no run succeeded");
        #[expect(clippy::cast_precision_loss, reason = "a few thousand runs")]
        let runs = batch.runs as f64;
        let each_ms = |time: Duration| time.as_secs_f64() * 1_000.0 / runs;
        let mut sample = Sample::from([
            (self.level.rate, runs / batch.took.as_secs_f64()),
            (self.level.cpu, each_ms(batch.cpu.machine)),
        ]);
        for (quantity, used) in [
            (self.level.cpu_containerd, batch.cpu.containerd),
            (self.level.cpu_executor, batch.cpu.executor),
        ] {
            sample.extend(used.map(|used| (quantity, each_ms(used))));
        }
        Ok(sample)
    }
}

/// Whether it is time to begin no more.
fn is_over(begun: Instant, window: Duration) -> bool {
    begun.elapsed() >= window
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_can_be_chosen_and_only_those_there_are() {
        let levels = |words: &[u32]| -> Vec<u32> {
            chosen(words)
                .unwrap()
                .iter()
                .map(|level| level.concurrency)
                .collect()
        };
        assert_eq!(levels(&[]), [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(levels(&[8, 1]), [1, 8]);
        assert!(chosen(&[3]).is_err());
    }
}
