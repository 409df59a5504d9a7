//! The text of a scrape: what was counted, and what is asked for at that moment.
//!
//! The text is OpenMetrics 1.0 and stays within what the older Prometheus text format knows as well
//! (no `info`, no `stateset`, no exemplars): node_exporter's textfile collector reads that one.

use std::fmt;

use davit_lifecycle::State;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, gauge::Gauge};
use prometheus_client::registry::{Registry, Unit};

use super::{Labels, Metrics, PullMeter};
use crate::containerd::CallFailures;
use crate::runs::Runs;

/// All that is told at a scrape.
#[derive(Debug)]
pub(crate) struct Exposition {
    registry: Registry,
}

impl Exposition {
    pub(crate) fn new(runs: &Runs) -> Self {
        let host = runs.host();
        let mut this = Self::of(&host.metrics, host.images.pulls());
        let live = LiveRuns(runs.clone());
        this.registry.register_collector(Box::new(live));
        this
    }

    /// Without what only a whole executor can tell.
    pub(super) fn of(metrics: &Metrics, pulls: &PullMeter) -> Self {
        let mut registry = Registry::with_prefix("davit");
        let build = Gauge::<i64>::default();
        build.set(1);
        registry
            .sub_registry_with_label(("version".into(), env!("CARGO_PKG_VERSION").into()))
            .register("build_info", "This executor's version; always 1", build);
        registry.register_with_unit(
            "run_start",
            "From accepting a run to letting its job go",
            Unit::Seconds,
            metrics.start.clone(),
        );
        registry.register_with_unit(
            "run_start_phase",
            "Parts of a start: queue, pull, prepare, create, start",
            Unit::Seconds,
            metrics.start_phase.clone(),
        );
        registry.register("runs_ended", "Runs ended, by reason", metrics.ended.clone());
        registry.register(
            "warm_slots",
            "Containers made before anybody asked for them",
            metrics.slots.clone(),
        );
        registry.register(
            "image_pulls",
            "Pulls from registries that are over",
            pulls.pulls.clone(),
        );
        registry.register_collector(Box::new(Containerd));
        Self { registry }
    }

    /// The text of one scrape.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String fails only if a metric refuses to be written, and none here does.
        text::encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}

#[derive(Debug)]
struct LiveRuns(Runs);

impl Collector for LiveRuns {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let live = self.0.live_states();
        let mut family = encoder.encode_descriptor(
            "runs_live",
            "Live runs, by phase",
            None,
            MetricType::Gauge,
        )?;
        for phase in live_phases() {
            let count = live.iter().filter(|state| state.phase() == phase).count();
            let labels: Labels<1> = [("phase", phase)];
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The phases of live runs, each once, in the order of an ordinary life.
fn live_phases() -> Vec<&'static str> {
    let mut phases = Vec::new();
    for state in State::ALL.into_iter().filter(|state| !state.is_over()) {
        if !phases.contains(&state.phase()) {
            phases.push(state.phase());
        }
    }
    phases
}

#[derive(Debug)]
struct Containerd;

impl Collector for Containerd {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Calls to containerd that failed, by kind";
        let mut family = encoder.encode_descriptor(
            "containerd_call_failures",
            help,
            None,
            MetricType::Counter,
        )?;
        for (kind, count) in CallFailures::counts() {
            let labels: Labels<1> = [("kind", kind)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
