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
mod stress;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use crate::bundle;
use crate::davit::Davit;
use crate::peers::Peer;
use crate::sample::{Quantity, Sample};
use crate::session::{self, Bench, Options};
use crate::stage::Stage;
use crate::target::{Bound, Target};

const PEERS: [&str; 5] = ["davit", "ctr-runc", "ctr-crun", "containerd-stress", "crun"];

const fn rate(name: &'static str) -> Quantity {
    Quantity {
        name,
        unit: "1/s",
        spans: "runs with so many under way, divided by the time from the first request until the last \
                run was cleaned up; each checked for exit code and output afterwards",
    }
}

/// Runs under way at once, and what they are reported as.
const LEVELS: [(u32, Quantity); 7] = [
    (1, rate("rate_1")),
    (2, rate("rate_2")),
    (4, rate("rate_4")),
    (8, rate("rate_8")),
    (16, rate("rate_16")),
    (32, rate("rate_32")),
    (64, rate("rate_64")),
];
const CONCURRENCY_MAX: u32 = 64;

const BENCH: Bench<'_> = Bench {
    peers: &PEERS,
    quantities: &[
        LEVELS[0].1,
        LEVELS[1].1,
        LEVELS[2].1,
        LEVELS[3].1,
        LEVELS[4].1,
        LEVELS[5].1,
        LEVELS[6].1,
    ],
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
        let cell = |&(concurrency, quantity): &(u32, Quantity)| {
            Box::new(Cell {
                name,
                concurrency,
                quantity,
                warm_up: Duration::from_secs(arguments.warm_up_seconds),
                window: Duration::from_secs(arguments.seconds),
                load: load.clone(),
                batches: 0,
            }) as Box<dyn Peer>
        };
        Ok(levels.iter().map(cell).collect())
    })
}

fn chosen(concurrency: &[u32]) -> anyhow::Result<Vec<(u32, Quantity)>> {
    let known = |wanted: &u32| LEVELS.iter().any(|(level, _)| level == wanted);
    if let Some(wrong) = concurrency.iter().find(|wanted| !known(wanted)) {
        bail!("--concurrency {wrong}: one of 1, 2, 4, 8, 16, 32, 64");
    }
    let wanted =
        |(level, _): &(u32, Quantity)| concurrency.is_empty() || concurrency.contains(level);
    Ok(LEVELS.into_iter().filter(wanted).collect())
}

/// A way to run the payload many times at once.
#[derive(Clone)]
enum Load {
    Davit(Davit),
    Ctr {
        runtime_binary: &'static str,
    },
    /// A bundle for each worker: a bundle names its cgroup.
    Crun {
        bundles: Vec<PathBuf>,
    },
    Stress,
}

/// What a batch of runs came to.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// Those that did what they should.
    runs: usize,
    /// From the first request until the last one was cleaned up.
    took: Duration,
}

impl Load {
    fn prepare(name: &str, stage: &mut Stage) -> anyhow::Result<Self> {
        Ok(match name {
            "davit" => Self::Davit(stage.davit()?),
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
            "containerd-stress" => {
                stress::is_there()?;
                Self::Stress
            }
            _ => bail!("there is no peer {name}"),
        })
    }

    /// Begins runs until `window` is over; `batch` is a number no other batch has.
    fn run(&self, concurrency: u32, window: Duration, batch: &str) -> anyhow::Result<Batch> {
        match self {
            Self::Davit(davit) => davit::run(davit, concurrency, window),
            Self::Ctr { runtime_binary } => commands::run(concurrency, window, |worker, number| {
                let id = format!("{batch}-{worker}-{number}");
                crate::peers::ctr::run_attached(runtime_binary, None, &id)
            }),
            Self::Crun { bundles } => commands::run(concurrency, window, |worker, number| {
                let mut run = crate::command::of("crun", &["run", "--bundle"]);
                run.arg(&bundles[worker])
                    .arg(format!("{batch}-{worker}-{number}"));
                run
            }),
            Self::Stress => stress::run(concurrency, window),
        }
    }
}

/// One peer at one concurrency.
struct Cell {
    name: &'static str,
    concurrency: u32,
    quantity: Quantity,
    warm_up: Duration,
    window: Duration,
    load: Load,
    batches: u32,
}

impl Peer for Cell {
    fn name(&self) -> &'static str {
        self.name
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let mut measured = None;
        for window in [self.warm_up, self.window] {
            if window.is_zero() {
                continue;
            }
            self.batches += 1;
            let batch = format!("{}-{}-{}", self.name, self.concurrency, self.batches);
            measured = Some(self.load.run(self.concurrency, window, &batch)?);
        }
        let rate = measured.map_or(0.0, |batch| {
            #[expect(clippy::cast_precision_loss, reason = "a few thousand runs")]
            let runs = batch.runs as f64;
            runs / batch.took.as_secs_f64()
        });
        ensure!(rate > 0.0, "no run succeeded");
        Ok(Sample::from([(self.quantity, rate)]))
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
            chosen(words).unwrap().iter().map(|(n, _)| *n).collect()
        };
        assert_eq!(levels(&[]), [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(levels(&[8, 1]), [1, 8]);
        assert!(chosen(&[3]).is_err());
    }
}
