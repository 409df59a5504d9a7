//! Traces of ended runs, sent to an OpenTelemetry collector (OTLP over HTTP).
//!
//! ```text
//!  keeper ── a run's attempt is over ──► queue ──batch──► store: run, attempts ──► spans (pure) ──► collector
//!                                          └ full: left out, and counted
//! ```
//!
//! A trace is made of what is stored, once a run has ended, so it costs a run nothing, tells the same as the API, and
//! holds the times before this process began. Its id is the run's id: nobody has to look it up.
//!
//! Invariants: nothing waits for the collector; what it does not take is given up, counted and logged. A run whose end is
//! told twice has the same spans twice, with the same ids.
//!
//! Absent on purpose: spans of davit's own functions (its log and `/metrics` tell of those), traces of runs that were
//! canceled before they had a host, sampling (the collector's), and a copy on disk.

mod spans;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use davit_types::RunId;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::store::{Store, StoreError};

/// Ended runs that wait for their trace.
const RUNS_WAITING_MAX: usize = 8_192;
/// Runs sent in one request.
const BATCH_RUNS_MAX: usize = 200;
/// How long a batch is gathered.
const GATHER_MS: u64 = 1_000;
/// How long the collector may take to answer.
const SEND_MS_MAX: u64 = 10_000;
/// How long a batch is offered again before it is given up.
const OFFER_MS_MAX: u64 = 60_000;
/// Pause before the second offer; it doubles.
const OFFER_PAUSE_MS: u64 = 500;

/// Takes ended runs. Cheap to clone; ends with the last clone, whatever still waits then.
#[derive(Clone, Debug)]
pub struct Tracer {
    queue: mpsc::Sender<RunId>,
    left_out: Arc<AtomicU64>,
    _tasks: Arc<JoinSet<()>>,
}

impl Tracer {
    /// Begins to send to `endpoint`, the whole URL (`http://127.0.0.1:4318/v1/traces`). Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// The URL is none.
    pub fn start(endpoint: &str, store: Arc<dyn Store>) -> Result<Self, ExporterBuildError> {
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(endpoint)
            .with_timeout(Duration::from_millis(SEND_MS_MAX))
            .build()?;
        let resource = Resource::builder_empty().with_service_name("davit-scheduler");
        exporter.set_resource(&resource.build());
        let (queue, ended) = mpsc::channel(RUNS_WAITING_MAX);
        let left_out = Arc::new(AtomicU64::new(0));
        let sending = Sending {
            store,
            exporter,
            left_out: Arc::clone(&left_out),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(sending.run(ended));
        Ok(Self {
            queue,
            left_out,
            _tasks: Arc::new(tasks),
        })
    }

    /// An attempt of the run is over; if the run is, its trace is sent. Never waits.
    pub(crate) fn over(&self, run: RunId) {
        if self.queue.try_send(run).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Sending {
    store: Arc<dyn Store>,
    exporter: SpanExporter,
    left_out: Arc<AtomicU64>,
}

impl Sending {
    async fn run(self, mut ended: mpsc::Receiver<RunId>) {
        let mut runs = Vec::new();
        while ended.recv_many(&mut runs, BATCH_RUNS_MAX).await > 0 {
            let full = Instant::now() + Duration::from_millis(GATHER_MS);
            while runs.len() < BATCH_RUNS_MAX {
                let room = BATCH_RUNS_MAX - runs.len();
                match tokio::time::timeout_at(full, ended.recv_many(&mut runs, room)).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            let batch = std::mem::take(&mut runs);
            let told = batch.len();
            match self.spans_of(batch).await {
                Ok(spans) => self.offer(spans).await,
                Err(error) => {
                    tracing::warn!(%error, runs = told, "runs cannot be read: they have no trace");
                }
            }
            let left_out = self.left_out.swap(0, Ordering::Relaxed);
            if left_out > 0 {
                tracing::warn!(
                    runs = left_out,
                    "the collector is too slow: runs have no trace"
                );
            }
        }
    }

    async fn spans_of(&self, mut runs: Vec<RunId>) -> Result<Vec<SpanData>, StoreError> {
        runs.sort_unstable();
        runs.dedup();
        let mut spans = Vec::new();
        for view in self.store.runs(None, runs).await? {
            // Tried again: its trace comes with its end.
            let Some(ended) = &view.ended else { continue };
            let attempts = self.store.attempts(view.base.run).await?;
            spans.extend(spans::of_run(&view.base, ended, &attempts));
        }
        Ok(spans)
    }

    async fn offer(&self, spans: Vec<SpanData>) {
        if spans.is_empty() {
            return;
        }
        let give_up = Instant::now() + Duration::from_millis(OFFER_MS_MAX);
        let mut pause = Duration::from_millis(OFFER_PAUSE_MS);
        while let Err(error) = self.exporter.export(spans.clone()).await {
            if Instant::now() + pause > give_up {
                tracing::warn!(%error, spans = spans.len(), "the collector does not take spans");
                return;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}
