//! What a request says beside its body: path, query, idempotency key.
//!
//! An id that cannot be one is not found: there is nothing of that name.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use davit_types::RunId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;
use uuid::Uuid;

use super::problem::Problem;
use super::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX};

/// The query, whole: an unknown parameter is refused.
pub(super) struct Params<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => {
                let query = parts.uri.query().unwrap_or_default();
                Err(Problem::bad_parameter("query", query, error.body_text()))
            }
        }
    }
}

async fn path<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<HashMap<String, String>, Problem> {
    let found = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
    match found {
        Ok(Path(names)) => Ok(names),
        Err(_) => Err(Problem::not_found("path", parts.uri.path())),
    }
}

/// An id in its usual spelling only: one thing has one path.
fn uuid(what: &str, text: &str) -> Result<Uuid, Problem> {
    let id: Option<RunId> = text.parse().ok();
    id.map(|id| *id.as_uuid())
        .ok_or_else(|| Problem::not_found(what, text))
}

/// The run of a path, and its runner where the path names one.
pub(super) struct RunPath {
    pub(super) run: RunId,
    pub(super) runner: Option<Uuid>,
}

impl<S: Send + Sync> FromRequestParts<S> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let names = path(parts, state).await?;
        let run = uuid("run", names.get("run_id").map_or("", String::as_str))?;
        let runner = names.get("runner_id").map(|text| uuid("runner", text));
        Ok(Self {
            run: RunId::from_uuid(run),
            runner: runner.transpose()?,
        })
    }
}

/// The number of a path.
pub(super) struct NumberPath(pub(super) u32);

impl<S: Send + Sync> FromRequestParts<S> for NumberPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let names = path(parts, state).await?;
        let text = names.get("number").map_or("", String::as_str);
        // In its usual spelling only.
        let number: Option<u32> = text.parse().ok();
        let number = number.filter(|number| number.to_string() == text);
        number
            .map(Self)
            .ok_or_else(|| Problem::not_found("extract", text))
    }
}

/// The one id of a path.
pub(super) struct IdPath(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for IdPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let names = path(parts, state).await?;
        let (name, text) = names.iter().next().map_or(("", ""), |(n, t)| (n, t));
        uuid(name.trim_end_matches("_id"), text).map(Self)
    }
}

/// The one name of a path.
pub(super) struct NamePath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let names = path(parts, state).await?;
        Ok(Self(names.into_values().next().unwrap_or_default()))
    }
}

/// A page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// Where the page begins: `next` of the one before.
    pub(super) after: Option<String>,
    /// Entries at most: 1 to 1000, 100 when absent.
    pub(super) limit: Option<usize>,
}

/// The number of rows asked for.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let rows = asked.unwrap_or(PAGE_ROWS_DEFAULT);
    if (1..=PAGE_ROWS_MAX).contains(&rows) {
        return Ok(rows);
    }
    let problem = format!("must be 1 to {PAGE_ROWS_MAX}");
    Err(Problem::bad_parameter("limit", &rows.to_string(), problem))
}

/// Characters of an idempotency key.
const KEY_CHARS_MAX: usize = 255;

/// The header `Idempotency-Key`.
pub(super) struct Key(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut all = parts.headers.get_all("idempotency-key").iter();
        let Some(value) = all.next() else {
            return Ok(Self(None));
        };
        let shown = String::from_utf8_lossy(value.as_bytes());
        let wrong = |what: &str| Problem::bad_parameter("Idempotency-Key", &shown, what);
        if all.next().is_some() {
            return Err(wrong("is there twice"));
        }
        let text = value.to_str().map_err(|_| wrong("must be visible ASCII"))?;
        if !(1..=KEY_CHARS_MAX).contains(&text.len()) {
            return Err(wrong("must have 1 to 255 characters"));
        }
        Ok(Self(Some(text.to_owned())))
    }
}
