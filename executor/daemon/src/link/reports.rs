//! What is to be reported of an attempt next: a pure function of what the scheduler has and what the run directory
//! says. There is no outbox.
//!
//! ```text
//!  time of the job   0 ────────── pause ═══════════ resume ───────────── end
//!  the ledger        ├─ seg 0 ────┼──── seg 1 ──────┼─ seg 2 ─┼─ seg 3 ──┤
//!                 Started       Paused           Resumed   Metered     Ended
//! ```
//!
//! Invariants:
//! - place and facts alone decide: whatever was sent before, and lost, is worked out again;
//! - segments are contiguous and reach exactly to what the end says;
//! - a stretch that is not settled yet (its pause may be recorded a moment late) is not metered;
//! - the end comes last, once the log is stored whole, and what was collected of the job's files;
//! - a run without an exit record is billed what was reported, no more.
//!
//! Pauses shorter than a millisecond are none, and two that touch are one: so the place need not say how many of them
//! were told.

use davit_rundir::{Pause, Stamp, Timings};
use davit_types::{EndReason, Extracted, Usage};

use super::place::{Ended, Event, Place, Report, Segment, Stage};

const NS_PER_MS: u64 = 1_000_000;

/// What is known of an attempt here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) accepted: Stamp,
    /// The job, once it was let go.
    pub(super) job: Option<Job>,
    /// The last revision of what is wanted that was done.
    pub(super) heeded: u32,
    pub(super) end: Option<End>,
    /// The last line of the log, once the run is over and all of it is stored.
    pub(super) log_last_id: Option<u64>,
    /// What became of its files, once the scheduler has those that there are.
    pub(super) extracts: Option<Vec<Extracted>>,
}

/// The job's own time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) started: Stamp,
    pub(super) image_digest: String,
    /// How its start went.
    pub(super) timings: Timings,
    /// What it is locked in with, JSON, as far as that can be read.
    pub(super) security: Option<String>,
    pub(super) pauses: Vec<Pause>,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) reason: EndReason,
    pub(super) exit_code: Option<u8>,
    pub(super) message: String,
    pub(super) usage: Usage,
    pub(super) at: Stamp,
    /// Whether an exit was recorded: else nobody knows how long it ran.
    pub(super) recorded: bool,
    /// What was collected of its files.
    pub(super) collected: Vec<Extracted>,
}

/// When a live run is metered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meter {
    /// Time up to which all pauses are recorded by now, CLOCK_BOOTTIME.
    pub(super) settled: Stamp,
    /// A segment is closed when so much is settled, milliseconds.
    pub(super) every_ms: u64,
}

/// A stretch of time in which the job was frozen; open while it is.
#[derive(Clone, Copy, Debug)]
struct Frozen {
    begin_ms: u64,
    end_ms: Option<u64>,
}

/// The next report, if there is one.
pub(super) fn next(place: &Place, facts: &Facts, meter: Meter) -> Option<Report> {
    let report = |at: Stamp, segment, event| Report {
        step: place.step + 1,
        at_unix_ms: at.unix_ns / NS_PER_MS,
        segment,
        event,
    };
    match (place.stage, &facts.job) {
        (Stage::Over, _) => return None,
        (Stage::Assigned, _) => return Some(report(facts.accepted, None, Event::Accepted)),
        (Stage::Accepted, Some(job)) => {
            let started = Event::Started {
                image_digest: job.image_digest.clone(),
                timings: job.timings,
                security: job.security.clone(),
            };
            return Some(report(job.started, None, started));
        }
        (Stage::Accepted, None) | (Stage::Running | Stage::Paused, None) => {}
        (Stage::Running | Stage::Paused, Some(job)) => {
            if let Some((at, segment, event)) = of_job(place, job, facts.end.as_ref(), meter) {
                return Some(report(at, segment, event));
            }
        }
    }
    if let Some((at, segment, ended)) = the_end(place, facts) {
        return Some(report(at, segment, Event::Ended(ended)));
    }
    (facts.heeded > place.heeded).then(|| {
        let revision = facts.heeded;
        report(meter.settled, None, Event::Heeded { revision })
    })
}

