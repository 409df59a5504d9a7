//! How long attempts take to start, as histograms on `/metrics`: the whole, and its parts.
//!
//! ```text
//!  due ──queue──► assigned ──► on its host: pull ─ prepare ─ create ─ start ──► its start is stored
//!  └────────────────────────────────── whole ──────────────────────────────────────────────────┘
//! ```
//!
//! An attempt is due when its run was accepted; a later one of the run, when its retry was allowed to begin (the end of the
//! pause), so what earlier attempts took is in none of its figures.
//!
//! Invariants:
//! - a start is counted once, by the replica that stored it; one whose commit was not answered is counted by none;
//! - queue and whole lie between two stamps of schedulers, the parts are durations by the host's own clock: clocks of host
//!   and scheduler are never compared;
//! - what is not known (a host of old, an executor that was replaced in the middle) is not counted, never guessed;
//! - labels are regions, which operators name, and words of this program.
//!
//! The figures are one replica's since it began: sum them over replicas. The parts do not add up to the whole: between them
//! lie the way to the host, its own queue, and the way back, with the time it was cut off.
//!
//! Absent on purpose: instance types as labels (two dozen series for each of them, region and part), tenants and runs
//! (traces tell of those).

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::store::ActiveRun;

/// Upper bounds of the buckets of a start and its parts, seconds: fine where warm and cold launches lie, as on hosts, and
/// up to two hours for what waits for room.
pub const START_SECONDS: [f64; 21] = [
    0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5,
    1.0, 5.0, 20.0, 60.0, 300.0, 1_800.0, 7_200.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    phase: &'static str,
    region: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The histograms of one replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Starts {
    whole: Histograms<Place>,
    parts: Histograms<Part>,
}

impl Default for Starts {
    fn default() -> Self {
        Self {
            whole: Family::new_with_constructor(histogram),
            parts: Family::new_with_constructor(histogram),
        }
    }
}

fn histogram() -> Histogram {
    Histogram::new(START_SECONDS)
}

/// Since when an attempt's start is awaited, and where; Unix milliseconds of schedulers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Awaited {
    region: String,
    due_ms: u64,
    assigned_ms: Option<u64>,
}

impl Awaited {
    /// Of the row's attempt, or of the next one if that is just being assigned.
    pub(crate) fn new(row: &ActiveRun, assigned_ms: Option<u64>) -> Self {
        Self {
            region: row.region.clone(),
            // Before its first retry a run may be claimed at any time: that is stored as 0.
            due_ms: row.created_ms.max(row.not_before_ms),
            assigned_ms,
        }
    }
}

/// How long the parts of a start took on its host, by the host's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Phases {
    /// Until the image was there.
    pub(crate) pull: Option<Duration>,
    /// Until root file system and spec were made, or a warm slot was taken.
    pub(crate) prepare: Option<Duration>,
    /// Until the task existed, or the warm slot was the run's own.
    pub(crate) create: Option<Duration>,
    /// Until the job was let go.
    pub(crate) start: Option<Duration>,
}

impl Starts {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "attempt_start",
            "From when an attempt was due (its run accepted, or its retry allowed) until its start was stored; counted \
             by this replica since it began, so sum over replicas",
            Unit::Seconds,
            self.whole.clone(),
        );
        registry.register_with_unit(
            "attempt_start_phase",
            "Parts of an attempt's start: queue (due until assigned to a host), then pull, prepare, create and start as \
             its host measured them; counted by this replica since it began, so sum over replicas",
            Unit::Seconds,
            self.parts.clone(),
        );
    }

    /// An attempt's start was stored for the first time, at `now_ms`.
    pub(crate) fn observe(&self, awaited: &Awaited, phases: &Phases, now_ms: u64) {
        // A clock that stepped back makes it zero.
        let since_due = |at_ms: u64| Duration::from_millis(at_ms.saturating_sub(awaited.due_ms));
        let place = Place {
            region: awaited.region.clone(),
        };
        let whole = since_due(now_ms).as_secs_f64();
        self.whole.get_or_create(&place).observe(whole);
        let parts = [
            ("queue", awaited.assigned_ms.map(since_due)),
            ("pull", phases.pull),
            ("prepare", phases.prepare),
            ("create", phases.create),
            ("start", phases.start),
        ];
        for (phase, took) in parts {
            if let Some(took) = took {
                let region = awaited.region.clone();
                let histogram = self.parts.get_or_create(&Part { phase, region });
                histogram.observe(took.as_secs_f64());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::rows::row;
    use crate::store::ActiveState;

    fn text(starts: &Starts) -> String {
        let mut registry = Registry::with_prefix("davit");
        starts.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        text
    }

    #[test]
    fn a_start_is_measured_from_when_it_was_due() {
        let mut row = row(ActiveState::Assigned);
        row.assigned_ms = Some(1_250);
        let starts = Starts::default();
        let phases = Phases {
            pull: Some(Duration::from_micros(125)),
            ..Phases::default()
        };
        starts.observe(&Awaited::new(&row, row.assigned_ms), &phases, 3_000);
        // The second attempt was due at 9,000.
        row.not_before_ms = 9_000;
        let second = Awaited::new(&row, Some(9_500));
        starts.observe(&second, &Phases::default(), 10_000);
        let text = text(&starts);
        for line in [
            r#"davit_attempt_start_seconds_sum{region="here"} 3.0"#,
            r#"davit_attempt_start_seconds_count{region="here"} 2"#,
            r#"davit_attempt_start_phase_seconds_sum{phase="queue",region="here"} 0.75"#,
            r#"davit_attempt_start_phase_seconds_count{phase="queue",region="here"} 2"#,
            r#"davit_attempt_start_phase_seconds_sum{phase="pull",region="here"} 0.000125"#,
            r#"davit_attempt_start_phase_seconds_bucket{le="0.0005",phase="pull",region="here"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("create\""), "nobody told of it: {text}");
    }

    #[test]
    fn a_clock_that_steps_back_makes_no_start_longer() {
        let row = row(ActiveState::Assigned);
        let starts = Starts::default();
        starts.observe(&Awaited::new(&row, Some(900)), &Phases::default(), 950);
        let text = text(&starts);
        let zero = r#"davit_attempt_start_seconds_sum{region="here"} 0.0"#;
        assert!(text.contains(zero), "{text}");
    }

    #[test]
    fn buckets_are_in_order() {
        assert!(START_SECONDS.is_sorted_by(|one, next| one < next));
    }
}
