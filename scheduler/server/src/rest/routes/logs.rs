//! One run's log: pages of it, and the stream.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use davit_types::Attempt;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::logs::{LogRecord, LogStream};
use crate::rest::answer::{Answer, ok};
use crate::rest::auth::Asking;
use crate::rest::openapi::{LastEventHeader, Problems};
use crate::rest::params::{Params, RunPath, limit};
use crate::rest::problem::Problem;
use crate::rest::{Api, sse};
use crate::service::access::Scope;
use crate::service::runs;

/// Which output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum Output {
    Stdout,
    Stderr,
}

impl From<Output> for LogStream {
    fn from(output: Output) -> Self {
        match output {
            Output::Stdout => Self::Stdout,
            Output::Stderr => Self::Stderr,
        }
    }
}

/// A line of a log, or a piece of one.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct LineView {
    /// From 1 within the attempt, without gaps.
    id: u64,
    /// RFC 3339 with nanoseconds.
    time: String,
    stream: Output,
    /// The line goes on in the next record of its stream.
    partial: bool,
    /// davit's own mark: output is missing here.
    truncated: bool,
    /// The job wrote a line break after it.
    newline: bool,
    /// The line without its break, when it is UTF-8.
    line: Option<String>,
    /// Its bytes in Base64, when it is not.
    line_base64: Option<String>,
}

impl From<LogRecord> for LineView {
    fn from(record: LogRecord) -> Self {
        let time = jiff::Timestamp::from_nanosecond(record.unix_ns.into());
        let line = String::from_utf8(record.line.to_vec());
        let (line, line_base64) = match line {
            Ok(line) => (Some(line), None),
            Err(bytes) => (None, Some(STANDARD.encode(bytes.as_bytes()))),
        };
        Self {
            id: record.id,
            time: time.map_or_else(|_| String::new(), |time| format!("{time:.9}")),
            stream: match record.stream {
                LogStream::Stdout => Output::Stdout,
                LogStream::Stderr => Output::Stderr,
            },
            partial: record.partial,
            truncated: record.truncated,
            newline: record.newline,
            line,
            line_base64,
        }
    }
}

/// A page of a log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct LogsReply {
    attempt: u32,
    logs: Vec<LineView>,
    /// Where the next page begins.
    next_after_id: u64,
    /// Whether more is there already.
    more: bool,
}

/// Which part of the log.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct LogParams {
    /// Lines after this one; 0 when absent.
    after_id: u64,
    /// Lines at most: 1 to 1000, 100 when absent.
    limit: Option<usize>,
    /// Only of this output.
    #[param(inline)]
    stream: Option<Output>,
    /// Of this attempt; the live or the last one when absent.
    attempt: Option<u32>,
}

fn attempt(number: u32) -> Result<Attempt, Problem> {
    let wrong = || Problem::bad_parameter("attempt", &number.to_string(), "must be 1 or more");
    Attempt::new(number).ok_or_else(wrong)
}

/// Reads a log.
#[utoipa::path(get, path = "/logs", tag = "logs",
    params(("run_id" = uuid::Uuid, Path), LogParams), operation_id = "read_log",
    security(("token" = ["logs:read"])),
    responses((status = 200, description = "A page.", body = LogsReply), Problems))]
pub(in crate::rest) async fn page(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
    Params(params): Params<LogParams>,
) -> Answer {
    caller.may(Scope::LogsRead)?;
    let lines = limit(params.limit)?;
    let shown = runs::show(&api.service, &caller, path.run, path.runner).await?;
    let attempt = attempt(params.attempt.unwrap_or_else(|| shown.attempt().max(1)))?;
    let stream = params.stream.map(LogStream::from);
    let page = api
        .logs
        .page(path.run, attempt, params.after_id, lines, stream)
        .await?;
    Ok(ok(&LogsReply {
        attempt: attempt.number(),
        logs: page.records.into_iter().map(LineView::from).collect(),
        next_after_id: page.after_id,
        more: page.more,
    }))
}

/// Where the stream begins.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct StreamParams {
    /// Lines after this one. `Last-Event-ID` goes before it.
    after_id: u64,
    /// From this attempt on; the first when absent.
    attempt: Option<u32>,
}

/// Follows a log: an event `log` for every line, then `state`, then the end of the stream.
///
/// Every line comes before `state`. `id:` is the line's id, for attempts after the first `<attempt>.<id>`. A comment comes
/// when nothing else does. An event `attempt` tells that the run is tried again. When the stream cannot go on, an event
/// `problem` tells why and the stream ends; it may be resumed.
#[utoipa::path(get, path = "/logs/stream", tag = "logs",
    params(("run_id" = uuid::Uuid, Path), StreamParams, LastEventHeader),
    operation_id = "follow_log", security(("token" = ["logs:read"])),
    responses((status = 200, description = "Server-sent events.", body = String,
        content_type = "text/event-stream"), Problems))]
pub(in crate::rest) async fn stream(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
    Params(params): Params<StreamParams>,
    headers: HeaderMap,
) -> Answer {
    caller.may(Scope::LogsRead)?;
    let mut place = sse::Place {
        attempt: attempt(params.attempt.unwrap_or(1))?,
        after_id: params.after_id,
    };
    if let Some(last) = headers.get("last-event-id") {
        let text = String::from_utf8_lossy(last.as_bytes());
        let wrong = || Problem::bad_parameter("Last-Event-ID", &text, "is no id of this stream");
        place = sse::Place::parse(&text).ok_or_else(wrong)?;
    }
    runs::show(&api.service, &caller, path.run, path.runner).await?;
    sse::respond(api, caller, path, place)
}
