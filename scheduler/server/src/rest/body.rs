//! Bodies of requests: bounded in bytes and time, JSON, and refused with the place that is wrong.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::{Api, BATCH_BODY_BYTES_MAX, BODY_BYTES_MAX, BODY_MS_MAX, FORM_BODY_BYTES_MAX};

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

/// A JSON body of many things.
pub(super) struct BatchBody<T>(pub(super) T);

/// A JSON body, or none: then the defaults.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<Api>) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let bytes = read(request, BODY_BYTES_MAX).await?;
        wants_json(&headers)?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for BatchBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<Api>) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let bytes = read(request, BATCH_BODY_BYTES_MAX).await?;
        wants_json(&headers)?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<Arc<Api>> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<Api>) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let bytes = read(request, BODY_BYTES_MAX).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        wants_json(&headers)?;
        parse(&bytes).map(Self)
    }
}

/// A form, not taken apart.
pub(super) struct FormBody(pub(super) Bytes);

impl FromRequest<Arc<Api>> for FormBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<Api>) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let bytes = read(request, FORM_BODY_BYTES_MAX).await?;
        if essence(&headers).eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Ok(Self(bytes));
        }
        Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-a-form",
            "Not a form",
            "send the body as `Content-Type: application/x-www-form-urlencoded`",
        ))
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        "The body is too large",
        format!("this body may have {bytes_max} bytes"),
    )
}

/// The whole body. One that says it is too long is not read at all.
async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    let says = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if says.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    let body = Limited::new(request.into_body(), bytes_max);
    let arrived = tokio::time::timeout(Duration::from_millis(BODY_MS_MAX), body.collect());
    match arrived.await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(bytes_max)),
        Ok(Err(error)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-body",
            "The body cannot be read",
            error.to_string(),
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow-body",
            "The body came too slowly",
            format!("a body must arrive within {BODY_MS_MAX} ms"),
        )),
    }
}

/// The content type without its parameters.
fn essence(headers: &HeaderMap) -> &str {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

fn wants_json(headers: &HeaderMap) -> Result<(), Problem> {
    if essence(headers).eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not-json",
        "Not JSON",
        "send the body as `Content-Type: application/json`",
    ))
}

/// Parses a body. serde_json stops at 128 levels.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            // The path of the document as a whole is a dot.
            return Problem::bad_field(path.trim_start_matches('.'), inner.to_string());
        }
        not_parsed(&inner)
    })?;
    reader.end().map_err(|error| not_parsed(&error))?;
    Ok(value)
}

fn not_parsed(error: &serde_json::Error) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "bad-json",
        "The body is no JSON",
        error.to_string(),
    )
}
