//! Traces as a collector gets them: OTLP over HTTP on loopback, decoded by OpenTelemetry's own types.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use davit_types::RunId;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Told;
use prost::Message;
use tokio::sync::watch;

use crate::host::Host;
use crate::robot::{Executions, Robot, WALL_MS};
use crate::world::{Tweak, World, plan, wait_for};

/// Takes spans, but refuses the first request.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    refused: Arc<Mutex<bool>>,
}

impl Collector {
    /// Listens; the URL of its traces.
    async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let own = self.clone();
        let take = move |body: Bytes| async move { own.take(&body) };
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn take(&self, body: &[u8]) -> StatusCode {
        if !std::mem::replace(&mut *self.refused.lock().unwrap(), true) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let resources = request.resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        self.spans.lock().unwrap().extend(spans);
        StatusCode::OK
    }

    /// The spans of a run, once they are here.
    async fn trace(&self, run: RunId) -> Vec<Span> {
        wait_for(&format!("the trace of {run}"), async || {
            let spans = self.spans.lock().unwrap();
            let its = |span: &&Span| span.trace_id == run.as_uuid().as_bytes();
            let found: Vec<_> = spans.iter().filter(its).cloned().collect();
            (!found.is_empty()).then_some(found)
        })
        .await
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span {name}"));
    assert!(found.next().is_none(), "two spans {name}");
    span
}

fn length_ms(span: &Span) -> u64 {
    (span.end_time_unix_nano - span.start_time_unix_nano) / 1_000_000
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_run_has_a_trace_under_its_own_id() {
    let world = World::sqlite().await;
    let collector = Collector::default();
    let tweak = Tweak {
        collector: Some(collector.listen().await),
        ..Tweak::default()
    };
    let replica = world.replica(tweak).await;
    let (_to, address) = watch::channel(replica.address);
    let host = Host::join(&world, &replica, "host-1", 3).await;
    let _robot = Robot::start(host, address, Executions::default(), None);
    let run = world.submit(&plan()).await;
    let ended = world.ended(run).await;

    let spans = collector.trace(run).await;
    assert_eq!(spans.len(), 5, "{spans:?}");
    let whole = named(&spans, "run");
    assert!(whole.parent_span_id.is_empty());
    assert_eq!(whole.end_time_unix_nano, ended.ended_ms * 1_000_000);
    let status = whole.status.clone().unwrap();
    assert_eq!(status.code(), Told::Ok);
    let tells = |key: &str| whole.attributes.iter().any(|told| told.key == key);
    assert!(tells("davit.tenant") && tells("davit.end_reason"));

    let attempt = named(&spans, "attempt");
    assert_eq!(attempt.parent_span_id, whole.span_id);
    let queue = named(&spans, "queue");
    assert_eq!(queue.parent_span_id, whole.span_id);
    assert_eq!(queue.start_time_unix_nano, whole.start_time_unix_nano);
    assert_eq!(queue.end_time_unix_nano, attempt.start_time_unix_nano);
    let execute = named(&spans, "execute");
    assert_eq!(execute.parent_span_id, attempt.span_id);
    assert_eq!(length_ms(execute), WALL_MS);
    let launch = named(&spans, "launch");
    assert_eq!(launch.end_time_unix_nano, execute.start_time_unix_nano);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_do_not_wait_for_a_collector_that_is_away() {
    let world = World::sqlite().await;
    let tweak = Tweak {
        collector: Some("http://127.0.0.1:9/v1/traces".to_owned()),
        ..Tweak::default()
    };
    let replica = world.replica(tweak).await;
    let (_to, address) = watch::channel(replica.address);
    let host = Host::join(&world, &replica, "host-1", 3).await;
    let _robot = Robot::start(host, address, Executions::default(), None);
    for _ in 0..5 {
        let run = world.submit(&plan()).await;
        let ended = tokio::time::timeout(Duration::from_secs(30), world.ended(run)).await;
        assert_eq!(ended.unwrap().exit_code, Some(0));
    }
}
