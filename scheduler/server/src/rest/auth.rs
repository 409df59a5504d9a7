//! Who asks, before anything else is looked at.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::problem::Problem;
use crate::service::access::{self, Caller};

/// Lets a request through that shows a live token and is within the token's rate.
pub(super) async fn guard(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match bearer(request.headers()) {
        Some(text) => access::caller(&api.service, text).await,
        None => Ok(None),
    };
    let caller = match caller {
        Ok(Some(caller)) => caller,
        Ok(None) => return Problem::unauthorized().into_response(),
        Err(error) => return Problem::from(error).into_response(),
    };
    let allowance = match api.limits.take(caller.id) {
        Ok(allowance) => allowance,
        Err(limited) => return limited.into_response(),
    };
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    allowance.tell(response.headers_mut());
    response
}

/// The token of `Authorization: Bearer …` (RFC 6750; the scheme's case does not matter).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| text.trim_start_matches(' '))
}

/// Who asks, for routes that are guarded.
pub(super) struct Asking(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.map(Self).ok_or_else(Problem::unauthorized)
    }
}
