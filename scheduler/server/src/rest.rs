//! The REST API: JSON and server-sent events over HTTP, for users, CI and billing exporters.
//!
//! ```text
//!  listener ─► serve: connections bounded, slow ones cut off
//!      └─► router ─► measured, timed out ─► auth: token ─► Caller, rate limit ─► route ─► service
//!                                                                                 ├─► logs (SSE)
//!                                                                                 └─► consoles (WebSocket)
//! ```
//!
//! Each route is declared once, with its documentation: the OpenAPI document is made of the routes that are served.
//!
//! Invariants:
//! - A response is given after the commit it speaks of.
//! - Every refusal is a problem document (RFC 9457); bad input is never answered with 5xx.
//! - Every body, wait, stream and page has a named bound, below.
//! - A submit is not given up when its client goes away.
//!
//! Absent on purpose: sessions and cookies (a dashboard brings its own), decisions (service), unbounded answers.

mod answer;
mod auth;
mod body;
mod console;
mod cursor;
mod limits;
mod metrics;
mod openapi;
mod params;
mod problem;
mod routes;
mod serve;
mod sse;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

pub use metrics::{Metrics, follow_usage};
pub use openapi::document;
pub use serve::serve;

use crate::consoles::Consoles;
use crate::files::Files;
use crate::logs::Logs;
use crate::service::Service;
use problem::Problem;

/// Bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a body with many runs in it.
pub const BATCH_BODY_BYTES_MAX: usize = 8 << 20;
/// Bytes of a form.
pub const FORM_BODY_BYTES_MAX: usize = 16 << 10;
/// How long a body may take to arrive.
pub const BODY_MS_MAX: u64 = 10_000;
/// How long a request may take, streams apart.
pub const REQUEST_MS_MAX: u64 = 30_000;
/// How long an answer may wait for a run's end: less than a request may take.
pub const WAIT_MS_MAX: u64 = 25_000;
/// Answers of one replica that wait.
pub const WAITS_MAX: usize = 1_024;
/// How long a piece of an upload may take, and an upload to be made whole: an hour.
pub const UPLOAD_MS_MAX: u64 = 3_600_000;
/// How long a reconciliation may take.
pub const RECONCILE_MS_MAX: u64 = 600_000;
/// Rows of a page when the request names no number.
pub const PAGE_ROWS_DEFAULT: usize = 100;
/// Rows of a page, lines of a page of a log.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// Log streams of one replica.
pub const STREAMS_MAX: usize = 4_096;
/// Connections of one replica, consoles apart.
pub const CONNECTIONS_MAX: usize = 16_384;

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct RestSettings {
    /// Requests a second that a token may make on average.
    pub requests_per_second: u32,
    /// Requests that it may make at once.
    pub requests_burst: u32,
    /// A silent stream says so often that it lives, and asks whether its token still does, milliseconds.
    pub heartbeat_ms: u64,
}

impl Default for RestSettings {
    fn default() -> Self {
        Self {
            requests_per_second: 200,
            requests_burst: 1_000,
            heartbeat_ms: 5_000,
        }
    }
}

/// What the routes work with.
pub struct Api {
    service: Service,
    logs: Logs,
    files: Files,
    consoles: Consoles,
    settings: RestSettings,
    metrics: Arc<Metrics>,
    limits: limits::RateLimits,
    streams: Arc<Semaphore>,
    waits: Semaphore,
}

impl Api {
    /// An API over a service, its logs and its files.
    #[must_use]
    pub fn new(
        service: Service,
        logs: Logs,
        files: Files,
        consoles: Consoles,
        settings: RestSettings,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            limits: limits::RateLimits::new(&settings),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            waits: Semaphore::new(WAITS_MAX),
            service,
            logs,
            files,
            consoles,
            settings,
            metrics,
        })
    }
}

/// All routes.
pub fn router(api: Arc<Api>) -> Router {
    let (guarded, _) = routes::guarded().split_for_parts();
    let (open, _) = routes::open().split_for_parts();
    let guarded = guarded.route_layer(middleware::from_fn_with_state(
        Arc::clone(&api),
        auth::guard,
    ));
    guarded
        .merge(open)
        .fallback(|| async { Problem::no_route() })
        .method_not_allowed_fallback(|| async { Problem::no_method() })
        .layer(middleware::from_fn_with_state(Arc::clone(&api), watched))
        .with_state(api)
}

/// Measures each request, and ends it when it takes too long.
async fn watched(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let timer = api.metrics.begin(&request);
    let path = request.uri().path();
    let limit_ms = if path.ends_with("/reconciliation") {
        RECONCILE_MS_MAX
    } else if path.starts_with("/v1/uploads/") {
        UPLOAD_MS_MAX
    } else {
        REQUEST_MS_MAX
    };
    // A stream's response begins at once; only its body lasts.
    let limit = Duration::from_millis(limit_ms);
    let response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::too_long(limit_ms).into_response(),
    };
    timer.end(&response);
    response
}
