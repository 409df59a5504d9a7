//! Proof that the books add up, for one tenant.
//!
//! ```text
//!  export, three times, in pages of three sizes ─► same rows, same sums each time
//!  segments of each attempt ─► contiguous, no overlap, ids as they must be ─► sum = the attempt's runtime
//!  runs ─► active time and cost as billed ─► sum = the tenant's totals
//! ```
//!
//! Totals move while runs execute. What cannot be compared at rest is compared again, and is called unsettled when it
//! never was.
//!
//! Absent on purpose: corrections. The ledger is only appended to.

use std::collections::BTreeMap;

use davit_types::{Attempt, RunId, RunKey, Tenant, segment_id};

use super::usage::{self, Priced};
use super::{Service, ServiceError};
use crate::store::{Cursor, RunFilter, RunView, Totals, billed_seconds};

/// Rows of a page in each of the three replays: sizes without a common factor end their pages at different rows.
const PAGES_ROWS: [usize; 3] = [1_000, 997, 613];
/// Runs of a page.
const RUNS_ROWS: usize = 500;
/// Segments that are reconciled at most: their sums are held in memory.
pub const SEGMENTS_MAX: u64 = 5_000_000;
/// Problems that are told; the rest are counted.
pub const PROBLEMS_TOLD_MAX: usize = 100;
/// Times that everything is compared again because the totals moved meanwhile.
const TRIES_MAX: u32 = 3;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows of the ledger.
    pub segments: u64,
    /// Runs with at least one.
    pub runs: u64,
    /// Billable milliseconds by the ledger.
    pub ledger_active_ms: u64,
    /// Millionths by the export.
    pub export_cost_micros: u64,
    /// Started runs without a segment, and what they cost: a least charge each.
    pub runs_without_segments: u64,
    /// See there.
    pub least_charges_micros: u64,
    /// The tenant's totals.
    pub totals: Totals,
    /// Whether the totals stood still long enough to be compared.
    pub settled: bool,
    /// How often the export was replayed.
    pub replays: u32,
    /// How much is wrong.
    pub problems_count: u64,
    /// What is wrong: the first of them.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether everything adds up.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.settled && self.problems_count == 0
    }

    fn problem(&mut self, text: String) {
        self.problems_count += 1;
        if self.problems.len() < PROBLEMS_TOLD_MAX {
            self.problems.push(text);
        }
    }
}

/// Sums of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    active_ms: u64,
    cost_micros: u64,
}

/// One reading of the export.
#[derive(Debug, Default, PartialEq, Eq)]
struct Replay {
    segments: u64,
    /// Where each attempt's next segment must begin: its number and millisecond.
    reached: BTreeMap<(RunId, Attempt), (u32, u64)>,
    runs: BTreeMap<RunId, Sums>,
}

/// Compares everything that a tenant's books say.
///
/// # Errors
/// More segments than [`SEGMENTS_MAX`]; the store's.
pub async fn reconcile(service: &Service, tenant: &Tenant) -> Result<Report, ServiceError> {
    let mut tries = 1;
    loop {
        let before = service.store.totals(tenant.clone()).await?;
        let mut report = compare(service, tenant).await?;
        report.totals = service.store.totals(tenant.clone()).await?;
        report.settled = before == report.totals;
        if report.settled || tries == TRIES_MAX {
            return Ok(report);
        }
        tries += 1;
    }
}

async fn compare(service: &Service, tenant: &Tenant) -> Result<Report, ServiceError> {
    let mut report = Report::default();
    let mut first = None;
    for rows in PAGES_ROWS {
        let replay = replay(service, tenant, rows, &mut report, first.is_none()).await?;
        report.replays += 1;
        match &first {
            None => first = Some(replay),
            Some(first) if *first == replay => {}
            Some(_) => report.problem(format!(
                "the export in pages of {rows} rows differs from the one in pages of {}",
                PAGES_ROWS[0]
            )),
        }
    }
    let replay = first.unwrap_or_default();
    report.segments = replay.segments;
    report.runs = replay.runs.len() as u64;
    report.ledger_active_ms = replay.runs.values().map(|sums| sums.active_ms).sum();
    report.export_cost_micros = replay.runs.values().map(|sums| sums.cost_micros).sum();
    compare_runs(service, tenant, &replay, &mut report).await?;
    let totals = service.store.totals(tenant.clone()).await?;
    let cost = report.export_cost_micros + report.least_charges_micros;
    for (what, books, export) in [
        (
            "active milliseconds",
            totals.active_ms,
            report.ledger_active_ms,
        ),
        ("millionths", totals.cost_micros, cost),
    ] {
        if books != export {
            report.problem(format!(
                "totals say {books} {what}, ledger and runs {export}"
            ));
        }
    }
    Ok(report)
}

