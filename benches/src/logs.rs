//! `davit-bench logs`: how fast a job's output becomes a record, what that costs, and how soon a line is in it.
//!
//! ```text
//!  payload: its stamp, then numbered lines ──pipe──► shim │ shim ─fifo─► dockerd │ conmon ──► file
//!  every line is read back from the record and compared: number, length, order
//! ```
//!
//! davit's record is complete when the end is told, log and exit record being synced to disk; the peers'
//! when the last line is in the file, which nobody syncs.

mod cpu;
mod davit;
mod docker;
mod file;
mod lines;
mod podman;

use std::rc::Rc;
use std::time::Duration;

use anyhow::bail;

use crate::peers::Peer;
use crate::sample::{Quantity, Sample};
use crate::session::{self, Bench, Options};
use crate::stage::Stage;
use crate::statistics::Summary;
use crate::target::{Bound, Target};
use lines::Job;

const PEERS: [&str; 3] = ["davit", "docker", "podman"];

const fn speed(name: &'static str, unit: &'static str) -> Quantity {
    Quantity {
        name,
        unit,
        spans: "job output recorded, divided by the time from the payload's first instruction until the \
                record is complete, which for davit alone means synced to disk",
    }
}

const fn cost(name: &'static str) -> Quantity {
    Quantity {
        name,
        unit: "ms/MB",
        spans: "CPU time of the capturing processes per megabyte of job output, their part in the launch \
                included: shim and executor; shim and dockerd; conmon",
    }
}

const LATENCY: Quantity = Quantity {
    name: "log_latency",
    unit: "us",
    spans: "from right before a job's write until the time that the record bears for the line; the \
            median over the lines of a turn, 64 bytes each, one a millisecond",
};

const LATENCY_P99: Quantity = Quantity {
    name: "log_latency_p99",
    unit: "us",
    spans: "the 99th percentile of the same",
};

/// Full speed with lines of one length.
#[derive(Clone, Copy, Debug)]
struct Flood {
    line_bytes: u64,
    lines: Quantity,
    megabytes: Quantity,
    cpu: Quantity,
}

const FLOODS: [Flood; 2] = [
    Flood {
        line_bytes: 100,
        lines: speed("log_lines_100", "lines/s"),
        megabytes: speed("log_megabytes_100", "MB/s"),
        cpu: cost("log_cpu_100"),
    },
    Flood {
        line_bytes: 1_024,
        lines: speed("log_lines_1024", "lines/s"),
        megabytes: speed("log_megabytes_1024", "MB/s"),
        cpu: cost("log_cpu_1024"),
    },
];

const BENCH: Bench<'_> = Bench {
    peers: &PEERS,
    quantities: &[
        FLOODS[0].lines,
        FLOODS[0].megabytes,
        FLOODS[0].cpu,
        FLOODS[1].lines,
        FLOODS[1].megabytes,
        FLOODS[1].cpu,
        LATENCY,
        LATENCY_P99,
    ],
    targets: &[
        Target::Ratio("log_lines_100: davit / docker", Bound::AtLeast(3.0)),
        Target::Ratio("log_cpu_100: davit / docker", Bound::AtMost(0.5)),
    ],
    rounds: 5,
    warm_up_rounds: 1,
};

/// One line each millisecond, for two seconds.
const PACED: Job = Job::Paced {
    count: 2_000,
    interval_us: 1_000,
};

/// `davit-bench logs …`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Output of each job at full speed, MiB.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    mebibytes: u64,
}

/// Measures and reports.
///
/// # Errors
/// When davit fails, or a peer that may not be missing.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let bytes = arguments.mebibytes << 20;
    session::measure(&arguments.options, &BENCH, |name, stage| {
        let capturer = prepare(name, stage)?;
        let flood = |flood| {
            Box::new(Flooded {
                name,
                capturer: capturer.clone(),
                flood,
                bytes,
            }) as Box<dyn Peer>
        };
        let mut peers: Vec<Box<dyn Peer>> = FLOODS.into_iter().map(flood).collect();
        peers.push(Box::new(Paced { name, capturer }));
        Ok(peers)
    })
}

fn prepare(name: &str, stage: &mut Stage) -> anyhow::Result<Rc<dyn Capturer>> {
    Ok(match name {
        "davit" => {
            let davit = stage.davit()?;
            Rc::new(davit::Davit::new(davit, stage.executor_pid()?))
        }
        "docker" => Rc::new(docker::Docker::prepare(stage.scratch())?),
        "podman" => Rc::new(podman::Podman::prepare(stage.scratch())?),
        _ => bail!("there is no peer {name}"),
    })
}

/// Whoever keeps a job's log.
trait Capturer {
    /// Runs `job`, and returns once its record is complete, checked, and removed again.
    fn capture(&self, job: Job) -> anyhow::Result<Captured>;
}

/// A job's record, found to hold all that the job wrote.
#[derive(Debug)]
struct Captured {
    /// From the job's first instruction until the record was complete.
    took: Duration,
    /// CPU time of the capturing processes.
    cpu: Duration,
    /// For each paced line, from the job's write until the time its record bears, microseconds.
    latencies_us: Vec<f64>,
}

struct Flooded {
    name: &'static str,
    capturer: Rc<dyn Capturer>,
    flood: Flood,
    bytes: u64,
}

impl Peer for Flooded {
    fn name(&self) -> &'static str {
        self.name
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let count = self.bytes / self.flood.line_bytes;
        let captured = self.capturer.capture(Job::Flood {
            count,
            line_bytes: self.flood.line_bytes,
        })?;
        #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
        let (lines, bytes) = (count as f64, (count * self.flood.line_bytes) as f64);
        let (seconds, megabytes) = (captured.took.as_secs_f64(), bytes / 1e6);
        Ok(Sample::from([
            (self.flood.lines, lines / seconds),
            (self.flood.megabytes, megabytes / seconds),
            (self.flood.cpu, captured.cpu.as_secs_f64() * 1e3 / megabytes),
        ]))
    }
}

struct Paced {
    name: &'static str,
    capturer: Rc<dyn Capturer>,
}

impl Peer for Paced {
    fn name(&self) -> &'static str {
        self.name
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let mut latencies_us = self.capturer.capture(PACED)?.latencies_us;
        latencies_us.sort_by(f64::total_cmp);
        let rank = (latencies_us.len() * 99).div_ceil(100);
        let summary = Summary::of(&latencies_us).zip(latencies_us.get(rank.saturating_sub(1)));
        let Some((summary, p99)) = summary else {
            bail!("no line has a time");
        };
        Ok(Sample::from([
            (LATENCY, summary.median),
            (LATENCY_P99, *p99),
        ]))
    }
}