/// The next change of a job that runs or ran, or the time it took so far.
fn of_job(
    place: &Place,
    job: &Job,
    end: Option<&End>,
    meter: Meter,
) -> Option<(Stamp, Option<Segment>, Event)> {
    if end.is_some_and(|end| !end.recorded) {
        return None;
    }
    let wall_ms = end.map(|end| ms_between(job.started, end.at));
    let frozen = frozen(job, wall_ms);
    let paused = place.stage == Stage::Paused;
    let at_ms = place.ledger_ms;
    if wall_ms.is_some_and(|wall_ms| at_ms >= wall_ms) {
        return None;
    }
    let change = if paused {
        Event::Resumed
    } else {
        Event::Paused
    };
    let holds =
        |span: &&Frozen| span.begin_ms <= at_ms && span.end_ms.is_none_or(|end_ms| at_ms < end_ms);
    let inside = frozen.iter().find(holds);
    if inside.is_some() != paused {
        return Some((later(job.started, at_ms), None, change));
    }
    let boundary_ms = match inside {
        Some(span) => span.end_ms,
        None => frozen
            .iter()
            .map(|span| span.begin_ms)
            .find(|begin_ms| *begin_ms > at_ms),
    };
    let segment = |end_ms| Segment {
        sequence: place.next_segment,
        begin_ms: at_ms,
        end_ms,
        paused,
    };
    if let Some(boundary_ms) = boundary_ms
        && wall_ms.is_none_or(|wall_ms| boundary_ms < wall_ms)
    {
        let at = later(job.started, boundary_ms);
        return Some((at, Some(segment(boundary_ms)), change));
    }
    let settled_ms = ms_between(job.started, meter.settled);
    let due = end.is_none() && settled_ms >= at_ms.saturating_add(meter.every_ms.max(1));
    due.then(|| (meter.settled, Some(segment(settled_ms)), Event::Metered))
}

fn the_end(place: &Place, facts: &Facts) -> Option<(Stamp, Option<Segment>, Ended)> {
    let (end, log_last_id) = (facts.end.as_ref()?, facts.log_last_id?);
    let extracts = facts.extracts.clone()?;
    let at_ms = place.ledger_ms;
    let (wall_ms, usage) = match &facts.job {
        Some(job) if end.recorded => {
            let wall_ms = ms_between(job.started, end.at).max(at_ms);
            let paused_ms = frozen(job, Some(wall_ms))
                .iter()
                .map(|span| span.end_ms.unwrap_or(wall_ms) - span.begin_ms)
                .sum();
            // What was measured in nanoseconds is told as the segments have it.
            let usage = Usage {
                wall_ms,
                paused_ms,
                ..end.usage
            };
            (wall_ms, usage)
        }
        _ => (at_ms, end.usage),
    };
    let segment = (wall_ms > at_ms).then_some(Segment {
        sequence: place.next_segment,
        begin_ms: at_ms,
        end_ms: wall_ms,
        paused: place.stage == Stage::Paused,
    });
    let ended = Ended {
        reason: end.reason,
        exit_code: end.exit_code,
        message: end.message.clone(),
        usage,
        wall_ms,
        log_last_id,
        extracts,
    };
    Some((end.at, segment, ended))
}

/// The stretches in which the job was frozen, in order, none empty, none touching another.
fn frozen(job: &Job, wall_ms: Option<u64>) -> Vec<Frozen> {
    let clamp = |ms: u64| wall_ms.map_or(ms, |wall_ms| ms.min(wall_ms));
    let mut found: Vec<Frozen> = Vec::new();
    for pause in &job.pauses {
        let begin_ms = clamp(ms_between(job.started, pause.begin));
        let end_ms = pause.end.map(|end| ms_between(job.started, end));
        let end_ms = end_ms.map_or(wall_ms, |ms| Some(clamp(ms)));
        if end_ms.is_some_and(|end_ms| end_ms <= begin_ms) {
            continue;
        }
        match found.last_mut() {
            Some(last) if last.end_ms.is_none_or(|end_ms| end_ms >= begin_ms) => {
                last.end_ms = end_ms;
            }
            _ => found.push(Frozen { begin_ms, end_ms }),
        }
    }
    found
}

fn ms_between(start: Stamp, at: Stamp) -> u64 {
    at.boot_ns.saturating_sub(start.boot_ns) / NS_PER_MS
}

fn later(start: Stamp, ms: u64) -> Stamp {
    Stamp {
        boot_ns: start.boot_ns + ms * NS_PER_MS,
        unix_ns: start.unix_ns + ms * NS_PER_MS,
    }
}

/// Milliseconds from `at` until a live job is to be metered; `None` if it is not.
pub(super) fn meter_in_ms(place: &Place, facts: &Facts, meter: Meter) -> Option<u64> {
    let job = facts.job.as_ref().filter(|_| facts.end.is_none())?;
    let settled_ms = ms_between(job.started, meter.settled);
    let due_ms = place.ledger_ms.saturating_add(meter.every_ms.max(1));
    Some(due_ms.saturating_sub(settled_ms))
}

#[cfg(test)]
mod tests;
