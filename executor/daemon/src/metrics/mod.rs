//! What this executor counted and timed since it started, as OpenMetrics text.
//!
//! ```text
//!  owners ── started, ended ──┐
//!  warm slots ── how many ────┤
//!  image store ── pulls ──────┼─► Exposition ─► Host.Metrics ─► `davit metrics`
//!  containerd ── failures ────┤        ▲
//!  Runs ── live, by phase ────┴─ asked at each scrape
//! ```
//!
//! Invariants:
//! - label sets are bounded: every value is a word of this program, never a run, tenant, image or path;
//! - every series is there from the start, at zero: what never happened is told apart from what is
//!   not counted;
//! - a start is counted once, by the executor that let the job go.
//!
//! Absent on purpose: a port to scrape (the executor has none: a timer writes what `davit metrics`
//! prints where a collector reads it), and anything of a single run (`davit inspect` shows that).

mod exposition;
mod pulls;
#[cfg(test)]
mod tests;

use davit_rundir::{Phase, Timings};
use davit_types::EndReason;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

pub(crate) use self::exposition::Exposition;
pub(crate) use self::pulls::PullMeter;

/// Names and values of labels: words of this program only.
type Labels<const N: usize> = [(&'static str, &'static str); N];
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Upper bounds of the buckets of a start and its phases, seconds: fine where warm and cold starts
/// lie, coarse where pulls do.
const START_SECONDS: [f64; 18] = [
    0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0,
    5.0, 20.0, 60.0, 300.0,
];

/// What its parts report to. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    start: Histograms<1>,
    start_phase: Histograms<2>,
    ended: Family<Labels<1>, Counter>,
    slots: Family<Labels<1>, Gauge>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let this = Self {
            start: Family::new_with_constructor(histogram),
            start_phase: Family::new_with_constructor(histogram),
            ended: Family::default(),
            slots: Family::default(),
        };
        for warm in [false, true] {
            drop(this.start.get_or_create(&[path(warm)]));
            for phase in Phase::ALL {
                drop(this.start_phase.get_or_create(&[name(phase), path(warm)]));
            }
        }
        for reason in EndReason::ALL {
            drop(this.ended.get_or_create(&[("reason", reason.as_str())]));
        }
        this.warm_slots(0, 0);
        this
    }

    /// A job was let go by this executor.
    pub(crate) fn started(&self, timings: &Timings) {
        let path = path(timings.warm);
        if let Some(total) = timings.total() {
            let histogram = self.start.get_or_create(&[path]);
            histogram.observe(total.as_secs_f64());
        }
        for phase in Phase::ALL {
            if let Some(took) = timings.phase(phase) {
                let histogram = self.start_phase.get_or_create(&[name(phase), path]);
                histogram.observe(took.as_secs_f64());
            }
        }
    }

    /// The verdict on a run is durable.
    pub(crate) fn ended(&self, reason: EndReason) {
        self.ended
            .get_or_create(&[("reason", reason.as_str())])
            .inc();
    }

    /// How many warm slots wait for a run, and how many are being made.
    pub(crate) fn warm_slots(&self, ready: usize, making: usize) {
        for (state, count) in [("ready", ready), ("making", making)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.slots.get_or_create(&[("state", state)]).set(count);
        }
    }
}

fn histogram() -> Histogram {
    Histogram::new(START_SECONDS)
}

const fn name(phase: Phase) -> (&'static str, &'static str) {
    ("phase", phase.as_str())
}

const fn path(warm: bool) -> (&'static str, &'static str) {
    ("path", if warm { "warm" } else { "cold" })
}