/// Reads the whole export; says what is wrong with its segments if `tell`.
async fn replay(
    service: &Service,
    tenant: &Tenant,
    rows: usize,
    report: &mut Report,
    tell: bool,
) -> Result<Replay, ServiceError> {
    let mut replay = Replay::default();
    let mut after = Cursor::default();
    loop {
        let page = usage::page(service, Some(tenant), after, rows).await?;
        after = page.next;
        for priced in &page.rows {
            if let Err(problem) = replay.add(priced)
                && tell
            {
                report.problem(problem);
            }
        }
        if replay.segments > SEGMENTS_MAX {
            let problem = format!("has more than {SEGMENTS_MAX} segments");
            return Err(ServiceError::field("tenant", tenant.as_str(), problem));
        }
        if !page.more {
            return Ok(replay);
        }
    }
}

impl Replay {
    fn add(&mut self, priced: &Priced) -> Result<(), String> {
        let segment = &priced.row.segment;
        let RunKey { run, attempt } = segment.key;
        self.segments += 1;
        let sums = self.runs.entry(run).or_default();
        sums.active_ms += priced.active_ms;
        sums.cost_micros += priced.cost_micros;
        let (sequence, begin_ms) = self
            .reached
            .insert((run, attempt), (segment.sequence + 1, segment.end_ms))
            .unwrap_or_default();
        if (segment.sequence, segment.begin_ms) != (sequence, begin_ms) {
            return Err(format!(
                "{}: segment {} begins at {} ms; segment {sequence} at {begin_ms} ms is next",
                segment.key, segment.sequence, segment.begin_ms
            ));
        }
        if segment.end_ms <= segment.begin_ms {
            return Err(format!("{}: segment {sequence} is empty", segment.key));
        }
        if segment.id != segment_id(segment.key, segment.sequence) {
            return Err(format!(
                "{}: segment {sequence} has another's id {}",
                segment.key, segment.id
            ));
        }
        Ok(())
    }
}

/// Every run that is still kept against its segments.
async fn compare_runs(
    service: &Service,
    tenant: &Tenant,
    replay: &Replay,
    report: &mut Report,
) -> Result<(), ServiceError> {
    let filter = RunFilter {
        tenant: Some(tenant.clone()),
        ..RunFilter::default()
    };
    let mut before = None;
    loop {
        let page = service
            .store
            .runs_page(filter.clone(), before, RUNS_ROWS)
            .await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        before = Some(last.base.run);
        for view in &page {
            compare_run(service, view, replay, report).await?;
        }
    }
}

async fn compare_run(
    service: &Service,
    view: &RunView,
    replay: &Replay,
    report: &mut Report,
) -> Result<(), ServiceError> {
    let run = view.base.run;
    let price = view.base.price_second_micros;
    let (active_ms, cost_micros) = match (&view.ended, &view.active) {
        (Some(ended), _) => (ended.active_ms, ended.cost_micros),
        (None, Some(active)) => (
            active.active_ms,
            billed_seconds(active.ever_started, active.active_ms).saturating_mul(price),
        ),
        (None, None) => (0, 0),
    };
    let Some(sums) = replay.runs.get(&run) else {
        if cost_micros > 0 || active_ms > 0 {
            report.runs_without_segments += 1;
            report.least_charges_micros += cost_micros;
        }
        if active_ms > 0 {
            report.problem(format!("{run}: {active_ms} active ms without a segment"));
        }
        return Ok(());
    };
    if (sums.active_ms, sums.cost_micros) != (active_ms, cost_micros) {
        report.problem(format!(
            "{run}: {active_ms} active ms, {cost_micros} millionths; its segments make {} and {}",
            sums.active_ms, sums.cost_micros
        ));
    }
    for attempt in service.store.attempts(run).await? {
        let number = Attempt::new(attempt.attempt).unwrap_or(Attempt::FIRST);
        let reached = replay.reached.get(&(run, number));
        let reached_ms = reached.map_or(0, |(_, reached_ms)| *reached_ms);
        if reached_ms != attempt.wall_ms {
            report.problem(format!(
                "{run}.{number}: executed for {} ms, its segments reach {reached_ms} ms",
                attempt.wall_ms
            ));
        }
    }
    Ok(())
}
