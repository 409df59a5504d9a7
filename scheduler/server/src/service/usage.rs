//! The ledger as it is exported: a row a segment, each with what it adds to its run's cost.
//!
//! ```text
//!  segment 0     1     2        active ms so far      0 ─── 700 ── 1700 ── 2100
//!  of a run   ├────┼──────┼───┤ billed, ceil-second-1   1 s     2 s     3 s
//!                               so the rows cost        1       1       1   × price
//! ```
//!
//! Invariants:
//! - The rows of a run add up to its cost, whatever the pages: a row's cost depends on what comes before it in its run,
//!   by (attempt, segment), and not on the order of the export.
//! - The first segment carries the least charge, one second.
//! - Money is in integer millionths, and as a decimal string; the rule's id is beside each.
//!
//! A run that started and ended within the same millisecond has no segment. It costs one second all the same, in the
//! totals and on the run; the reconciliation names such runs.

use std::collections::HashMap;

use davit_types::{RunKey, Tenant};

use super::{Service, ServiceError};
use crate::store::{Cursor, LedgerRow, billed_seconds};

/// A segment and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    /// The segment.
    pub row: LedgerRow,
    /// Billable milliseconds in it.
    pub active_ms: u64,
    /// Seconds it adds to what its run is billed for.
    pub billed_seconds: u64,
    /// Millionths it adds to its run's cost.
    pub cost_micros: u64,
}

/// Rows after a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedPage {
    /// In the order of their commits.
    pub rows: Vec<Priced>,
    /// After them.
    pub next: Cursor,
    /// Whether there may be more.
    pub more: bool,
}

/// The ledger after a cursor, of one tenant or all.
///
/// # Errors
/// The store's.
pub async fn page(
    service: &Service,
    tenant: Option<&Tenant>,
    after: Cursor,
    limit: usize,
) -> Result<PricedPage, ServiceError> {
    let page = service
        .store
        .usage_page(tenant.cloned(), after, limit)
        .await?;
    let keys = page
        .rows
        .iter()
        .map(|row| (row.segment.key, row.segment.sequence));
    let before = service.store.usage_before(keys.collect()).await?;
    let before: HashMap<(RunKey, u32), (u64, u64)> = before
        .into_iter()
        .map(|b| ((b.key, b.sequence), (b.segments, b.active_ms)))
        .collect();
    let more = page.rows.len() == limit;
    let priced = page.rows.into_iter().map(|row| {
        let key = (row.segment.key, row.segment.sequence);
        let (segments, active_ms) = before.get(&key).copied().unwrap_or_default();
        price(row, segments == 0, active_ms)
    });
    Ok(PricedPage {
        rows: priced.collect(),
        next: page.next,
        more,
    })
}

/// What a segment adds to a run that was active for so long before it.
#[must_use]
pub fn price(row: LedgerRow, first: bool, before_ms: u64) -> Priced {
    let segment = &row.segment;
    let active_ms = if segment.paused {
        0
    } else {
        segment.end_ms.saturating_sub(segment.begin_ms)
    };
    let until = billed_seconds(true, before_ms.saturating_add(active_ms));
    let until_before = billed_seconds(!first, before_ms);
    let billed_seconds = until.saturating_sub(until_before);
    Priced {
        active_ms,
        billed_seconds,
        cost_micros: billed_seconds.saturating_mul(row.price_second_micros),
        row,
    }
}

/// Millionths as a decimal string, exactly.
#[must_use]
pub fn decimal(micros: u64) -> String {
    let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
    let text = format!("{whole}.{part:06}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    short.to_owned()
}

/// A decimal string as millionths; `None` for anything else, and for more places than millionths have.
#[must_use]
pub fn micros(decimal: &str) -> Option<u64> {
    let (whole, part) = decimal.split_once('.').unwrap_or((decimal, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 6 {
        return None;
    }
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_types::{Attempt, RunId, UsageSegment, segment_id};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn row(sequence: u32, begin_ms: u64, end_ms: u64, paused: bool) -> LedgerRow {
        let key = RunKey {
            run: RunId::from_uuid(Uuid::nil()),
            attempt: Attempt::FIRST,
        };
        LedgerRow {
            segment: UsageSegment {
                id: segment_id(key, sequence),
                key,
                sequence,
                begin_ms,
                end_ms,
                paused,
            },
            tenant: Tenant::local(),
            runner: None,
            region: String::new(),
            instance_type: String::new(),
            price_second_micros: 7,
            host: Uuid::nil(),
            at_ms: 0,
        }
    }

    proptest! {
        #[test]
        fn the_rows_of_a_run_add_up_to_its_cost(
            lengths in prop::collection::vec((1..5_000_u64, any::<bool>()), 1..20),
        ) {
            let (mut begin_ms, mut active_ms, mut cost) = (0, 0, 0);
            for (sequence, (length_ms, paused)) in (0..).zip(&lengths) {
                let row = row(sequence, begin_ms, begin_ms + length_ms, *paused);
                let priced = price(row, sequence == 0, active_ms);
                begin_ms += length_ms;
                active_ms += priced.active_ms;
                cost += priced.cost_micros;
            }
            prop_assert_eq!(cost, billed_seconds(true, active_ms) * 7);
        }

        #[test]
        fn decimals_are_exact(n: u64) {
            prop_assert_eq!(micros(&decimal(n)), Some(n));
        }
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "1e3",
            "0.0000001",
            "99999999999999999999",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
        assert_eq!(micros("1.5"), Some(1_500_000));
        assert_eq!(decimal(10_000_000), "10");
    }
}
