//! Usage: contiguous, never twice, and what it costs.

use davit_types::{UsageSegment, segment_id};

use super::super::limits::{MILLISECONDS_MAX, SEGMENTS_PER_UPDATE_MAX};
use super::super::model::{ActiveRun, LedgerRow, Refusal};

/// What a message adds to its tenant's totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) active_ms: u64,
    pub(crate) cost_micros: u64,
}

/// Seconds billed for a run by [`RULE_CEIL_SECOND`](super::super::model::RULE_CEIL_SECOND).
#[must_use]
pub fn billed_seconds(ever_started: bool, active_ms: u64) -> u64 {
    if ever_started {
        active_ms.div_ceil(1_000).max(1)
    } else {
        0
    }
}

/// What a run costs by now.
pub(crate) fn cost_micros(row: &ActiveRun) -> u64 {
    billed_seconds(row.ever_started, row.active_ms).saturating_mul(row.price_second_micros)
}

/// Adds segments to an attempt. Those it has are skipped; the rest must follow without a hole.
pub(crate) fn add_segments(
    row: &mut ActiveRun,
    segments: &[UsageSegment],
    host: uuid::Uuid,
    at_ms: u64,
) -> Result<Vec<LedgerRow>, Refusal> {
    if segments.len() > SEGMENTS_PER_UPDATE_MAX {
        return Err(Refusal::OutOfRange {
            what: "segments",
            given: segments.len() as u64,
        });
    }
    let mut added = Vec::with_capacity(segments.len());
    for segment in segments {
        if segment.sequence < row.ledger_sequence {
            continue;
        }
        if segment.end_ms > MILLISECONDS_MAX {
            return Err(Refusal::OutOfRange {
                what: "end_ms",
                given: segment.end_ms,
            });
        }
        let follows = segment.sequence == row.ledger_sequence
            && segment.begin_ms == row.ledger_ms
            && segment.end_ms > segment.begin_ms
            && row.started_ms.is_some();
        if !follows {
            return Err(Refusal::LedgerGap {
                sequence: segment.sequence,
                expected: row.ledger_sequence,
                begin_ms: row.ledger_ms,
            });
        }
        row.ledger_sequence += 1;
        row.ledger_ms = segment.end_ms;
        if !segment.paused {
            row.active_ms += segment.end_ms - segment.begin_ms;
        }
        added.push(ledger_row(row, segment, host, at_ms));
    }
    Ok(added)
}

fn ledger_row(row: &ActiveRun, segment: &UsageSegment, host: uuid::Uuid, at_ms: u64) -> LedgerRow {
    LedgerRow {
        // Never the sender's word: the id is what makes a repeat a duplicate.
        segment: UsageSegment {
            id: segment_id(segment.key, segment.sequence),
            ..*segment
        },
        tenant: row.tenant.clone(),
        runner: row.runner,
        region: row.region.clone(),
        instance_type: row.instance_type.clone(),
        price_second_micros: row.price_second_micros,
        host,
        at_ms,
    }
}

/// The difference between two moments of a run.
pub(crate) fn charge(before: &ActiveRun, after: &ActiveRun) -> Charge {
    Charge {
        active_ms: after.active_ms - before.active_ms,
        cost_micros: cost_micros(after).saturating_sub(cost_micros(before)),
    }
}
