//! The spans of an ended run: pure.
//!
//! ```text
//!  run      ├──────────────────────────────────────────────┤   submitted → ended
//!  queue    ├────┤                  ├──┤                       until an attempt had a host
//!  attempt       ├────────────────┤    ├───────────────────┤   host → ended
//!  launch        ├────┤                ├───┤                   host → the container executes: message, pull, create
//!  execute            ├───────────┤        ├───────────────┤    as long as the ledger says
//! ```
//!
//! Ids follow from run, attempt and name, so the same run always has the same spans. Times are the store's: a host's
//! clock that is off shows in its own spans, which are never longer than nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use davit_types::{RunId, RunStatus};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sha2::{Digest, Sha256};

use crate::store::{AttemptRow, BaseRun, EndedRun};

/// All spans of a run, its own first.
pub(super) fn of_run(base: &BaseRun, ended: &EndedRun, attempts: &[AttemptRow]) -> Vec<SpanData> {
    let whole = Piece {
        run: base.run,
        attempt: 0,
        name: "run",
    };
    let mut spans = vec![run_span(whole, base, ended)];
    let mut waits_since_ms = base.created_ms;
    for row in attempts {
        let begin_ms = row.assigned_ms.unwrap_or(row.ended_ms);
        spans.push(Piece::of(row, "queue").span(whole.id(), waits_since_ms, begin_ms, Vec::new()));
        let own = Piece::of(row, "attempt");
        let mut attempt = own.span(whole.id(), begin_ms, row.ended_ms, attempt_attributes(row));
        if row.exit_code != Some(0) {
            attempt.status = Status::error(row.message.clone());
        }
        spans.push(attempt);
        let launched_ms = row.started_ms.unwrap_or(row.ended_ms);
        let launch = Piece::of(row, "launch");
        spans.push(launch.span(own.id(), begin_ms, launched_ms, Vec::new()));
        if let Some(started_ms) = row.started_ms {
            let execute = Piece::of(row, "execute");
            spans.push(execute.span(own.id(), started_ms, started_ms + row.wall_ms, Vec::new()));
        }
        waits_since_ms = row.ended_ms;
    }
    spans
}

fn run_span(whole: Piece, base: &BaseRun, ended: &EndedRun) -> SpanData {
    let mut attributes = vec![
        KeyValue::new("davit.run", base.run.to_string()),
        KeyValue::new("davit.tenant", base.tenant.as_str().to_owned()),
        KeyValue::new("davit.region", base.region.clone()),
        KeyValue::new("davit.instance_type", base.instance_type.clone()),
        KeyValue::new("davit.status", ended.status.to_string()),
        KeyValue::new("davit.end_reason", ended.end_reason.to_string()),
        KeyValue::new("davit.attempts", i64::from(ended.attempts)),
        KeyValue::new("davit.active_ms", integer(ended.active_ms)),
    ];
    let runner = ended.runner.map(|id| ("davit.runner", id.to_string()));
    let digest = ended.image_digest.clone();
    let digest = digest.map(|digest| ("davit.image_digest", digest));
    let texts = [runner, digest].into_iter().flatten();
    attributes.extend(texts.map(|(name, value)| KeyValue::new(name, value)));
    let none = SpanId::INVALID;
    let mut span = whole.span(none, base.created_ms, ended.ended_ms, attributes);
    span.status = match ended.status {
        RunStatus::Succeeded => Status::Ok,
        _ => Status::error(ended.message.clone()),
    };
    span
}

fn attempt_attributes(row: &AttemptRow) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("davit.attempt", i64::from(row.attempt)),
        KeyValue::new("davit.end_reason", row.end_reason.to_string()),
    ];
    attributes.extend(
        row.host
            .map(|id| KeyValue::new("davit.host", id.to_string())),
    );
    let code = row.exit_code.map(i64::from);
    attributes.extend(code.map(|code| KeyValue::new("davit.exit_code", code)));
    attributes
}

/// What a span is of.
#[derive(Clone, Copy)]
struct Piece {
    run: RunId,
    attempt: u32,
    name: &'static str,
}

impl Piece {
    const fn of(row: &AttemptRow, name: &'static str) -> Self {
        Self {
            run: row.run,
            attempt: row.attempt,
            name,
        }
    }

    fn id(self) -> SpanId {
        span_id(self.run, self.attempt, self.name)
    }

    fn span(
        self,
        parent: SpanId,
        begin_ms: u64,
        end_ms: u64,
        attributes: Vec<KeyValue>,
    ) -> SpanData {
        let trace = TraceId::from_bytes(*self.run.as_uuid().as_bytes());
        let state = TraceState::NONE;
        SpanData {
            span_context: SpanContext::new(trace, self.id(), TraceFlags::SAMPLED, false, state),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: self.name.into(),
            start_time: time(begin_ms),
            end_time: time(end_ms.max(begin_ms)),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("davit-scheduler")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }
    }
}

/// The first eight bytes of a hash: never zero but by a chance of 2⁻⁶⁴.
fn span_id(run: RunId, attempt: u32, name: &str) -> SpanId {
    let mut hash = Sha256::new();
    hash.update(run.as_uuid().as_bytes());
    hash.update(attempt.to_be_bytes());
    hash.update(name.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&hash.finalize()[..8]);
    SpanId::from_bytes(id)
}

fn time(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms)
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
