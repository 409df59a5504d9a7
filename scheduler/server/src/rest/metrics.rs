//! What is counted of the API, the totals of the ledger by instance type and region, and [`starts`](crate::starts).
//!
//! Invariant: no label holds an id, a tenant or a path as it was asked for: there are as many series as routes, methods,
//! statuses, types and regions.
//!
//! The totals are read from the ledger, all of it, by [`follow_usage`]: they do not begin anew with the process, and every
//! replica tells the same ones. So take the maximum over replicas, not the sum.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::response::Response;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::PAGE_ROWS_MAX;
use super::problem::chain;
use crate::service::{Service, usage};
use crate::starts::Starts;
use crate::store::Cursor;

/// How often the ledger is looked at for new rows.
const USAGE_PERIOD_MS: u64 = 5_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Size {
    region: String,
    instance_type: String,
}

type Durations = Family<Route, Histogram, fn() -> Histogram>;

/// Counters of one process.
pub struct Metrics {
    registry: Registry,
    answered: Family<Answered, Counter>,
    durations: Durations,
    streams: Gauge,
    consoles: Gauge,
    segments: Family<Size, Counter>,
    active_ms: Family<Size, Counter>,
    billed_micros: Family<Size, Counter>,
}

impl Metrics {
    /// Counters at zero, and `starts`, which the link counts.
    #[must_use]
    pub fn new(starts: &Starts) -> Self {
        let mut registry = Registry::with_prefix("davit");
        let answered = Family::default();
        let durations = Durations::new_with_constructor(durations);
        let streams = Gauge::default();
        let consoles = Gauge::default();
        let segments = Family::default();
        let active_ms = Family::default();
        let billed_micros = Family::default();
        let r = &mut registry;
        r.register("http_requests", "Requests answered", answered.clone());
        r.register_with_unit(
            "http_request_duration",
            "From a request's head to its answer's",
            Unit::Seconds,
            durations.clone(),
        );
        r.register("log_streams", "Logs that are followed now", streams.clone());
        r.register("consoles", "Consoles that are open now", consoles.clone());
        r.register("usage_segments", "Rows of the ledger", segments.clone());
        r.register(
            "usage_active_milliseconds",
            "Billable milliseconds in the ledger",
            active_ms.clone(),
        );
        r.register(
            "usage_billed_micros",
            "Millionths of the currency unit in the ledger, by rule ceil-second-1",
            billed_micros.clone(),
        );
        starts.register(r);
        Self {
            registry,
            answered,
            durations,
            streams,
            consoles,
            segments,
            active_ms,
            billed_micros,
        }
    }
}

/// From a millisecond to half a minute.
fn durations() -> Histogram {
    Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0])
}

/// A request under way.
pub(super) struct Timer {
    metrics: Arc<Metrics>,
    begin: Instant,
    route: String,
    method: &'static str,
}

/// A log that is followed, or a console that is open.
pub(super) struct StreamGuard(Gauge);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(super) fn begin(self: &Arc<Self>, request: &Request) -> Timer {
        let route = request.extensions().get::<MatchedPath>();
        Timer {
            metrics: Arc::clone(self),
            begin: Instant::now(),
            route: route.map_or("none", MatchedPath::as_str).to_owned(),
            method: method(request.method()),
        }
    }

    pub(super) fn stream(&self) -> StreamGuard {
        self.streams.inc();
        StreamGuard(self.streams.clone())
    }

    pub(super) fn console(&self) -> StreamGuard {
        self.consoles.inc();
        StreamGuard(self.consoles.clone())
    }

    /// A scrape.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = text::encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

impl Timer {
    pub(super) fn end(self, response: &Response) {
        let route = Route {
            route: self.route.clone(),
        };
        let seconds = self.begin.elapsed().as_secs_f64();
        self.metrics
            .durations
            .get_or_create(&route)
            .observe(seconds);
        let answered = Answered {
            route: self.route,
            method: self.method,
            status: response.status().as_u16(),
        };
        self.metrics.answered.get_or_create(&answered).inc();
    }
}

/// Adds the ledger to the totals, and what comes to it from then on. Runs until it is dropped.
pub async fn follow_usage(service: Service, metrics: Arc<Metrics>) {
    let mut after = Cursor::default();
    loop {
        match usage::page(&service, None, after, PAGE_ROWS_MAX).await {
            Ok(page) => {
                after = page.next;
                for priced in &page.rows {
                    let size = Size {
                        region: priced.row.region.clone(),
                        instance_type: priced.row.instance_type.clone(),
                    };
                    metrics.segments.get_or_create(&size).inc();
                    let active = metrics.active_ms.get_or_create(&size);
                    active.inc_by(priced.active_ms);
                    drop(active);
                    let billed = metrics.billed_micros.get_or_create(&size);
                    billed.inc_by(priced.cost_micros);
                }
                if page.more {
                    continue;
                }
            }
            Err(error) => tracing::warn!(error = chain(&error), "the ledger cannot be read"),
        }
        tokio::time::sleep(Duration::from_millis(USAGE_PERIOD_MS)).await;
    }
}
