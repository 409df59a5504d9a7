//! What shows no token: health, metrics, documentation.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::rest::Api;
use crate::rest::answer::{Answer, ok};
use crate::rest::openapi;
use crate::rest::problem::Problem;

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "system", operation_id = "healthz", security(()),
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain")))]
pub(in crate::rest) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether requests can be answered: the store is asked.
#[utoipa::path(get, path = "/readyz", tag = "system", operation_id = "readyz", security(()),
    responses((status = 200, description = "They can.", body = String, content_type = "text/plain"),
        (status = 503, description = "They cannot.", body = Problem,
            content_type = "application/problem+json")))]
pub(in crate::rest) async fn readyz(State(api): State<Arc<Api>>) -> Response {
    match api.service.store.tenants(None, 1).await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Problem::busy("the store does not answer").into_response()
        }
    }
}

/// Counts and totals, OpenMetrics 1.0. Never by run or tenant.
#[utoipa::path(get, path = "/metrics", tag = "system", operation_id = "metrics", security(()),
    responses((status = 200, description = "The counts.", body = String,
        content_type = "application/openmetrics-text")))]
pub(in crate::rest) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let content = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content)], api.metrics.text()).into_response()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "system", operation_id = "openapi", security(()),
    responses((status = 200, description = "OpenAPI 3.1.", body = Object)))]
pub(in crate::rest) async fn openapi() -> Answer {
    Ok(ok(openapi::served()))
}

/// A page to look at this document and try it.
#[utoipa::path(get, path = "/docs", tag = "system", operation_id = "docs", security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")))]
pub(in crate::rest) async fn explorer() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
        ),
    ];
    (headers, include_str!("explorer.html")).into_response()
}
