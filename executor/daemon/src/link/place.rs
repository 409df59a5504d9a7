//! What the scheduler has stored of an attempt, and what a report adds to it. Pure.

use davit_rundir::Timings;
use davit_types::{EndReason, Extracted, Usage};

/// How far the scheduler knows the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Assigned,
    Accepted,
    Running,
    Paused,
    Over,
}

/// Where the host goes on with its reports of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) stage: Stage,
    /// Number of the last report.
    pub(super) step: u32,
    pub(super) next_segment: u32,
    /// Where that begins, milliseconds since the job was let go.
    pub(super) ledger_ms: u64,
    /// The last revision that was told to be heeded by this host, in this session.
    pub(super) heeded: u32,
}

impl Place {
    /// Of an attempt the scheduler just gave.
    pub(super) const ASSIGNED: Self = Self {
        stage: Stage::Assigned,
        step: 0,
        next_segment: 0,
        ledger_ms: 0,
        heeded: 0,
    };
}

/// One thing the host says of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) step: u32,
    pub(super) at_unix_ms: u64,
    /// Usage since the last report.
    pub(super) segment: Option<Segment>,
    pub(super) event: Event,
}

/// A stretch of an attempt's time, milliseconds since the job was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) sequence: u32,
    pub(super) begin_ms: u64,
    pub(super) end_ms: u64,
    pub(super) paused: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Accepted,
    Declined {
        message: String,
    },
    Started {
        image_digest: String,
        timings: Timings,
        /// What the job is locked in with, JSON.
        security: Option<String>,
    },
    Paused,
    Resumed,
    Metered,
    Heeded {
        revision: u32,
    },
    Ended(Ended),
}

/// How an attempt ended, as the scheduler is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) reason: EndReason,
    pub(super) exit_code: Option<u8>,
    pub(super) message: String,
    pub(super) usage: Usage,
    /// What the segments sum to.
    pub(super) wall_ms: u64,
    pub(super) log_last_id: u64,
    /// What became of the files that were to come out of it: those that are `ok` are stored.
    pub(super) extracts: Vec<Extracted>,
}

impl Place {
    /// The place once `report` is stored.
    pub(super) fn after(&self, report: &Report) -> Self {
        let mut next = *self;
        next.step = report.step;
        if let Some(segment) = report.segment {
            next.next_segment = segment.sequence + 1;
            next.ledger_ms = segment.end_ms;
        }
        match &report.event {
            Event::Accepted => next.stage = Stage::Accepted,
            Event::Started { .. } | Event::Resumed => next.stage = Stage::Running,
            Event::Paused => next.stage = Stage::Paused,
            Event::Metered => {}
            Event::Heeded { revision } => next.heeded = *revision,
            Event::Declined { .. } | Event::Ended(_) => next.stage = Stage::Over,
        }
        next
    }
}
