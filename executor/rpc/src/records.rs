//! What was measured and logged, as it goes out.

use std::time::Duration;

use davit_rundir::{LogTotals, Phase, Stamp, Timings};
use davit_types::{ExtractKind, Extracted, Usage};

use crate::{link, local};

impl From<&Usage> for local::Usage {
    fn from(usage: &Usage) -> Self {
        Self {
            wall_ms: usage.wall_ms,
            paused_ms: usage.paused_ms,
            billable_ms: usage.billable_ms(),
            cpu_us: usage.cpu_us,
            cpu_user_us: usage.cpu_user_us,
            cpu_system_us: usage.cpu_system_us,
            cpu_throttled_us: usage.cpu_throttled_us,
            memory_peak_bytes: usage.memory_peak_bytes,
            io_read_bytes: usage.io_read_bytes,
            io_write_bytes: usage.io_write_bytes,
            pids_peak: usage.pids_peak,
            oom_kills: usage.oom_kills,
            pids_refused: usage.pids_refused,
            network_received_bytes: usage.network_received_bytes,
            network_sent_bytes: usage.network_sent_bytes,
            disk_used_bytes: usage.disk_used_bytes,
            disk_used_files: usage.disk_used_files,
        }
    }
}

impl From<LogTotals> for local::LogTotals {
    fn from(totals: LogTotals) -> Self {
        Self {
            records: totals.records,
            bytes: totals.bytes,
            dropped_bytes: totals.dropped_bytes,
        }
    }
}

impl From<&Extracted> for local::Extracted {
    fn from(extracted: &Extracted) -> Self {
        Self {
            from: extracted.from.clone(),
            to: extracted.to.clone(),
            status: extracted.status.as_str().to_owned(),
            kind: extracted.kind.map_or("", ExtractKind::as_str).to_owned(),
            bytes: extracted.bytes,
            sha256: extracted.sha256.clone(),
            message: extracted.message.clone(),
        }
    }
}

impl From<&Timings> for local::Timings {
    fn from(timings: &Timings) -> Self {
        let since = |step: Option<Stamp>| {
            let accepted = timings.accepted?;
            Some(step?.boot_ns.saturating_sub(accepted.boot_ns) / 1_000)
        };
        Self {
            pulled_us: since(timings.pulled),
            prepared_us: since(timings.prepared),
            created_us: since(timings.created),
            started_us: since(timings.started),
            queue_us: timings.phase(Phase::Queue).map(microseconds),
            pull_us: timings.phase(Phase::Pull).map(microseconds),
            prepare_us: timings.phase(Phase::Prepare).map(microseconds),
            create_us: timings.phase(Phase::Create).map(microseconds),
            start_us: timings.phase(Phase::Start).map(microseconds),
            warm: timings.warm,
        }
    }
}

impl From<&Timings> for link::StartPhases {
    fn from(timings: &Timings) -> Self {
        let took = |phase| timings.phase(phase).map(microseconds);
        Self {
            pull_us: took(Phase::Pull),
            prepare_us: took(Phase::Prepare),
            create_us: took(Phase::Create),
            start_us: took(Phase::Start),
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A log record as it goes out.
#[must_use]
pub fn log_record(record: davit_rundir::log::LogRecord) -> local::LogRecord {
    local::LogRecord {
        id: record.id,
        unix_ns: record.unix_ns,
        stream: record.stream.as_str().to_owned(),
        partial: record.partial,
        truncated: record.truncated,
        line: record.line,
        newline: record.newline,
    }
}
