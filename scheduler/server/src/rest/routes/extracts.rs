//! Files that come out of a run, as archives: whole, or from any byte on.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::files::{FilesError, Reader};
use crate::rest::Api;
use crate::rest::answer::Answer;
use crate::rest::auth::Asking;
use crate::rest::openapi::Problems;
use crate::rest::params::{NumberPath, RunPath};
use crate::rest::problem::Problem;
use crate::service::access::Scope;
use crate::service::extracts;
use crate::store::Upload;

/// What is wanted of an archive.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(
    dead_code,
    reason = "only its documentation is used; the route reads the header"
)]
pub(in crate::rest) struct RangeHeader {
    /// `bytes=FIRST-`, `bytes=FIRST-LAST` or `bytes=-COUNT`; one range only.
    #[param(rename = "Range")]
    range: Option<String>,
    /// The `ETag` of an earlier answer: `Range` counts only if it is the same archive still.
    #[param(rename = "If-Range")]
    if_range: Option<String>,
}

/// Brings what came out of a run, as a tar stream: of a directory what is in it, of a file that file. `number` is its place in
/// the run's `extracts`, from 0. Its SHA-256 is in `Repr-Digest`, and in `ETag`.
#[utoipa::path(get, path = "/extracts/{number}", tag = "runs", operation_id = "read_extract",
    params(("run_id" = uuid::Uuid, Path), ("number" = u32, Path), RangeHeader),
    security(("token" = ["runs:read"])),
    responses((status = 200, description = "All of it.", body = Vec<u8>, content_type = "application/x-tar"),
        (status = 206, description = "The range of it.", body = Vec<u8>, content_type = "application/x-tar"),
        (status = 416, description = "There is no such range."), Problems))]
pub(in crate::rest) async fn read(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    RunPath { run, runner }: RunPath,
    NumberPath(number): NumberPath,
    headers: HeaderMap,
) -> Answer {
    caller.may(Scope::RunsRead)?;
    let archive = extracts::archive(&api.service, &caller, run, runner, number).await?;
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let tag = tag(&archive);
    let same = text(header::IF_RANGE).is_none_or(|wanted| wanted == tag);
    let asked = text(header::RANGE).filter(|_| same);
    match asked.map_or(Asked::All, |range| parse(range, archive.bytes)) {
        Asked::All => {
            let reader = api.files.download(archive.upload, 0, archive.bytes)?;
            Ok(answer(StatusCode::OK, reader, &archive, 0..archive.bytes))
        }
        Asked::Part(part) => {
            let reader = api.files.download(archive.upload, part.start, part.end)?;
            let mut response = answer(StatusCode::PARTIAL_CONTENT, reader, &archive, part.clone());
            let told = format!("bytes {}-{}/{}", part.start, part.end - 1, archive.bytes);
            put(&mut response, header::CONTENT_RANGE, &told);
            Ok(response)
        }
        Asked::Nowhere => {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let told = format!("the archive has {} bytes", archive.bytes);
            let problem = Problem::new(status, "range", "There is no such range", told);
            let mut response = problem.into_response();
            let told = format!("bytes */{}", archive.bytes);
            put(&mut response, header::CONTENT_RANGE, &told);
            Ok(response)
        }
    }
}

fn tag(archive: &Upload) -> String {
    format!("\"{}\"", archive.sha256.as_deref().unwrap_or_default())
}

fn put(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn answer(status: StatusCode, reader: Reader, archive: &Upload, part: Range<u64>) -> Response {
    let pieces = stream::try_unfold(reader, |mut reader| async move {
        let piece = reader.next().await.inspect_err(|error| {
            tracing::warn!(%error, "files of a run cannot be read to their end");
        })?;
        Ok::<_, FilesError>(piece.map(|piece| (piece, reader)))
    });
    let mut response = (status, Body::from_stream(pieces)).into_response();
    put(&mut response, header::CONTENT_TYPE, "application/x-tar");
    put(&mut response, header::ACCEPT_RANGES, "bytes");
    put(&mut response, header::ETAG, &tag(archive));
    let length = (part.end - part.start).to_string();
    put(&mut response, header::CONTENT_LENGTH, &length);
    let digest = archive.sha256.as_deref().unwrap_or_default();
    if let Some(digest) = bytes_of(digest) {
        // RFC 9530.
        let digest = format!("sha-256=:{}:", STANDARD.encode(digest));
        let name = header::HeaderName::from_static("repr-digest");
        put(&mut response, name, &digest);
    }
    response
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// What a `Range` asks for (RFC 9110, 14.1.2). One that cannot be understood, or names several, counts as none.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    Part(Range<u64>),
    Nowhere,
}

fn parse(range: &str, bytes: u64) -> Asked {
    let Some((first, last)) = range
        .trim()
        .strip_prefix("bytes=")
        .filter(|rest| !rest.contains(','))
        .and_then(|rest| rest.split_once('-'))
    else {
        return Asked::All;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let part = match (first.trim().is_empty(), number(first), number(last)) {
        (true, _, Some(count)) => bytes.saturating_sub(count)..bytes,
        (false, Some(first), Some(last)) if first <= last => {
            first..last.saturating_add(1).min(bytes)
        }
        (false, Some(first), None) if last.trim().is_empty() => first..bytes,
        _ => return Asked::All,
    };
    if part.start < part.end {
        Asked::Part(part)
    } else {
        Asked::Nowhere
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, parse};

    #[test]
    fn ranges_are_as_http_has_them() {
        for (range, wanted) in [
            ("bytes=0-", Asked::Part(0..100)),
            ("bytes=10-19", Asked::Part(10..20)),
            ("bytes=90-1000", Asked::Part(90..100)),
            ("bytes=-30", Asked::Part(70..100)),
            ("bytes=-300", Asked::Part(0..100)),
            ("bytes=100-", Asked::Nowhere),
            ("bytes=-0", Asked::Nowhere),
            ("bytes=5-4", Asked::All),
            ("bytes=1-2,5-6", Asked::All),
            ("bytes=x-", Asked::All),
            ("bytes=1-x", Asked::All),
            ("lines=1-2", Asked::All),
        ] {
            assert_eq!(parse(range, 100), wanted, "{range}");
        }
    }
}
