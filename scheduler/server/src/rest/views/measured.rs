//! What hosts measure of runs, as it is shown.

use davit_types::Usage;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::AttemptRow;

/// What the host measured of an attempt.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct Measured {
    wall_ms: u64,
    paused_ms: u64,
    cpu_us: u64,
    cpu_user_us: u64,
    cpu_system_us: u64,
    cpu_throttled_us: u64,
    memory_peak_bytes: Option<u64>,
    io_read_bytes: u64,
    io_write_bytes: u64,
    pids_peak: Option<u64>,
    oom_kills: u64,
    pids_refused: u64,
    /// Bytes that reached it over its link, of a run with network bridge.
    network_received_bytes: Option<u64>,
    /// Bytes it sent.
    network_sent_bytes: Option<u64>,
    /// Bytes it had on its own disk when it ended, where its host bounds them.
    disk_used_bytes: Option<u64>,
    /// Files, directories and links there.
    disk_used_files: Option<u64>,
}

/// What was measured; `None` for an attempt of which that is not known.
pub(super) fn measured(attempt: &AttemptRow) -> Option<Measured> {
    let usage: Usage = serde_json::from_str(&attempt.usage).ok()?;
    attempt.complete.then_some(Measured {
        wall_ms: usage.wall_ms,
        paused_ms: usage.paused_ms,
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
    })
}
