//! What is told when a request is refused: problem details (RFC 9457), with the fields that are wrong.
//!
//! What is the server's own fault is logged with its whole chain and told without it.

use std::error::Error;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use davit_types::{FieldError, FieldErrors};
use serde::Serialize;
use utoipa::ToSchema;

mod mapping;

/// A refused request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Names the kind of problem; `urn:davit:problem:…`.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The response's status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong with this request.
    detail: String,
    /// Every field that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<WrongField>,
    #[serde(skip)]
    retry_after_seconds: Option<u64>,
}

/// A field that is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct WrongField {
    /// Where: `argv[3]`, a parameter's name; empty for the request as a whole.
    field: String,
    /// The same as a JSON pointer into the body (RFC 6901): `#/argv/3`. Not for parameters and headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "#/runs/3/argv/0")]
    pointer: Option<String>,
    /// What was given, shortened; never a secret.
    value: String,
    /// What is wrong with it, and what would be right.
    problem: String,
}

impl From<FieldError> for WrongField {
    fn from(error: FieldError) -> Self {
        Self {
            field: error.field,
            pointer: None,
            value: error.value,
            problem: error.problem,
        }
    }
}

fn in_body(error: FieldError) -> WrongField {
    WrongField {
        pointer: Some(pointer(&error.field)),
        ..error.into()
    }
}

/// `runs[3].labels.a/b` as `#/runs/3/labels/a~1b`: what follows `labels` is one name, whatever is in it.
fn pointer(field: &str) -> String {
    let mut pointer = "#".to_owned();
    let mut rest = field;
    while !rest.is_empty() {
        let named_freely = pointer.ends_with("/labels") || pointer.ends_with("/labels_wanted");
        let (part, after) = match rest.find(['.', '[']) {
            Some(end) if !named_freely => rest.split_at(end),
            _ => (rest, ""),
        };
        let part = if named_freely {
            part
        } else {
            part.trim_end_matches(']')
        };
        if !part.is_empty() {
            pointer.push('/');
            pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
        }
        rest = after.get(1..).unwrap_or_default();
    }
    pointer
}

/// Content type of problem documents.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        slug: &str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind: format!("urn:davit:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_seconds: None,
        }
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Fields that are wrong.
    pub(super) fn invalid(errors: FieldErrors) -> Self {
        let detail = match errors.0.as_slice() {
            [one] => one.to_string(),
            more => format!("{} fields are not valid", more.len()),
        };
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let mut problem = Self::new(status, "invalid", "The request is not valid", detail);
        problem.errors = errors.0.into_iter().map(in_body).collect();
        problem
    }

    /// A parameter or header that cannot be read.
    pub(super) fn bad_parameter(field: &str, value: &str, what: impl Into<String>) -> Self {
        Self::bad_parameters(FieldErrors(vec![FieldError::new(field, value, what)]))
    }

    /// The same of several.
    pub(super) fn bad_parameters(errors: FieldErrors) -> Self {
        let detail = match errors.0.as_slice() {
            [one] => one.to_string(),
            more => format!("{} parameters are not valid", more.len()),
        };
        let (status, title) = (StatusCode::BAD_REQUEST, "A parameter cannot be read");
        let mut problem = Self::new(status, "bad-parameter", title, detail);
        problem.errors = errors.0.into_iter().map(WrongField::from).collect();
        problem
    }

    /// A field of a body that has the wrong type.
    pub(super) fn bad_field(field: &str, problem: impl Into<String>) -> Self {
        Self::invalid(FieldErrors(vec![FieldError::new(field, "", problem)]))
    }

    pub(super) fn not_found(what: &str, id: &str) -> Self {
        let shown = FieldError::new("", id, "").value;
        let detail = format!("there is no {what} `{shown}`");
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub(super) fn no_route() -> Self {
        let detail = "there is nothing at this path; see /openapi.json";
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub(super) fn no_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "no-method",
            "Method not allowed",
            "this path is there, but not for this method; the header Allow names those it is for",
        )
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "No valid credential",
            "send `Authorization: Bearer <token>` with a token that is neither expired nor revoked",
        )
    }

    pub(super) fn limited(seconds: u64) -> Self {
        let detail = format!("this token may make the next request in {seconds} s");
        let title = "Too many requests";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limit", title, detail).retry_after(seconds)
    }

    pub(super) fn too_long(limit_ms: u64) -> Self {
        let detail =
            format!("the request was not answered within {limit_ms} ms; it may be repeated");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "timeout", "Took too long", detail).retry_after(1)
    }

    pub(super) fn busy(what: &str) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "busy", "Busy", what).retry_after(1)
    }

    /// Our own fault.
    pub(super) fn internal(error: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = chain(error), "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
            "the scheduler could not do this; its log says why",
        )
    }

    /// The document as text, for streams.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// An error and what it comes from, in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let content = [(header::CONTENT_TYPE, PROBLEM_JSON)];
        let mut response = (status, content, self.text()).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::pointer;

    #[test]
    fn a_field_is_a_place_in_the_body() {
        for (field, wanted) in [
            ("", "#"),
            ("image", "#/image"),
            ("argv[3]", "#/argv/3"),
            (
                "runs[12].env_variables[0].env_key",
                "#/runs/12/env_variables/0/env_key",
            ),
            ("labels.a.b/c~[1]", "#/labels/a.b~1c~0[1]"),
            ("runs[0].labels_wanted.x.y", "#/runs/0/labels_wanted/x.y"),
        ] {
            assert_eq!(pointer(field), wanted);
        }
    }
}
