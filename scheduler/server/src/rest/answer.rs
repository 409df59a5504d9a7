//! Shapes that answers share.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A good answer of a handler, or a problem.
pub(super) type Answer = Result<Response, super::problem::Problem>;

/// 200 with JSON.
pub(super) fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

/// JSON with a status.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let text = serde_json::to_string(body).unwrap_or_default();
    text_json(status, text)
}

/// Text that is JSON already.
pub(super) fn text_json(status: StatusCode, text: String) -> Response {
    let content = [(header::CONTENT_TYPE, "application/json")];
    (status, content, text).into_response()
}

/// 201 for many things, which have no one path.
pub(super) fn created_many(text: String, replayed: bool) -> Response {
    let mut response = text_json(StatusCode::CREATED, text);
    if replayed {
        mark_replayed(&mut response);
    }
    response
}

fn mark_replayed(response: &mut Response) {
    let name = HeaderName::from_static("idempotency-replayed");
    let value = HeaderValue::from_static("true");
    response.headers_mut().insert(name, value);
}

/// 201, and whether an earlier request made it.
pub(super) fn created(text: String, path: &str, replayed: bool) -> Response {
    let mut response = created_many(text, replayed);
    if let Ok(path) = HeaderValue::from_str(path) {
        response.headers_mut().insert(header::LOCATION, path);
    }
    response
}

/// The same for something that is JSON yet to be.
pub(super) fn created_json(body: &impl Serialize, path: &str, replayed: bool) -> Response {
    created(
        serde_json::to_string(body).unwrap_or_default(),
        path,
        replayed,
    )
}

/// 204.
pub(super) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
